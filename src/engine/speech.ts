// One speech as the program iterates it: chunks in order, its own figures, cancelling at any moment. The
// sound is spoken from a text or decoded from known codes.

import { Listener, StartTrimmer } from "../audio/onset.ts";
import type { TtsError } from "../errors.ts";
import { DRAFTS, type JobFigures, noFigures } from "../pipeline/figures.ts";
import { KIND } from "../pipeline/ring.ts";
import type { Signals } from "../pipeline/signals.ts";
import type { Sentence } from "../stages/sentence.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, type StopReason } from "../types.ts";
import { type Cut, Guard, MOST_REPAIRS, REPAIR_PRIORITY, seedOfRepair } from "./guard.ts";
import { type AudioChunk, type DecodeLane, type Job, type JobOwner, type Jobs, takeFrames } from "./jobs.ts";
import type { SpeechSettings } from "./request.ts";
import type { Repair, Summary } from "./summary.ts";
import { type PlacedWord, type WordTime, WordTimes } from "./words.ts";

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
  protected readonly repairs: Repair[] = [];
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
      repairs: this.repairs,
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
  /** Markup of it that is not obeyed. */
  readonly ignored: readonly string[];
  /** Milliseconds of silence before prompts; behind the last one at their number. */
  readonly pauses: ReadonlyMap<number, number>;
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
  private readonly isWatched: boolean;
  private readonly open: Job[] = [];
  private readonly times = new WordTimes();
  /** Of the jobs that are watched. */
  private readonly guards = new Map<Job, Guard>();
  /** A repair that waits for a slot. */
  private repair: { sentence: Sentence; guard: Guard } | null = null;

  constructor(
    host: SpeechHost,
    private readonly source: PromptSource,
    readonly settings: SpeechSettings,
    private readonly message: Omit<Sentence, "text" | "stream">,
    readonly priority: number,
    request: SoundRequest & { watch?: boolean },
  ) {
    super(host, request);
    this.isWatched = request.watch ?? true;
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

  get ignored(): readonly string[] {
    return this.source.ignored;
  }

  get pauses(): ReadonlyMap<number, number> {
    return this.source.pauses;
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const { host, open, source } = this;
    const { jobs } = host;
    const ahead = host.lanes === 1 ? SENTENCES_AHEAD : SENTENCES_AHEAD_OF_LANES;
    let [submitted, paused] = [0, -1];
    try {
      while (!this.cancelled) {
        source.want(submitted, ahead - open.length);
        const wanted = Math.min(ahead - open.length, source.sentences.length - submitted);
        const next = source.sentences.slice(submitted, submitted + jobs.roomFor(this, wanted));
        const sentences = next.map((text, i): Sentence => ({ ...this.message, text, stream: submitted + i }));
        if (sentences.length > 0) open.push(...jobs.submit(this, sentences));
        submitted += next.length;
        this.submitRepair();
        const isOver =
          open.length === 0 && this.repair === null && submitted === source.sentences.length && source.ended;
        const failure = isOver ? source.failure : (host.failure ?? this.failure);
        if (failure !== null) throw failure;
        const turn = submitted - open.length - (this.repair === null ? 0 : 1);
        // until then more silence may be asked for
        const isKnown = turn < submitted || source.ended;
        if (paused < turn && isKnown) {
          paused = turn;
          yield* this.silence(turn);
        }
        if (isOver) return;
        const seen = host.signals.read("main");
        const [job] = open;
        if (this.repair === null && job !== undefined && job.early.length > 0) {
          const chunk = this.guarded(job, job.early.shift()!);
          if (chunk !== null) yield chunk;
        } else if (this.repair === null && job !== undefined && job.stop !== null && job.stop !== "failed") {
          const held = this.guards.get(job)?.release() ?? null;
          this.finish(open.shift()!, job.stop);
          if (held !== null) yield held;
        } else if (!jobs.drain()) await this.wait(seen, next.length < wanted || this.repair !== null);
      }
    } finally {
      source.leave();
      this.leaveOpen();
    }
  }

  /** @returns what of a job's next sound may be given out; a sentence that went wrong is cut here */
  private guarded(job: Job, chunk: AudioChunk): AudioChunk | null {
    if (!this.isWatched) return chunk;
    const { sentence } = job;
    const known = this.guards.get(job);
    const guard = known ?? new Guard(this.sentences[sentence], this.source.words[sentence], 0, 0);
    if (known === undefined) this.guards.set(job, guard);
    const good = guard.take(chunk);
    if (guard.cut !== null) this.mend(job, guard.attempt, guard.cut);
    return good;
  }

  /** Ends a job that went wrong, and has the rest of its sentence said with another draw. */
  private mend(job: Job, attempt: number, { again, fault, tooLate }: Cut): void {
    const { host, message } = this;
    const { sentence } = job;
    const text = this.sentences[sentence];
    const draw =
      again !== null && attempt < MOST_REPAIRS && !message.sampling.talker.greedy ? attempt + 1 : 0;
    this.repairs.push({ sentence, fault: fault.kind, tooLate, draw });
    if (again !== null && draw === 0 && this.stop === "eos") this.stop = "length";
    if (again !== null && draw > 0) {
      const seed = seedOfRepair(message.seed, draw);
      this.repair = {
        sentence: { ...message, text: text.slice(again), stream: sentence, seed },
        guard: new Guard(text, this.source.words[sentence], again, draw),
      };
    }
    this.open.shift();
    this.guards.delete(job);
    this.submitRepair(); // first: the lane takes it as soon as it is free
    host.signals.cancel(job.id);
    host.jobs.addFigures(this.figures, job.id);
    void this.discard([job]);
  }

  private submitRepair(): void {
    if (this.repair === null || this.host.jobs.roomFor(this, 1) === 0) return;
    const { guard, sentence } = this.repair;
    const [job] = this.host.jobs.submit(this, [sentence], REPAIR_PRIORITY);
    this.open.unshift(job);
    this.guards.set(job, guard);
    this.repair = null;
  }

  /** The pause before a sentence, in pieces: it may be long. */
  private *silence(sentence: number): Generator<AudioChunk> {
    let left = Math.round(((this.pauses.get(sentence) ?? 0) * SAMPLE_RATE_HZ) / 1000);
    for (; left > 0; left -= SAMPLE_RATE_HZ) {
      const samples = new Float32Array(Math.min(left, SAMPLE_RATE_HZ));
      const none = new Int32Array(0);
      const at = Math.min(sentence, this.sentences.length - 1);
      yield { samples, codes: none, textAt: none, sentence: at, attempt: 0 };
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
    this.guards.delete(job);
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
