// The resampler, measured with tones: flat to 90 % of the lower Nyquist frequency, images and aliases below
// -90 dB.

import { describe, expect, test } from "bun:test";
import { resample } from "../../src/audio/resample.ts";

const SECONDS = 0.5;
const RATES: [from: number, to: number][] = [
  [8000, 24000],
  [16000, 24000],
  [22050, 24000],
  [44100, 24000],
  [48000, 24000],
  [96000, 24000],
];

const tone = (frequency: number, rate: number) =>
  Float32Array.from(
    { length: SECONDS * rate },
    (_, i) => 0.5 * Math.sin((2 * Math.PI * frequency * i) / rate),
  );

/** Amplitude of one frequency in the middle of the signal, where the ends do not reach; Hann-windowed. */
function amplitude(samples: Float32Array, frequency: number, rate: number): number {
  const margin = Math.floor(samples.length / 5);
  let [re, im, weight] = [0, 0, 0];
  for (let i = margin; i < samples.length - margin; i++) {
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * (i - margin)) / (samples.length - 2 * margin));
    re += window * samples[i] * Math.cos((2 * Math.PI * frequency * i) / rate);
    im += window * samples[i] * Math.sin((2 * Math.PI * frequency * i) / rate);
    weight += window;
  }
  return (2 * Math.hypot(re, im)) / weight;
}

const decibels = (ratio: number) => 20 * Math.log10(Math.max(ratio, 1e-12));

describe.each(RATES)("from %d to %d Hz", (from, to) => {
  const nyquist = Math.min(from, to) / 2;

  test.each([0.01, 0.25, 0.5, 0.75, 0.9])(
    "a tone at %p of the lower Nyquist frequency keeps its level within 0.1 dB",
    (part) => {
      const level = amplitude(resample(tone(part * nyquist, from), from, to), part * nyquist, to) / 0.5;
      expect(Math.abs(decibels(level))).toBeLessThan(0.1);
    },
  );

  test("its images and aliases stay below -90 dB", () => {
    const tones = from < to ? [0.5, 0.9] : [1.1, 1.5];
    for (const part of tones) {
      const frequency = part * nyquist;
      const out = resample(tone(frequency, from), from, to);
      const wrong = from < to ? Math.min(from - frequency, to - 1) : Math.abs(to - frequency);
      if (wrong <= 0 || wrong >= to / 2) continue;
      expect(decibels(amplitude(out, wrong, to) / 0.5)).toBeLessThan(-90);
    }
  });

  test("the length follows the ratio, and silence stays silence", () => {
    const samples = new Float32Array(1001);
    const out = resample(samples, from, to);
    expect(out.length).toBe(Math.ceil((1001 * to) / from));
    expect(out.every((sample) => sample === 0)).toBe(true);
  });
});

test("equal rates give the very same samples", () => {
  const samples = tone(440, 24000);
  expect(resample(samples, 24000, 24000)).toBe(samples);
});

test("a constant stays the same", () => {
  const out = resample(new Float32Array(4000).fill(0.25), 44100, 24000);
  expect(Math.max(...out.slice(200, -200).map((sample) => Math.abs(sample - 0.25)))).toBeLessThan(1e-6);
});
