// What the stages did and when, in shared memory: every stage has a ring of slices, which overwrites the
// oldest, and sums that keep everything. Written by one thread, read by any; nothing is allocated per slice.

import type { StageName } from "../types.ts";

/**
 * A piece of work. `recall`: prompt rows that were known already. `exchange`: the talker waits while the code
 * predictor has its turn.
 */
const SLICE = { prefill: 0, step: 1, exchange: 2, predict: 3, decode: 4, recall: 5 } as const;
export type SliceKind = keyof typeof SLICE;
const KINDS = Object.keys(SLICE) as SliceKind[];

/** Slices that a stage remembers. The talker has two per frame: five minutes of speech in one lane. */
export const TIMELINE_SLICES = 8_192;
/** f64 of a slice: start, end. i32 of a slice: kind, rows. */
const WORDS = 2;
/** f64 of a sum: milliseconds, rows. After the sums of the kinds comes one more: the time that was spared. */
const SUM_WORDS = 2;
const SPARED = KINDS.length;

export interface TrackMemory {
  /** u32 [1]: slices written; only grows and wraps. */
  count: SharedArrayBuffer;
  /** f64 [slices, 2] */
  times: SharedArrayBuffer;
  /** i32 [slices, 2] */
  labels: SharedArrayBuffer;
  /** f64 [kinds + 1, 2] */
  sums: SharedArrayBuffer;
  /** u32 [1]: signs of life within slices that take long. */
  signs: SharedArrayBuffer;
}

export type TimelineMemory = Record<StageName, TrackMemory>;

const createTrackMemory = (): TrackMemory => ({
  count: new SharedArrayBuffer(4),
  times: new SharedArrayBuffer(8 * TIMELINE_SLICES * WORDS),
  labels: new SharedArrayBuffer(4 * TIMELINE_SLICES * WORDS),
  sums: new SharedArrayBuffer(8 * (KINDS.length + 1) * SUM_WORDS),
  signs: new SharedArrayBuffer(4),
});

export const createTimelineMemory = (): TimelineMemory => ({
  talker: createTrackMemory(),
  predictor: createTrackMemory(),
  vocoder: createTrackMemory(),
});

/**
 * Times are those of `monotonicMs` in ffi/libc.ts: one clock for all threads, which `performance.now` is not.
 */
export interface Slice {
  kind: SliceKind;
  startMs: number;
  endMs: number;
  /**
   * Prompt rows for `prefill` and `recall`; otherwise frames: those of the chunk for `decode`, else one per
   * lane.
   */
  rows: number;
}

/** Prompt rows since the start. */
export interface PromptRows {
  computed: number;
  known: number;
  /** The time that computing the known rows once took, less the time of recalling them. */
  savedMs: number;
}

/** Milliseconds and rows of one kind of work. */
export interface Sum {
  ms: number;
  rows: number;
}

export class Track {
  private readonly count: Uint32Array;
  private readonly times: Float64Array;
  private readonly labels: Int32Array;
  private readonly sums: Float64Array;
  private readonly signCount: Uint32Array;

  constructor(memory: TrackMemory) {
    this.count = new Uint32Array(memory.count);
    this.times = new Float64Array(memory.times);
    this.labels = new Int32Array(memory.labels);
    this.sums = new Float64Array(memory.sums);
    this.signCount = new Uint32Array(memory.signs);
  }

  /** Writer. */
  record(kind: SliceKind, startMs: number, endMs: number, rows: number): void {
    const code = SLICE[kind];
    const at = (Atomics.load(this.count, 0) % TIMELINE_SLICES) * WORDS;
    this.times[at] = startMs;
    this.times[at + 1] = endMs;
    this.labels[at] = code;
    this.labels[at + 1] = rows;
    this.sums[code * SUM_WORDS] += endMs - startMs;
    this.sums[code * SUM_WORDS + 1] += rows;
    Atomics.add(this.count, 0, 1);
  }

  /** Writer: something got done, though no slice is complete. */
  live(): void {
    Atomics.add(this.signCount, 0, 1);
  }

  /** Grows while the stage works. */
  get signs(): number {
    return this.written + Atomics.load(this.signCount, 0);
  }

  /** Writer: counts the time that known work took when it was done. */
  spare(milliseconds: number): void {
    this.sums[SPARED * SUM_WORDS] += milliseconds;
  }

  get sparedMs(): number {
    return this.sums[SPARED * SUM_WORDS];
  }

  /** Slices written so far; pass it to {@link since} later to get only newer ones. */
  get written(): number {
    return Atomics.load(this.count, 0);
  }

  /** The slices from number `from` on, oldest first, without those that are already overwritten. */
  since(from: number): Slice[] {
    const to = this.written;
    const first = to - Math.min((to - from) >>> 0, TIMELINE_SLICES - 1);
    const slices: Slice[] = [];
    for (let number = first; number < to; number++) slices.push(this.slice(number >>> 0));
    // The writer may have gone on meanwhile: slices that it has reached, or is writing now, are torn.
    const torn = Math.max(0, ((this.written - first) >>> 0) - (TIMELINE_SLICES - 1));
    return slices.slice(torn);
  }

  private slice(number: number): Slice {
    const at = (number % TIMELINE_SLICES) * WORDS;
    return {
      kind: KINDS[this.labels[at]],
      startMs: this.times[at],
      endMs: this.times[at + 1],
      rows: this.labels[at + 1],
    };
  }

  sum(kind: SliceKind): Sum {
    const at = SLICE[kind] * SUM_WORDS;
    return { ms: this.sums[at], rows: this.sums[at + 1] };
  }
}

/** The tracks of all stages, for readers. */
export class Timeline {
  readonly tracks: Readonly<Record<StageName, Track>>;

  constructor({ talker, predictor, vocoder }: TimelineMemory) {
    this.tracks = { talker: new Track(talker), predictor: new Track(predictor), vocoder: new Track(vocoder) };
  }

  promptRows(): PromptRows {
    const { talker } = this.tracks;
    const recall = talker.sum("recall");
    return { computed: talker.sum("prefill").rows, known: recall.rows, savedMs: talker.sparedMs - recall.ms };
  }

  /** The work that takes most of a frame's time, summed since the start. */
  sums(): Record<StageName, Sum> {
    const { talker, predictor, vocoder } = this.tracks;
    return {
      talker: talker.sum("step"),
      predictor: predictor.sum("predict"),
      vocoder: vocoder.sum("decode"),
    };
  }
}
