// One speech as the program iterates it: chunks in order, its own figures, cancelling at any moment. The
// sound is spoken from a text or decoded from known codes.

import { Listener, StartTrimmer } from "../audio/onset.ts";
import type { TtsError } from "../errors.ts";
import { DRAFTS, type JobFigures, noFigures } from "../pipeline/figures.ts";
import { KIND } from "../pipeline/ring.ts";
import type { Signals } from "../pipeline/signals.ts";
import type { Sentence } from "../stages/sentence.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, type StopReason } from "../types.ts";
import { type AudioChunk, type DecodeLane, type Job, type JobOwner, type Jobs, takeFrames } from "./jobs.ts";
import type { SpeechSettings } from "./request.ts";
import { type PlacedWord, type WordTime, WordTimes } from "./words.ts";

/** Figures of one speech; the door says what each of them means. */
export interface Summary {
  audioSeconds: number;
  wallSeconds: number;
  rtf: number;
  firstAudioMs: number;
  firstHeardMs: number;
  frames: number;
  msPerFrame: { talker: number; predictor: number; vocoder: number };
  speculation: { callsPerFrame: number; rightDrafts: number[] };
  prompt: { rows: number; cachedRows: number; savedMs: number };
  stop: StopReason;
  model: string;
  backends: Record<string, string>;
  seed: number;
}

/** What a speech needs of the engine that runs it. */
export interface SpeechHost {
  readonly signals: Signals;
  readonly jobs: Jobs;
  readonly backends: Readonly<Record<string, string>>;
  readonly modelName: string;
  readonly lanes: number;
  /** Set once a stage is down or the engine is closed. */
  readonly failure: TtsError | null;
  /** Sleeps until the main bell has rung since `seen`, or for a moment. */
  wait(seen: number): Promise<void>;
}

/** How the caller wants its sound. */
export interface SoundRequest {
  signal?: AbortSignal;
  trimStart?: boolean;
}

const round = (value: number) => Math.round(value * 1000) / 1000;

/** What spoken and decoded sound have in common: the clock, the figures, and the end. */
abstract class TimedSpeech {
  /** No more of it is wanted. */
  cancelled = false;
  protected stop: StopReason = "eos";
  /** Sums over the jobs that have ended or were given up. */
  protected readonly figures: JobFigures = noFigures();
  private started = false;
  /** What {@link begin} has begun: the first step, and the rest. */
  private begun: { first: Promise<IteratorResult<AudioChunk>>; rest: AsyncGenerator<AudioChunk> } | null =
    null;
  private startedMs = performance.now();
  private endedMs = 0;
  private frames = 0;
  private readonly listener = new Listener();
  private readonly trimmer: StartTrimmer | null;
  private readonly signal: AbortSignal | undefined;

  constructor(
    protected readonly host: SpeechHost,
    { signal, trimStart = false }: SoundRequest,
  ) {
    this.signal = signal;
    this.trimmer = trimStart ? new StartTrimmer() : null;
  }

  protected abstract readonly seed: number;
  /** @param before samples that were given out before this chunk */
  protected follow(_chunk: AudioChunk, _before: number): void {}
  protected abstract chunks(): AsyncGenerator<AudioChunk>;
  /** Tells the stages that no more is wanted. */
  protected abstract abandon(): void;

  /** Ends the iteration at once, wherever it is. Does nothing after the end. */
  cancel(): void {
    if (this.cancelled || this.endedMs > 0) return;
    this.cancelled = true;
    this.stop = "cancelled";
    this.abandon();
    this.host.signals.ring("main");
    if (!this.started) void this.begun?.rest.return(undefined); // nobody else will end it
  }

  /** Starts the work before anybody listens. The clock runs from here on. */
  begin(): void {
    this.startedMs = performance.now();
    const rest = this.chunks();
    const first = rest.next();
    first.catch(() => {}); // who listens gets the error
    this.begun = { first, rest };
  }

  [Symbol.asyncIterator](): AsyncGenerator<AudioChunk> {
    if (this.started) throw new TypeError("a speech can be listened to once: speak the text again");
    this.started = true;
    if (this.begun === null) this.startedMs = performance.now();
    const chunks = this.timed();
    const leave = chunks.return.bind(chunks);
    chunks.return = (value) => {
      this.cancel(); // else the return would wait for a pending next()
      return leave(value);
    };
    return chunks;
  }

  private async *timed(): AsyncGenerator<AudioChunk> {
    const cancel = () => this.cancel();
    this.signal?.addEventListener("abort", cancel, { once: true });
    if (this.signal?.aborted) this.cancel();
    try {
      for await (const chunk of this.begun === null ? this.chunks() : resumed(this.begun)) {
        if (this.cancelled) return;
        if (this.trimmer !== null) chunk.samples = this.trimmer.push(chunk.samples);
        this.follow(chunk, this.listener.samples);
        this.listener.take(chunk.samples, performance.now() - this.startedMs);
        this.frames += chunk.codes.length / CODES_PER_FRAME;
        yield chunk;
      }
    } finally {
      this.endedMs = performance.now();
      this.signal?.removeEventListener("abort", cancel);
    }
  }

