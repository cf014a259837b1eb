// Sound on its way to the program: chunks in order, figures, cancelling. Spoken from sentences, or decoded from known codes.

import { RING_FRAMES } from "../config.ts";
import type { TtsError } from "../errors.ts";
import { type EndReason, KIND, type Ring } from "../pipeline/ring.ts";
import type { Signals } from "../pipeline/signals.ts";
import type { Sentence } from "../stages/sentence.ts";
import type { PromptRows, Sum, Timeline } from "../stages/timeline.ts";
import type { StageName } from "../types.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, type StopReason } from "../types.ts";
import type { PreparedSpeech } from "./request.ts";

/** Some sound, as soon as it is there. Belongs to the receiver. */
export interface AudioChunk {
  /** f32 in [-1, 1], 24 kHz mono, 1920 per frame */
  samples: Float32Array;
  /** i32 [frames, 16] */
  codes: Int32Array;
  /** Which sentence of the text, from 0. */
  sentence: number;
}

/** Figures of one {@link Speech}; times in milliseconds unless named otherwise. */
export interface Summary {
  audioSeconds: number;
  wallSeconds: number;
  /** Wall time over sound: below 1 is faster than real time. */
  rtf: number;
  firstAudioMs: number;
  frames: number;
  msPerFrame: { talker: number; predictor: number; vocoder: number };
  /** Positions of all prompts, how many of them were known from before and not computed, and the time that this saved. */
  prompt: { rows: number; cachedRows: number; savedMs: number };
  /** The most urgent reason of all sentences. */
  stop: StopReason;
  model: string;
  backends: Record<string, string>;
  seed: number;
}

/** One text being spoken. Breaking out of the loop cancels it. */
export interface Speech extends AsyncIterable<AudioChunk> {
  /** Characters and words of the text that the voice cannot read; they are left out. */
  readonly unread: string[];
  /** Sentences (prompts) it was split into. */
  readonly sentences: string[];
  /** Everything it was made with, to make it again. */
  readonly settings: Record<string, unknown> & { seed: number };
  /** Complete when the iteration has ended. */
  summary(): Summary;
}

/** A sentence on its way through the stages. */
export interface Job {
  id: number;
  speech: SpokenSpeech;
  sentence: number;
  /** Sound that came before its turn. */
  early: AudioChunk[];
  stop: EndReason | null;
}

/** What a speech needs of the engine that runs it. */
export interface SpeechHost {
  readonly signals: Signals;
  readonly timeline: Timeline;
  readonly backends: Readonly<Record<string, string>>;
  readonly modelName: string;
  readonly lanes: number;
  /** Set once a stage is down. */
  readonly failure: TtsError | null;
  /** How many more sentences may be submitted. */
  readonly room: number;
  /** Sends sentences to the talker, together; their `stream` is their place in the text. */
  submit(speech: SpokenSpeech, messages: readonly Sentence[]): Job[];
  forget(job: Job): void;
  /** Moves what has arrived from the rings to its jobs. @returns whether anything had */
  drain(): boolean;
  /** Sleeps until the main bell has rung since `seen`, or for a moment; fails the engine when no stage gives a sign any more. */
  wait(seen: number): Promise<void>;
  takeDecodeLane(): Promise<{ job: number; codes: Ring; samples: Ring; release: () => void }>;
}

/** All frames of one job that stand at the front of a ring. */
export function takeFrames(ring: Ring, sentence: number): AudioChunk {
  const job = ring.job();
  let frames = 0;
  while (frames < Math.min(ring.filled, RING_FRAMES) && ring.kind(frames) === KIND.frame && ring.job(frames) === job) frames++;
  const samples = new Float32Array(frames * SAMPLES_PER_FRAME);
  const codes = new Int32Array(frames * CODES_PER_FRAME);
  for (let frame = 0; frame < frames; frame++) {
    ring.copySamples(frame, samples, frame * SAMPLES_PER_FRAME);
    ring.copyCodes(frame, codes, frame * CODES_PER_FRAME);
  }
  ring.release(frames);
  return { samples, codes, sentence };
}

/** What spoken and decoded sound have in common: the clock and the figures. */
abstract class TimedSpeech implements Speech {
  readonly unread: string[] = [];
  readonly sentences: string[] = [];
  abstract readonly settings: Record<string, unknown> & { seed: number };
  protected stop: StopReason = "eos";
  private started = false;
  private startedMs = performance.now();
  private firstMs = 0;
  private endedMs = 0;
  private frames = 0;
  private sumsBefore: Record<StageName, Sum>;
  private rowsBefore: PromptRows;

  constructor(protected readonly engine: SpeechHost) {
    this.sumsBefore = engine.timeline.sums();
    this.rowsBefore = engine.timeline.promptRows();
  }

  protected abstract chunks(): AsyncGenerator<AudioChunk>;

  async *[Symbol.asyncIterator](): AsyncGenerator<AudioChunk> {
    if (this.started) throw new TypeError("a speech can be listened to once: speak the text again");
    this.started = true;
    this.startedMs = performance.now();
    this.sumsBefore = this.engine.timeline.sums();
    this.rowsBefore = this.engine.timeline.promptRows();
    try {
      for await (const chunk of this.chunks()) {
        if (this.frames === 0) this.firstMs = performance.now() - this.startedMs;
        this.frames += chunk.codes.length / CODES_PER_FRAME;
        yield chunk;
      }
    } finally {
      this.endedMs = performance.now();
    }
  }

