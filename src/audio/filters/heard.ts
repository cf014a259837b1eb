// What comes out of filters, which is what anybody hears: how long it is, when it began, and where moments of
// the sound before the filters lie in it.

import { Listener } from "../onset.ts";
import type { Filter } from "./filter.ts";

/** Stands behind the filters as the last of them, and changes nothing. */
export class Heard implements Filter {
  private readonly listener: Listener;
  private startMs: number | null = null;

  /**
   * @param before the filters, the first one first
   * @param now in milliseconds
   */
  constructor(
    private readonly before: readonly Filter[],
    private readonly rateHz: number,
    private readonly now: () => number,
  ) {
    this.listener = new Listener(rateHz);
  }

  get hasBegun(): boolean {
    return this.startMs !== null;
  }

  /** Times count from here on. */
  begin(atMs: number): void {
    this.startMs = atMs;
  }

  push(samples: Float32Array): Float32Array {
    this.listener.take(samples, this.now() - (this.startMs ?? this.now()));
    return samples;
  }

  end(): Float32Array {
    return new Float32Array(0);
  }

  /** Where a moment of the sound before the filters lies; all in seconds. */
  moved(seconds: number): number {
    return this.before.reduce((at, filter) => filter.moved?.(at) ?? at, seconds);
  }

  get seconds(): number {
    return this.listener.samples / this.rateHz;
  }

  /** Until the first samples came out, and until the first heard one is played; 0: not yet. */
  get firstMs(): number {
    return this.listener.firstMs;
  }

  get heardMs(): number {
    return this.listener.heardMs;
  }
}
