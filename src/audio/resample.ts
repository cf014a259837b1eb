// Changes the sample rate with a windowed sinc. Pure; f32 in, f32 out.
//
// The filter passes up to 90 % of the lower Nyquist frequency and stops from 110 % on: a Kaiser window of 100
// dB over that band needs 32 zero crossings of the sinc to either side.

const ZERO_CROSSINGS = 32;
const ATTENUATION_DB = 100;
const KAISER_BETA = 0.1102 * (ATTENUATION_DB - 8.7);

/** Resamples mono sound; the length becomes ceil(length * to / from). Equal rates give the same samples. */
export function resample(samples: Float32Array, fromHz: number, toHz: number): Float32Array {
  if (fromHz === toHz) return samples;
  const ratio = new Ratio(fromHz, toHz);
  return Float32Array.from({ length: ratio.lengthOf(samples.length) }, (_, i) => ratio.sample(i, samples));
}

/** From one rate to another: which input samples an output sample is made of, and with which weights. */
export class Ratio {
  private readonly up: number;
  private readonly down: number;
  private readonly reach: number;
  private readonly phases: (Float64Array | undefined)[] = [];

  constructor(fromHz: number, toHz: number) {
    const divisor = greatestCommonDivisor(fromHz, toHz);
    [this.up, this.down] = [toHz / divisor, fromHz / divisor];
    this.reach = kernelReach(this.up, this.down);
  }

  /** Output samples of a whole sound. */
  lengthOf(inputs: number): number {
    return Math.ceil((inputs * this.up) / this.down);
  }

  /** The first input sample that output `i` is made of; before the start it is negative. */
  firstInput(i: number): number {
    return Math.floor((i * this.down) / this.up) - this.reach + 1;
  }

  /** Outputs whose input samples are all among the first `inputs`. */
  readyOf(inputs: number): number {
    return Math.max(0, Math.ceil(((inputs - this.reach) * this.up) / this.down));
  }

  /**
   * Output `i`. Input samples that are not there count as silence.
   * @param from index of the first of `samples` in the whole sound
   */
  sample(i: number, samples: Float32Array, from = 0): number {
    const phase = (i * this.down) % this.up;
    this.phases[phase] ??= kernel(phase / this.up, this.up, this.down);
    return convolve(samples, this.firstInput(i) - from, this.phases[phase]);
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Input samples used on either side. For a lower output rate the sinc is wider. */
const kernelReach = (up: number, down: number) => Math.ceil(ZERO_CROSSINGS * Math.max(1, down / up));

/**
 * Weights of the input samples around an output that lies `fraction` of a sample after the central one; they
 * add up to 1.
 */
export function kernel(fraction: number, up: number, down: number): Float64Array {
  const reach = kernelReach(up, down);
  const cutoff = Math.min(1, up / down);
  const half = ZERO_CROSSINGS / cutoff;
  const weights = Float64Array.from({ length: 2 * reach }, (_, tap) => {
    const distance = tap - reach + 1 - fraction;
    const inWindow =
      Math.abs(distance) < half ? bessel0(KAISER_BETA * Math.sqrt(1 - (distance / half) ** 2)) : 0;
    return sinc(distance * cutoff) * inWindow;
  });
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Modified Bessel function of order 0; the series ends when a term no longer counts. */
function bessel0(x: number): number {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-18 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** Samples before the start and after the end count as silence. */
function convolve(samples: Float32Array, from: number, weights: Float64Array): number {
  const first = Math.max(0, -from);
  const last = Math.min(weights.length, samples.length - from);
  let sum = 0;
  for (let tap = first; tap < last; tap++) sum += samples[from + tap] * weights[tap];
  return sum;
}