  summary(): Summary {
    const { engine, frames } = this;
    const sums = engine.timeline.sums();
    const rows = engine.timeline.promptRows();
    const [computed, cachedRows] = [rows.computed - this.rowsBefore.computed, rows.known - this.rowsBefore.known];
    const perFrame = (stage: StageName) => {
      const done = sums[stage].rows - this.sumsBefore[stage].rows;
      return done === 0 ? 0 : round((sums[stage].ms - this.sumsBefore[stage].ms) / done);
    };
    const audioSeconds = (frames * SAMPLES_PER_FRAME) / SAMPLE_RATE_HZ;
    const wallSeconds = ((this.endedMs || performance.now()) - this.startedMs) / 1000;
    return {
      audioSeconds: round(audioSeconds),
      wallSeconds: round(wallSeconds),
      rtf: frames === 0 ? 0 : round(wallSeconds / audioSeconds),
      firstAudioMs: round(this.firstMs),
      frames,
      msPerFrame: { talker: perFrame("talker"), predictor: perFrame("predictor"), vocoder: perFrame("vocoder") },
      prompt: { rows: computed + cachedRows, cachedRows, savedMs: round(rows.savedMs - this.rowsBefore.savedMs) },
      stop: this.stop,
      model: engine.modelName,
      backends: { ...engine.backends },
      seed: this.settings.seed,
    };
  }
}

/** The next sentence waits in the talker, who then goes on at once. */
const SENTENCES_AHEAD = 2;
/** A lane that becomes free must find its next sentence there, however long the others take. */
const SENTENCES_AHEAD_OF_LANES = 32;

const round = (value: number) => Math.round(value * 1000) / 1000;
const URGENCY: Record<StopReason, number> = { eos: 0, length: 1, cancelled: 2 };

export class SpokenSpeech extends TimedSpeech {
  override readonly unread: string[];
  override readonly sentences: string[];
  readonly settings: Record<string, unknown> & { seed: number };
  private readonly message: PreparedSpeech["message"];
  failure: TtsError | null = null;
  cancelled = false;

  constructor(engine: SpeechHost, prepared: PreparedSpeech) {
    super(engine);
    ({ unread: this.unread, sentences: this.sentences, settings: this.settings, message: this.message } = prepared);
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const { engine } = this;
    const open: Job[] = [];
    const ahead = engine.lanes === 1 ? SENTENCES_AHEAD : SENTENCES_AHEAD_OF_LANES;
    let submitted = 0;
    try {
      while (submitted < this.sentences.length || open.length > 0) {
        const next = this.sentences.slice(submitted, submitted + Math.min(ahead - open.length, engine.room));
        if (next.length > 0) {
          open.push(
            ...engine.submit(
              this,
              next.map((text, i) => ({ ...this.message, text, stream: submitted + i })),
            ),
          );
          submitted += next.length;
        }
        const failure = engine.failure ?? this.failure;
        if (failure !== null) throw failure;
        const seen = engine.signals.read("main");
        const job = open[0];
        if (job !== undefined && job.early.length > 0) yield job.early.shift()!;
        else if (job !== undefined && job.stop !== null && job.stop !== "failed") this.finish(open.shift()!, job.stop);
        else if (!engine.drain()) await engine.wait(seen);
      }
    } finally {
      await this.cancel(open);
    }
  }

  private finish(job: Job, stop: StopReason): void {
    if (URGENCY[stop] > URGENCY[this.stop]) this.stop = stop;
    this.engine.forget(job);
  }

  /** Somebody broke out of the loop, or a sentence failed: the rest is stopped and thrown away. */
  private async cancel(open: Job[]): Promise<void> {
    const { engine } = this;
    this.cancelled = true;
    for (const job of open) engine.signals.cancel(job.id);
    while (open.some((job) => job.stop === null) && engine.failure === null && !engine.signals.stopped) {
      const seen = engine.signals.read("main");
      if (!engine.drain()) await engine.wait(seen);
    }
    for (const job of open) engine.forget(job);
  }
}

/** Codes that are already known, through the vocoder alone. */
export class DecodedSpeech extends TimedSpeech {
  readonly settings = { seed: 0 };

  constructor(
    engine: SpeechHost,
    private readonly codes: Int32Array,
  ) {
    super(engine);
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const lane = await this.engine.takeDecodeLane();
    const { signals } = this.engine;
    const frames = this.codes.length / CODES_PER_FRAME;
    let sent = -1; // the start block
    let abandoned = true;
    const send = () => {
      for (; sent <= frames && lane.codes.free > 0; sent++) {
        if (sent < 0) lane.codes.pushStart(lane.job);
        else if (sent < frames) lane.codes.pushFrame(lane.job, this.codes, sent * CODES_PER_FRAME);
        else lane.codes.pushEnd(lane.job, "eos");
        signals.ring("vocoder");
      }
    };
    try {
      for (;;) {
        const seen = signals.read("main");
        if (this.engine.failure !== null) throw this.engine.failure;
        send();
        if (lane.samples.filled === 0) await this.engine.wait(seen);
        else if (lane.samples.kind() === KIND.frame) {
          yield takeFrames(lane.samples, 0);
          signals.ring("vocoder");
        } else break;
      }
      abandoned = false;
      lane.samples.release(1);
    } finally {
      if (abandoned) {
        signals.cancel(lane.job);
        sent = Math.max(sent, frames); // only the end is still owed
        await this.discard(lane.samples, send);
      }
      lane.release();
    }
  }

  /** Empties the lane up to its end block, so that the next text finds it clean. */
  private async discard(ring: Ring, send: () => void): Promise<void> {
    const { signals } = this.engine;
    while (this.engine.failure === null && !signals.stopped) {
      const seen = signals.read("main");
      send();
      const ended = ring.filled > 0 && ring.kind() === KIND.end;
      if (ring.filled > 0) ring.release(1);
      else await this.engine.wait(seen);
      if (ended) return;
      signals.ring("vocoder");
    }
  }
}
