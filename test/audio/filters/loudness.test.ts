// Gain and limiter: exact below the ceiling, never above it, without a sample more or less.

import { describe, expect, test } from "bun:test";
import { CEILING_DB, loudnessFilter } from "../../../src/audio/filters/loudness.ts";
import { truePeak } from "../../../src/audio/loudness.ts";
import { inPieces, noise, sine } from "./_sound.ts";

const CEILING = 10 ** (CEILING_DB / 20);

describe("gain and limiter", () => {
  test.each([-12, 0, 7.3])("below the ceiling, %d dB are exactly that factor of every sample", (gainDb) => {
    const factor = 10 ** (gainDb / 20);
    const sound = sine(440, 9_001, (0.97 * 10 ** (-1.1 / 20)) / factor);
    expect(inPieces(loudnessFilter(gainDb), sound, 1920)).toEqual(sound.map((sample) => sample * factor));
  });

  test.each([
    ["a loud tone", sine(440, 24_000, 0.9), 18],
    ["noise", noise(24_000, 0.8), 12],
    ["bursts", noise(24_000, 0.9).map((sample, i) => (i % 6000 < 300 ? sample : 0.02 * sample)), 20],
    ["peaks between samples", sine(6_000, 24_000, 1, Math.PI / 4), 6],
    ["a single click", Float32Array.from({ length: 4_800 }, (_, i) => (i === 2_000 ? 1 : 0)), 24],
    ["a click at either end", Float32Array.from({ length: 4_800 }, (_, i) => (i % 4_799 === 0 ? 1 : 0)), 24],
  ])("%s stays below -1 dB of true peak, and keeps its length", (_name, sound, gainDb) => {
    const out = inPieces(loudnessFilter(gainDb), sound, 1920);
    expect(out.length).toBe(sound.length);
    expect(truePeak(out)).toBeLessThanOrEqual(CEILING);
    expect(truePeak(out)).toBeGreaterThan(0.85 * CEILING); // it limits, and does no more
  });

  test("after a peak the gain comes back smoothly, to the very factor", () => {
    const sound = sine(440, 48_000, 0.2).map((sample, i) => (i > 9_000 && i < 9_400 ? 4 * sample : sample));
    const out = inPieces(loudnessFilter(6), sound, 1920);
    const factor = 10 ** (6 / 20);
    expect(out.slice(0, 8_800)).toEqual(sound.slice(0, 8_800).map((sample) => sample * factor));
    expect(out.slice(40_000)).toEqual(sound.slice(40_000).map((sample) => sample * factor));
    let last = 1;
    out.forEach((sample, i) => {
      if (Math.abs(sound[i]) < 0.01) return;
      const gain = sample / (sound[i] * factor);
      if (i > 9_600) expect(gain).toBeGreaterThan(last - 1e-6);
      last = gain;
    });
  });

  test("gives the same to the bit however the sound comes, the smallest too", () => {
    const sound = noise(20_000, 0.7);
    const whole = inPieces(loudnessFilter(9), sound, sound.length);
    for (const size of [1, 7, 1_920, 5_000]) expect(inPieces(loudnessFilter(9), sound, size)).toEqual(whole);
    for (const length of [0, 1, 100])
      expect(inPieces(loudnessFilter(9), sound.subarray(0, length), 10).length).toBe(length);
  });

  test("silence stays silence, and a gain that is no number is refused", () => {
    expect(inPieces(loudnessFilter(30), new Float32Array(5_000), 1920)).toEqual(new Float32Array(5_000));
    expect(() => loudnessFilter(Number.POSITIVE_INFINITY)).toThrow(RangeError);
  });
});
