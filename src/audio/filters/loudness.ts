// One constant gain, and behind it a limiter that looks ahead and keeps true peaks below -1 dBTP. Where
// nothing is too high, every sample is exactly its value times the gain.

import { SAMPLE_RATE_HZ } from "../../types.ts";
import { PEAK_REACH, peakAt } from "../loudness.ts";
import type { Filter } from "./filter.ts";

/** No true peak is higher. */
export const CEILING_DB = -1;
/** Aimed at a little below: a changing gain bends what lies between the samples. */
const TARGET = 10 ** ((CEILING_DB - 0.1) / 20);
/** 5 ms: the gain falls this long before a peak. */
const AHEAD = SAMPLE_RATE_HZ / 200;
/** Neighbours of a high sample get its gain too. */
const NEIGHBOURS = 8;
/** Peaks are held until the gain has fallen for them, and for their neighbours. */
const HOLD = AHEAD + 2 * NEIGHBOURS;
/** Samples between the newest one and the one that is given out. */
const LATENCY = AHEAD + NEIGHBOURS + PEAK_REACH;
/** The gain comes back by 63 % of the way in 80 ms. */
const RELEASE = 1 - Math.exp(-1 / (0.08 * SAMPLE_RATE_HZ));
/** From here on the gain is as good as back. */
const RELEASED = 1 - 1e-4;
/** Samples that are worked on between two moves of the memory. */
const BLOCK = 4096;
/** A power of two above HOLD and AHEAD, for rings. */
const RING = 256;

/** @param gainDb what the voice's loudness lacks: the target minus the loudness */
export function loudnessFilter(gainDb: number): Filter {
  if (!Number.isFinite(gainDb)) throw new RangeError(`the gain is ${gainDb} dB, which is no number`);
  return new GainLimiter(10 ** (gainDb / 20));
}

class GainLimiter implements Filter {
  /** The samples that are not given out yet, and those before them that peaks depend on. */
  private readonly memory = new Float32Array(2 * PEAK_REACH + LATENCY + BLOCK);
  /** Where the next sample goes. What lies before the first sample is silence. */
  private filled = 2 * PEAK_REACH;
  private pushed = 0;
  private given = 0;
  /** Positions and wanted gains that rise: the first is the lowest of the last HOLD samples. */
  private readonly positions = new Float64Array(RING);
  private readonly wanted = new Float64Array(RING);
  private first = 0;
  private last = 0;
  private now = 0;
  /** What the gain lacks to 1, before it is averaged, and its sum over the last AHEAD samples. */
  private readonly lacks = new Float64Array(RING);
  private lack = 0;
  private sum = 0;
  /** Samples since the gain was whole; from AHEAD on the average is whole, too. */
  private whole = AHEAD;

  constructor(private readonly gain: number) {}

  push(samples: Float32Array): Float32Array {
    const ready = Math.max(0, this.pushed + samples.length - LATENCY) - this.given;
    return this.run(samples, samples.length, new Float32Array(ready));
  }

  end(): Float32Array {
    const left = this.pushed - this.given;
    return left === 0 ? new Float32Array(0) : this.run(null, LATENCY, new Float32Array(left));
  }

  /** @param samples null: silence */
  private run(samples: Float32Array | null, count: number, out: Float32Array): Float32Array {
    const { memory } = this;
    let written = 0;
    for (let i = 0; i < count; i++) {
      if (this.filled === memory.length) {
        const kept = 2 * PEAK_REACH + LATENCY;
        memory.copyWithin(0, this.filled - kept);
        this.filled = kept;
      }
      memory[this.filled++] = samples === null ? 0 : samples[i];
      const gain = this.gainAhead(this.gain * peakAt(memory, this.filled - 2 * PEAK_REACH));
      this.pushed++;
      if (this.pushed > LATENCY) out[written++] = memory[this.filled - 1 - LATENCY] * this.gain * gain;
    }
    this.given += written;
    return out;
  }

  /** Takes the next peak. @returns the gain for the sample AHEAD + NEIGHBOURS before it */
  private gainAhead(peak: number): number {
    const { lacks, now } = this;
    const held = this.hold(peak > TARGET ? TARGET / peak : 1);
    const released = (1 - RELEASE) * this.lack;
    this.lack = Math.max(1 - held, released < 1 - RELEASED ? 0 : released);
    this.whole = this.lack > 0 ? 0 : this.whole + 1;
    this.sum += this.lack - lacks[(now - AHEAD) & (RING - 1)];
    lacks[now & (RING - 1)] = this.lack;
    this.now++;
    if (this.whole < AHEAD) return 1 - this.sum / AHEAD;
    this.sum = 0; // without what rounding has left of it
    return 1;
  }

  /** The lowest of the last HOLD wanted gains. */
  private hold(gain: number): number {
    const { now, positions, wanted } = this;
    const at = (index: number) => index & (RING - 1);
    while (this.last > this.first && wanted[at(this.last - 1)] >= gain) this.last--;
    wanted[at(this.last)] = gain;
    positions[at(this.last)] = now;
    this.last++;
    if (positions[at(this.first)] <= now - HOLD) this.first++;
    return wanted[at(this.first)];
  }
}
