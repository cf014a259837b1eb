// The log-mel front end against the official one, and against a transform by its definition. The official
// values differ by their f32 transform: its bands 90 dB below the loudest of their frame are rounding noise.

import { describe, expect, test } from "bun:test";
import { logMel, MEL_BANDS, MEL_LEAST_SAMPLES } from "../../src/audio/mel.ts";
import { GoldenFile, maxDifference } from "../_support.ts";

const MAX_ERROR = 1e-3;
const MAX_MEDIAN_ERROR = 1e-6;
/** For band values before the logarithm, relative to the loudest of the frame. */
const MAX_LINEAR_ERROR = 1e-6;
const MAX_DEFINITION_ERROR = 2e-6;
const FLOOR = Math.fround(Math.log(1e-5));

/** Golden values are [128, frames]. */
function goldenMel(golden: GoldenFile): Float32Array {
  const bands = golden.floats("mel");
  const frames = bands.length / MEL_BANDS;
  return bands.map((_, i) => bands[(i % MEL_BANDS) * frames + Math.floor(i / MEL_BANDS)]);
}

/** Uniform noise that depends on the seed alone. */
function noise(length: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/**
 * One frame by the definition: reflected samples, sums instead of a fast transform, triangles by formula. All
 * in f64.
 */
function frameByDefinition(samples: Float32Array, frame: number): number[] {
  const at = (i: number) => samples[i < 0 ? -i : i >= samples.length ? 2 * (samples.length - 1) - i : i];
  const windowed = Array.from(
    { length: 1024 },
    (_, n) => at(frame * 256 - 384 + n) * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / 1024)),
  );
  const magnitudes = Array.from({ length: 513 }, (_, k) => {
    let [re, im] = [0, 0];
    for (let n = 0; n < 1024; n++) {
      re += windowed[n] * Math.cos((2 * Math.PI * k * n) / 1024);
      im -= windowed[n] * Math.sin((2 * Math.PI * k * n) / 1024);
    }
    return Math.sqrt(re * re + im * im + 1e-9);
  });
  const topMel = 15 + (27 * Math.log(12)) / Math.log(6.4);
  const edges = Array.from({ length: 130 }, (_, i) => {
    const mel = (topMel * i) / 129;
    return mel < 15 ? (mel * 200) / 3 : 1_000 * 6.4 ** ((mel - 15) / 27);
  });
  return Array.from({ length: MEL_BANDS }, (_, band) => {
    const [lower, center, upper] = edges.slice(band, band + 3);
    const sum = magnitudes.reduce((total, magnitude, bin) => {
      const hz = (bin * 24_000) / 1024;
      const height = Math.max(0, Math.min((hz - lower) / (center - lower), (upper - hz) / (upper - center)));
      return total + (magnitude * height * 2) / (upper - lower);
    }, 0);
    return Math.log(Math.max(sum, 1e-5));
  });
}

describe("log-mel", () => {
  test("is the official one", () => {
    const golden = new GoldenFile("tiny-base/golden/reference.safetensors");
    const [ours, official] = [logMel(golden.floats("audio_24k")), goldenMel(golden)];
    expect(maxDifference(ours, official)).toBeLessThanOrEqual(MAX_ERROR);
    const errors = ours.map((value, i) => Math.abs(value - official[i])).toSorted();
    expect(errors[errors.length >> 1]).toBeLessThanOrEqual(MAX_MEDIAN_ERROR);
    for (let at = 0; at < ours.length; at += MEL_BANDS) {
      const [a, b] = [ours, official].map((mel) => mel.subarray(at, at + MEL_BANDS).map(Math.exp));
      expect(maxDifference(a, b) / Math.max(...b)).toBeLessThanOrEqual(MAX_LINEAR_ERROR);
    }
  });

  test.each([1, 2])("of noise %i is what its definition says, at the reflected ends too", (seed) => {
    const samples = noise(2_000 + seed * 131, seed);
    const mel = logMel(samples);
    const frames = Math.floor(samples.length / 256);
    expect(mel.length).toBe(frames * MEL_BANDS);
    for (const frame of [0, 1, 3, frames - 1]) {
      const ours = mel.subarray(frame * MEL_BANDS, (frame + 1) * MEL_BANDS);
      expect(maxDifference(ours, frameByDefinition(samples, frame))).toBeLessThanOrEqual(
        MAX_DEFINITION_ERROR,
      );
    }
  });

  test("of a tone peaks in its band", () => {
    const mel = logMel(
      Float32Array.from({ length: 4_800 }, (_, i) => Math.sin((2 * Math.PI * 1_000 * i) / 24_000)),
    );
    const middle = Array.from(mel.subarray(9 * MEL_BANDS, 10 * MEL_BANDS));
    const center =
      (((middle.indexOf(Math.max(...middle)) + 1) * (15 + (27 * Math.log(12)) / Math.log(6.4))) / 129) *
      (200 / 3);
    expect(Math.abs(center - 1_000)).toBeLessThan(30);
  });

  test("of silence is the floor", () => {
    expect(new Set(logMel(new Float32Array(2_560)))).toEqual(new Set([FLOOR]));
  });

  test.each([
    [MEL_LEAST_SAMPLES, 1],
    [511, 1],
    [512, 2],
    [1_279, 4],
    [1_280, 5],
  ])("of %i samples has %i frames", (samples, frames) => {
    expect(logMel(noise(samples)).length).toBe(frames * MEL_BANDS);
  });

  test.each([0, 1, MEL_LEAST_SAMPLES - 1])("of %i samples is refused", (samples) => {
    expect(() => logMel(new Float32Array(samples))).toThrow(RangeError);
  });
});
