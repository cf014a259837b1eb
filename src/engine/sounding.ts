// Sound as a program iterates it, whatever it is made from: chunks in order, the clock, the figures, and
// cancelling at any moment.

import { Listener, StartTrimmer } from "../audio/onset.ts";
import type { TtsError } from "../errors.ts";
import { cancelledWhenLeft, resumed } from "../io/iteration.ts";
import { DRAFTS, type JobFigures, noFigures } from "../pipeline/figures.ts";
import type { Signals } from "../pipeline/signals.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, type StopReason } from "../types.ts";
import type { AudioChunk, Jobs } from "./jobs.ts";
import type { Repair, Summary } from "./summary.ts";

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
export abstract class TimedSpeech {
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
    return cancelledWhenLeft(this.timed(), () => this.cancel());
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