  summary(): Summary {
    const { figures, frames, host, listener } = this;
    const perFrame = (ms: number, count: number) => (count === 0 ? 0 : round(ms / count));
    const audioSeconds = listener.samples / SAMPLE_RATE_HZ;
    const wallSeconds = ((this.endedMs || performance.now()) - this.startedMs) / 1000;
    return {
      audioSeconds: round(audioSeconds),
      wallSeconds: round(wallSeconds),
      rtf: audioSeconds === 0 ? 0 : round(wallSeconds / audioSeconds),
      firstAudioMs: round(listener.firstMs),
      firstHeardMs: round(listener.heardMs),
      frames,
      msPerFrame: {
        talker: perFrame(figures.talkerMs, figures.talkerFrames),
        predictor: perFrame(figures.predictorMs, figures.predictorFrames),
        vocoder: perFrame(figures.vocoderMs, figures.vocoderFrames),
      },
      speculation: {
        callsPerFrame: perFrame(figures.predictorCalls, figures.predictorFrames),
        rightDrafts: DRAFTS.filter(({ tried }) => figures[tried] > 0).map(({ right, tried }) =>
          round(figures[right] / figures[tried]),
        ),
      },
      prompt: {
        rows: figures.computedRows + figures.knownRows,
        cachedRows: figures.knownRows,
        savedMs: round(figures.savedMs),
      },
      stop: this.stop,
      model: host.modelName,
      backends: { ...host.backends },
      seed: this.seed,
    };
  }
}

/** The next sentence waits in the talker, which then goes on at once. */
const SENTENCES_AHEAD = 2;
/** A lane that becomes free must find its next sentence waiting, however long the other lanes take. */
const SENTENCES_AHEAD_OF_LANES = 32;

const URGENCY: Record<StopReason, number> = { eos: 0, length: 1, cancelled: 2 };

/** Where the prompts of a text come from. */
export interface PromptSource {
  /** The prompts so far; grows until {@link ended}. */
  readonly sentences: readonly string[];
  /** Of each prompt. */
  readonly words: readonly (readonly PlacedWord[])[];
  /** What the voice cannot read of the text so far. */
  readonly unread: readonly string[];
  readonly ended: boolean;
  /** Why no more will come, or null. */
  readonly failure: TtsError | null;
  /** Asks for about `ahead` prompts after the first `taken` ones. The main bell rings when some have come. */
  want(taken: number, ahead: number): void;
  /** Tells the source that no more is wanted. */
  leave(): void;
}

export class SpokenSpeech extends TimedSpeech implements JobOwner {
  failure: TtsError | null = null;
  private readonly open: Job[] = [];
  private readonly times = new WordTimes();

  constructor(
    host: SpeechHost,
    private readonly source: PromptSource,
    readonly settings: SpeechSettings,
    private readonly message: Omit<Sentence, "text" | "stream">,
    readonly priority: number,
    request: SoundRequest,
  ) {
    super(host, request);
  }

  protected get seed(): number {
    return this.settings.seed;
  }

  get sentences(): readonly string[] {
    return this.source.sentences;
  }

  get unread(): readonly string[] {
    return this.source.unread;
  }

  get words(): readonly WordTime[] {
    return this.times.words;
  }

  protected override follow(chunk: AudioChunk, before: number): void {
    this.times.take(chunk, this.source.words[chunk.sentence], before);
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const { host, open, source } = this;
    const { jobs } = host;
    const ahead = host.lanes === 1 ? SENTENCES_AHEAD : SENTENCES_AHEAD_OF_LANES;
    let submitted = 0;
    try {
      while (!this.cancelled) {
        source.want(submitted, ahead - open.length);
        const wanted = Math.min(ahead - open.length, source.sentences.length - submitted);
        const next = source.sentences.slice(submitted, submitted + jobs.roomFor(this, wanted));
        const sentences = next.map((text, i): Sentence => ({ ...this.message, text, stream: submitted + i }));
        if (sentences.length > 0) open.push(...jobs.submit(this, sentences));
        submitted += next.length;
        const isOver = open.length === 0 && submitted === source.sentences.length && source.ended;
        const failure = isOver ? source.failure : (host.failure ?? this.failure);
        if (failure !== null) throw failure;
        if (isOver) return;
        const seen = host.signals.read("main");
        const [job] = open;
        if (job !== undefined && job.early.length > 0) yield job.early.shift()!;
        else if (job !== undefined && job.stop !== null && job.stop !== "failed")
          this.finish(open.shift()!, job.stop);
        else if (!jobs.drain()) await this.wait(seen, next.length < wanted);
      }
    } finally {
      source.leave();
      this.leaveOpen();
    }
  }

