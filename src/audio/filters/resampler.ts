// Changes the sample rate of sound as it comes: to the bit what resample() makes of the whole.

import { joined } from "../../io/bytes.ts";
import { Ratio } from "../resample.ts";
import type { Filter } from "./filter.ts";

/** Keeps no more than the samples that the kernel reaches over. */
export class Resampler implements Filter {
  private readonly ratio: Ratio;
  /** The last input samples, and the index of the first of them in the whole sound. */
  private kept: Float32Array = new Float32Array(0);
  private from = 0;
  /** Output samples so far. */
  private made = 0;

  constructor(fromHz: number, toHz: number) {
    this.ratio = new Ratio(fromHz, toHz);
  }

  push(samples: Float32Array): Float32Array {
    this.kept = joined([this.kept, samples]);
    return this.make(this.ratio.readyOf(this.from + this.kept.length));
  }

  end(): Float32Array {
    return this.make(this.ratio.lengthOf(this.from + this.kept.length));
  }

  /** Makes the outputs up to number `until`, and forgets what no later one needs. */
  private make(until: number): Float32Array {
    const out = new Float32Array(Math.max(0, until - this.made));
    for (let i = 0; i < out.length; i++) out[i] = this.ratio.sample(this.made + i, this.kept, this.from);
    this.made += out.length;
    const needed = Math.max(this.from, this.ratio.firstInput(this.made));
    this.kept = this.kept.slice(needed - this.from);
    this.from = needed;
    return out;
  }
}
