// The sound of an announcement while it is made: who plays it need not wait for its end, and may play it
// again.

import { SAMPLE_RATE_HZ } from "../types.ts";

/** A word in the sound of a part, in seconds from the beginning of the part. */
export interface WordSpan {
  readonly start: number;
  readonly end: number;
}

export interface Worded {
  /** Those that have begun; empty where nobody knows. */
  readonly words: readonly WordSpan[];
}

/** Grows at its end; can be iterated from its beginning any number of times. */
export class GrowingSound implements AsyncIterable<Float32Array> {
  /** How many there are. */
  samples = 0;
  private readonly chunks: Float32Array[] = [];
  private readonly parts: { from: number; part: Worded }[] = [];
  private end: { failure: unknown } | null = null;
  private wake: () => void = () => {};
  private changed = this.nextChange();

  /** What is pushed from now on is another part, whose words may grow with it. */
  startPart(part: Worded): void {
    this.parts.push({ from: this.samples, part });
  }

  /** The place, in samples, where the word ends that is said at another place; null: none is known to be. */
  wordEnd(place: number): number | null {
    const last = this.parts.findLast(({ from }) => from <= place);
    if (last === undefined) return null;
    const { from, part } = last;
    const { words } = part;
    const seconds = (place - from) / SAMPLE_RATE_HZ;
    const index = words.findIndex(({ end, start }) => seconds >= start && seconds < end);
    // the last word of a part that grows is still being said
    const isGrowing = this.end === null && last === this.parts.at(-1);
    if (index < 0 || (isGrowing && index === words.length - 1)) return null;
    return from + Math.round(words[index].end * SAMPLE_RATE_HZ);
  }

  push(samples: Float32Array): void {
    this.chunks.push(samples);
    this.samples += samples.length;
    this.tell();
  }

  /** @param failure what whoever listens gets, or undefined */
  finish(failure?: unknown): void {
    this.end = { failure };
    this.tell();
  }

  /** Until it is ready, which is asked whenever it has grown, or has ended. Throws its failure. */
  async until(isReady: () => boolean): Promise<void> {
    while (this.end === null && !isReady()) await this.changed;
    if (this.end?.failure !== undefined) throw this.end.failure;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Float32Array> {
    for (let i = 0; ; i++) {
      while (i >= this.chunks.length && this.end === null) await this.changed;
      if (i < this.chunks.length) yield this.chunks[i];
      else if (this.end?.failure !== undefined) throw this.end.failure;
      else return;
    }
  }

  private tell(): void {
    this.wake();
    this.changed = this.nextChange();
  }

  private nextChange(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}