  private async wait(seen: number, isHungry: boolean): Promise<void> {
    const { host } = this;
    if (this.cancelled) return;
    host.jobs.setHungry(this, isHungry);
    await host.wait(seen);
    host.jobs.setHungry(this, false);
  }

  private finish(job: Job, stop: StopReason): void {
    if (URGENCY[stop] > URGENCY[this.stop]) this.stop = stop;
    this.host.jobs.addFigures(this.figures, job.id);
    this.host.jobs.forget(job);
  }

  protected abandon(): void {
    for (const job of this.open) this.host.signals.cancel(job.id);
  }

  /**
   * Stops the open sentences and throws their sound away, after a break out of the loop or a failed sentence.
   */
  private leaveOpen(): void {
    const { host, open } = this;
    this.cancelled = true;
    this.abandon();
    for (const job of open) host.jobs.addFigures(this.figures, job.id);
    void this.discard(open.splice(0));
  }

  /** Runs in the background: the stages may be busy for a moment, and the caller need not wait. */
  private async discard(open: readonly Job[]): Promise<void> {
    const { host } = this;
    while (open.some((job) => job.stop === null) && host.failure === null) {
      const seen = host.signals.read("main");
      if (!host.jobs.drain()) await host.wait(seen);
    }
    for (const job of open) host.jobs.forget(job);
  }
}

/** An iteration whose first step is under way. */
async function* resumed<T>({ first, rest }: { first: Promise<IteratorResult<T>>; rest: AsyncGenerator<T> }) {
  try {
    const { done, value } = await first;
    if (done) return;
    yield value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

/** Known codes, decoded by the vocoder alone. */
export class DecodedSpeech extends TimedSpeech {
  protected readonly seed = 0;
  private lane: DecodeLane | null = null;
  /** The next block to send: -1 is the start, then come the frames and the end. */
  private sent = -1;

  constructor(
    host: SpeechHost,
    private readonly codes: Int32Array,
    request: SoundRequest,
  ) {
    super(host, request);
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const { host } = this;
    const taken: { lane: DecodeLane | null } = { lane: null };
    void host.jobs.takeDecodeLane().then((lane) => {
      taken.lane = lane;
      host.signals.ring("main");
      if (this.cancelled) lane.release(); // its turn came too late
    });
    while (!this.cancelled) {
      const seen = host.signals.read("main");
      if (host.failure !== null) throw host.failure;
      if (taken.lane !== null) return yield* this.decode(taken.lane);
      await host.wait(seen);
    }
    taken.lane?.release();
  }

  private async *decode(lane: DecodeLane): AsyncGenerator<AudioChunk> {
    const { host } = this;
    this.lane = lane;
    try {
      while (!this.cancelled) {
        const seen = host.signals.read("main");
        if (host.failure !== null) throw host.failure;
        this.send(lane);
        if (lane.samples.filled === 0) await host.wait(seen);
        else if (lane.samples.kind() === KIND.frame) {
          const chunk = takeFrames(lane.samples, 0);
          host.signals.ring("vocoder");
          yield chunk;
        } else {
          lane.samples.release(1);
          this.lane = null;
          return;
        }
      }
    } finally {
      host.jobs.addFigures(this.figures, lane.job);
      if (this.lane === null) lane.release();
      else void this.discard(lane);
    }
  }

  private send(lane: DecodeLane): void {
    const frames = this.codes.length / CODES_PER_FRAME;
    for (; this.sent <= frames && lane.codes.free > 0; this.sent++) {
      if (this.sent < 0) lane.codes.pushStart(lane.job);
      else if (this.sent < frames)
        lane.codes.pushFrame(lane.job, this.codes, this.sent * CODES_PER_FRAME, -1);
      else lane.codes.pushEnd(lane.job, "eos");
      this.host.signals.ring("vocoder");
    }
  }

  protected abandon(): void {
    if (this.lane !== null) this.host.signals.cancel(this.lane.job);
  }

  /** Empties the lane up to its end block, in the background, so that the next text finds it clean. */
  private async discard(lane: DecodeLane): Promise<void> {
    const { host } = this;
    host.signals.cancel(lane.job);
    // only the end is still to be sent
    if (this.sent >= 0) this.sent = Math.max(this.sent, this.codes.length / CODES_PER_FRAME);
    for (let ended = this.sent < 0; !ended && host.failure === null; ) {
      const seen = host.signals.read("main");
      this.send(lane);
      ended = lane.samples.filled > 0 && lane.samples.kind() === KIND.end;
      if (lane.samples.filled > 0) lane.samples.release(1);
      else await host.wait(seen);
      host.signals.ring("vocoder");
    }
    lane.release();
  }
}
