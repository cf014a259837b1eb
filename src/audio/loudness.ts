// How loud sound is, by EBU R128: the integrated loudness of ITU-R BS.1770-4 in LUFS, and the true peak. Mono
// at 24 kHz; pure arithmetic on samples.

import { SAMPLE_RATE_HZ } from "../types.ts";
import { kernel } from "./resample.ts";

/** Blocks of 400 ms begin every 100 ms, so that they overlap by 75 %. */
const HOP_SAMPLES = SAMPLE_RATE_HZ / 10;
const HOPS_PER_BLOCK = 4;
/** Quieter blocks are silence. */
const ABSOLUTE_GATE_LUFS = -70;
/** Blocks so far below the mean of the others are pauses. */
const RELATIVE_GATE_LU = -10;
/** BS.1770 adds it, so that K-weighting changes nothing at 1 kHz. */
const OFFSET_LU = -0.691;

const tangent = (hz: number) => Math.tan((Math.PI * hz) / SAMPLE_RATE_HZ);

/** [b0, b1, b2, a1, a2] of the shelf for the head: the standard's analogue prototype, made for this rate. */
function shelf(): number[] {
  const [k, q] = [tangent(1681.974450955533), 0.7071752369554196];
  const high = 10 ** (3.999843853973347 / 20);
  const band = high ** 0.4996667741545416;
  const a0 = 1 + k / q + k * k;
  const ends = [high + (band * k) / q + k * k, 2 * (k * k - high), high - (band * k) / q + k * k];
  return [...ends, 2 * (k * k - 1), 1 - k / q + k * k].map((value) => value / a0);
}

/** [a1, a2] of the high-pass below it, whose numerator is 1, -2, 1. */
function highPass(): number[] {
  const [k, q] = [tangent(38.13547087602444), 0.5003270373238773];
  const a0 = 1 + k / q + k * k;
  return [(2 * (k * k - 1)) / a0, (1 - k / q + k * k) / a0];
}

const [B0, B1, B2, A1, A2] = shelf();
const [C1, C2] = highPass();

/** The level of a mean square, which K-weighting has been applied to. */
const lufsOf = (meanSquare: number) => OFFSET_LU + 10 * Math.log10(meanSquare);

/** Measures sound as it comes. Keeps one number per 100 ms. */
export class LoudnessMeter {
  /** Mean square of each whole hop. */
  private readonly hops: number[] = [];
  private sum = 0;
  private filled = 0;
  /** The states of shelf and high-pass, in the transposed direct form. */
  private readonly state = new Float64Array(4);

  push(samples: Float32Array): void {
    let [s1, s2, t1, t2] = this.state;
    for (let i = 0; i < samples.length; i++) {
      const x = samples[i];
      const y = B0 * x + s1;
      s1 = B1 * x - A1 * y + s2;
      s2 = B2 * x - A2 * y;
      const z = y + t1;
      t1 = -2 * y - C1 * z + t2;
      t2 = y - C2 * z;
      this.sum += z * z;
      if (++this.filled === HOP_SAMPLES) this.endHop();
    }
    this.state.set([s1, s2, t1, t2]);
  }

  private endHop(): void {
    this.hops.push(this.sum / HOP_SAMPLES);
    this.sum = 0;
    this.filled = 0;
  }

  /** In LUFS; -Infinity for silence, and for less than 400 ms. */
  integrated(): number {
    const { hops } = this;
    const blocks = hops
      .slice(0, 1 - HOPS_PER_BLOCK)
      .map((_, i) => (hops[i] + hops[i + 1] + hops[i + 2] + hops[i + 3]) / HOPS_PER_BLOCK)
      .filter((block) => lufsOf(block) > ABSOLUTE_GATE_LUFS);
    const gate = lufsOf(mean(blocks)) + RELATIVE_GATE_LU;
    return lufsOf(mean(blocks.filter((block) => lufsOf(block) > gate)));
  }
}

const mean = (values: readonly number[]) =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;

const OVERSAMPLING = 4;
/** The three points between two samples, four times oversampled. */
const BETWEEN = [1, 2, 3].map((point) => kernel(point / OVERSAMPLING, OVERSAMPLING, 1));
/** Samples on either side that a point between two samples depends on. */
export const PEAK_REACH = BETWEEN[0].length / 2;

/**
 * The true peak of a sample and of what lies between it and the next one.
 * @param samples those from PEAK_REACH - 1 before it to PEAK_REACH after it, beginning at `from`
 */
export function peakAt(samples: Float32Array, from: number): number {
  let peak = Math.abs(samples[from + PEAK_REACH - 1]);
  for (const weights of BETWEEN) {
    let sum = 0;
    for (let tap = 0; tap < weights.length; tap++) sum += samples[from + tap] * weights[tap];
    peak = Math.max(peak, Math.abs(sum));
  }
  return peak;
}

/** The true peak of a whole sound as a factor of full scale. */
export function truePeak(samples: Float32Array): number {
  const padded = new Float32Array(samples.length + 2 * PEAK_REACH);
  padded.set(samples, PEAK_REACH);
  let peak = 0;
  for (let from = 0; from < samples.length + 1; from++) peak = Math.max(peak, peakAt(padded, from));
  return peak;
}
