// Stands between a sentence's sound and who listens: lets it through as it is made, holds back what is
// doubtful, and cuts the sentence off where it went wrong. What it lets through depends on the frames alone,
// never on how many of them come at once.

import { firstHeard } from "../audio/onset.ts";
import { VOCODER_CHUNKS } from "../config.ts";
import { joined } from "../io/bytes.ts";
import { type Fault, Watch } from "../stages/watch.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME } from "../types.ts";
import type { AudioChunk } from "./jobs.ts";
import type { PlacedWord } from "./words.ts";

/** The draw of the k-th repair of a sentence: another seed, which k and the speech's own decide. */
export const seedOfRepair = (seed: number, k: number) =>
  (seed + k * 0x1_9e37_79b9_7f4b) % Number.MAX_SAFE_INTEGER;
/** A sentence is said again so many times. */
export const MOST_REPAIRS = 2;
/** A repair goes before the sentences that wait: sound stands still until it comes. */
export const REPAIR_PRIORITY = 0.5;

/** The sound fades out so long before a cut, so that it does not click. */
const FADE_SAMPLES = SAMPLE_RATE_HZ / 100;

/** What has been said of a sentence, by an attempt that ended badly. */
export interface Cut {
  fault: Fault;
  /** Frames that were given out though they were found to be bad later. */
  tooLate: number;
  /** Offset in the sentence from which it is to be said again; null: nobody knows, or nothing is left. */
  again: number | null;
}

export class Guard {
  cut: Cut | null = null;
  private readonly watch: Watch;
  private held: AudioChunk | null = null;
  /** Frames that were given out, and those that may be. */
  private given = 0;
  private good = 0;
  /** Frames that were watched, and at how many of them it is next decided what may be given out. */
  private seen = 0;
  private pieces = 0;
  private decision: number = VOCODER_CHUNKS[0];

  /**
   * @param sentence whose part from `from` on is said
   * @param attempt 0, or the number of the repair
   */
  constructor(
    private readonly sentence: string,
    words: readonly PlacedWord[],
    private readonly from: number,
    readonly attempt: number,
  ) {
    const left = words.filter((word) => word.to > from);
    const placed = left.map((word) => ({ from: word.from - from, to: word.to - from }));
    this.watch = new Watch(sentence.slice(from), placed);
  }

  /** @returns what may be given out now, or null */
  take(chunk: AudioChunk): AudioChunk | null {
    if (this.cut !== null) return null;
    const { watch } = this;
    for (let frame = 0; frame < chunk.textAt.length && watch.fault === null; frame++) {
      const samples = chunk.samples.subarray(frame * SAMPLES_PER_FRAME, (frame + 1) * SAMPLES_PER_FRAME);
      watch.take(chunk.codes, frame * CODES_PER_FRAME, firstHeard(samples) < 0, chunk.textAt[frame]);
      this.decide();
    }
    chunk.attempt = this.attempt;
    for (let i = 0; i < chunk.textAt.length; i++) if (chunk.textAt[i] >= 0) chunk.textAt[i] += this.from;
    const all = this.held === null ? chunk : together(this.held, chunk);
    const frames = all.textAt.length;
    const isFaded = watch.fault !== null && watch.fault.from > this.good;
    if (isFaded) this.good = watch.fault!.from;
    const count = Math.min(Math.max(this.good - this.given, 0), frames);
    this.given += count;
    this.held = count === frames ? null : part(all, count, frames);
    if (watch.fault !== null) this.end(watch.fault);
    const out = count === frames ? all : part(all, 0, count);
    if (isFaded) fadeOut(out.samples);
    return count === 0 ? null : out;
  }

  /** Where a piece of the vocoder ends, its frames go out, up to the first doubtful one. */
  private decide(): void {
    const { watch } = this;
    if (++this.seen < this.decision || watch.fault !== null) return;
    this.pieces = Math.min(this.pieces + 1, VOCODER_CHUNKS.length - 1);
    this.decision += VOCODER_CHUNKS[this.pieces];
    this.good = Math.max(this.good, watch.doubtful ?? this.seen);
  }

  private end(fault: Fault): void {
    this.held = null;
    // nothing was given out: all of it can be said again
    const rest = this.given === 0 ? 0 : fault.rest;
    const again = rest === null ? null : this.from + rest;
    const isLeft = again !== null && /[\p{L}\p{N}]/u.test(this.sentence.slice(again));
    this.cut = { fault, tooLate: Math.max(0, this.given - fault.from), again: isLeft ? again : null };
  }

  /** The sentence has ended by itself. @returns what was held back */
  release(): AudioChunk | null {
    const { held } = this;
    this.held = null;
    return held;
  }
}

function together(a: AudioChunk, b: AudioChunk): AudioChunk {
  const samples = joined([a.samples, b.samples]);
  const codes = Int32Array.from([...a.codes, ...b.codes]);
  return { ...b, samples, codes, textAt: Int32Array.from([...a.textAt, ...b.textAt]) };
}

/** Frames `from` to `to` (exclusive). */
const part = (chunk: AudioChunk, from: number, to: number): AudioChunk => ({
  ...chunk,
  samples: chunk.samples.slice(from * SAMPLES_PER_FRAME, to * SAMPLES_PER_FRAME),
  codes: chunk.codes.slice(from * CODES_PER_FRAME, to * CODES_PER_FRAME),
  textAt: chunk.textAt.slice(from, to),
});

function fadeOut(samples: Float32Array): void {
  for (let i = 1; i <= Math.min(FADE_SAMPLES, samples.length); i++)
    samples[samples.length - i] *= (i - 1) / FADE_SAMPLES;
}
