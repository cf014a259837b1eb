// The log-mel front end of the speaker encoder: samples to 128 bands every 256 samples. Pure: no I/O, no
// state but tables built once. It must give what the official front end gives (magnitudes, not powers; Slaney
// bands; no centring, no normalisation).

import { SAMPLE_RATE_HZ } from "../types.ts";

const WINDOW = 1024; // samples of a frame, and length of the transform
const HALF = WINDOW / 2;
const HOP = 256; // samples from frame to frame
const EDGE = (WINDOW - HOP) / 2; // samples reflected at either end
export const MEL_BANDS = 128;
/** Fewer samples cannot be reflected at the ends. */
export const MEL_LEAST_SAMPLES = EDGE + 1;
/** Added to the squared magnitude. */
const POWER_FLOOR = 1e-9;
/** Smaller band values count as this one. */
const BAND_FLOOR = 1e-5;

/** The Slaney scale: linear up to 1 kHz, then logarithmic. */
const HZ_PER_MEL = 200 / 3;
const LOG_FROM_HZ = 1_000;
const LOG_FROM_MEL = LOG_FROM_HZ / HZ_PER_MEL;
const LOG_STEP = Math.log(6.4) / 27;

/** One triangle over the bins from `first` on. */
interface Band {
  first: number;
  weights: Float64Array;
}

interface Tables {
  /** Periodic Hann, [1024]. */
  window: Float64Array;
  /** e^(-2 pi i k / 1024), k < 512. */
  cos: Float64Array;
  sin: Float64Array;
  /** Where element k of a transform of 512 goes before the first stage. */
  reversed: Uint16Array;
  bands: Band[]; // [128]
}

let tables: Tables | null = null;

/**
 * @param samples mono f32 at 24 kHz
 * @returns natural logarithms of the bands, f32 [floor(samples / 256), 128], in memory that native code may
 * read
 * @throws RangeError below {@link MEL_LEAST_SAMPLES}
 */
export function logMel(samples: Float32Array): Float32Array {
  if (samples.length < MEL_LEAST_SAMPLES)
    throw new RangeError(`${samples.length} samples, a mel frame needs ${MEL_LEAST_SAMPLES}`);
  tables ??= buildTables();
  const frames = Math.floor(samples.length / HOP);
  const mel = new Float32Array(new ArrayBuffer(4 * frames * MEL_BANDS)); // [frames, 128]
  const re = new Float64Array(HALF);
  const im = new Float64Array(HALF);
  const magnitudes = new Float64Array(HALF + 1);
  for (let frame = 0; frame < frames; frame++) {
    loadFrame(tables, samples, frame * HOP - EDGE, re, im);
    transform(tables, re, im);
    unpack(tables, re, im, magnitudes);
    for (let band = 0; band < MEL_BANDS; band++) {
      const { first, weights } = tables.bands[band];
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * magnitudes[first + i];
      mel[frame * MEL_BANDS + band] = Math.log(Math.max(sum, BAND_FLOOR));
    }
  }
  return mel;
}

/**
 * The windowed frame from sample `from` on as 512 complex numbers, even samples real and odd ones imaginary,
 * in bit-reversed order.
 */
function loadFrame(
  { reversed, window }: Tables,
  samples: Float32Array,
  from: number,
  re: Float64Array,
  im: Float64Array,
): void {
  const last = samples.length - 1;
  const at = (index: number) => samples[index < 0 ? -index : index > last ? 2 * last - index : index];
  for (let k = 0; k < HALF; k++) {
    re[reversed[k]] = at(from + 2 * k) * window[2 * k];
    im[reversed[k]] = at(from + 2 * k + 1) * window[2 * k + 1];
  }
}

/** Complex Fourier transform of 512 numbers in bit-reversed order, in place. */
function transform({ cos, sin }: Tables, re: Float64Array, im: Float64Array): void {
  for (let half = 1; half < HALF; half *= 2) {
    const stride = HALF / half; // steps of the table of 1024 per step of this stage
    for (let start = 0; start < HALF; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const c = cos[k * stride];
        const s = sin[k * stride];
        const low = start + k;
        const high = low + half;
        const turnedRe = re[high] * c - im[high] * s;
        const turnedIm = re[high] * s + im[high] * c;
        re[high] = re[low] - turnedRe;
        im[high] = im[low] - turnedIm;
        re[low] += turnedRe;
        im[low] += turnedIm;
      }
    }
  }
}

/** Magnitudes [513] of the 1024 real samples from the transform of their 512 pairs. */
function unpack({ cos, sin }: Tables, re: Float64Array, im: Float64Array, magnitudes: Float64Array): void {
  for (let k = 0; k <= HALF; k++) {
    const [i, j] = [k % HALF, (HALF - k) % HALF];
    const [evenRe, evenIm] = [(re[i] + re[j]) / 2, (im[i] - im[j]) / 2];
    const [oddRe, oddIm] = [(im[i] + im[j]) / 2, (re[j] - re[i]) / 2];
    const [c, s] = k === HALF ? [-1, 0] : [cos[k], sin[k]];
    const sumRe = evenRe + oddRe * c - oddIm * s;
    const sumIm = evenIm + oddRe * s + oddIm * c;
    magnitudes[k] = Math.sqrt(sumRe * sumRe + sumIm * sumIm + POWER_FLOOR);
  }
}

function buildTables(): Tables {
  const angle = (k: number) => (-2 * Math.PI * k) / WINDOW;
  const reversed = new Uint16Array(HALF);
  for (let k = 1; k < HALF; k++) reversed[k] = (reversed[k >> 1] >> 1) | (k % 2 === 0 ? 0 : HALF / 2);
  return {
    window: Float64Array.from({ length: WINDOW }, (_, n) => Math.fround(0.5 - 0.5 * Math.cos(angle(n)))),
    cos: Float64Array.from({ length: HALF }, (_, k) => Math.cos(angle(k))),
    sin: Float64Array.from({ length: HALF }, (_, k) => Math.sin(angle(k))),
    reversed,
    bands: melBands(),
  };
}

const toMel = (hz: number) =>
  hz < LOG_FROM_HZ ? hz / HZ_PER_MEL : LOG_FROM_MEL + Math.log(hz / LOG_FROM_HZ) / LOG_STEP;
const toHz = (mel: number) =>
  mel < LOG_FROM_MEL ? mel * HZ_PER_MEL : LOG_FROM_HZ * Math.exp((mel - LOG_FROM_MEL) * LOG_STEP);

/**
 * Triangles from 0 to 12 kHz, each of the area that librosa's norm="slaney" gives it; rounded to f32 where
 * librosa rounds.
 */
function melBands(): Band[] {
  const top = toMel(SAMPLE_RATE_HZ / 2);
  const edge = (i: number) => toHz((top * i) / (MEL_BANDS + 1));
  return Array.from({ length: MEL_BANDS }, (_, band) => {
    const [lower, center, upper] = [edge(band), edge(band + 1), edge(band + 2)];
    const heights = Float64Array.from({ length: HALF + 1 }, (_, bin) => {
      const hz = (bin * SAMPLE_RATE_HZ) / WINDOW;
      const height = Math.max(0, Math.min((hz - lower) / (center - lower), (upper - hz) / (upper - center)));
      return Math.fround(Math.fround(height) * (2 / (upper - lower)));
    });
    const first = Math.max(
      0,
      heights.findIndex((height) => height > 0),
    );
    return { first, weights: heights.slice(first, heights.findLastIndex((height) => height > 0) + 1) };
  });
}
