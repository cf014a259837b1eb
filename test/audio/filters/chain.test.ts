// The filters between the engine and a sink: a stream gives to the bit what the whole sound would, in any
// pieces, and each filter does only what was asked for.

import { describe, expect, test } from "bun:test";
import { RATES_HZ } from "../../../src/audio/encode/formats.ts";
import { type SoundShape, soundFilters } from "../../../src/audio/filters/chain.ts";
import { Heard } from "../../../src/audio/filters/heard.ts";
import { Resampler } from "../../../src/audio/filters/resampler.ts";
import { resample } from "../../../src/audio/resample.ts";
import { SAMPLE_RATE_HZ } from "../../../src/types.ts";

const noise = (samples: number) =>
  Float32Array.from({ length: samples }, (_, i) => Math.sin(i * i * 0.37) * 0.9);

const wholly = (samples: Float32Array, from: number, to: number) => resample(samples, from, to).slice();

/** Of a voice 6 dB below what is wanted. */
const LEVEL = { lack: () => 6 };

/** What comes out, with the samples going in by `size`. */
function through(samples: Float32Array, shape: SoundShape, size = 1920): Float32Array {
  const filters = soundFilters(shape, LEVEL);
  const out: number[] = [];
  const pass = (sound: Float32Array, from: number) =>
    out.push(...filters.slice(from).reduce((left, filter) => filter.push(left), sound));
  for (let at = 0; at < samples.length; at += size) pass(samples.subarray(at, at + size), 0);
  filters.forEach((filter, i) => void pass(filter.end(), i + 1));
  return Float32Array.from(out);
}

describe("a stream that is resampled equals the whole sound to the bit", () => {
  const cases = RATES_HZ.flatMap((rateHz) =>
    [1, 7, 31, 64, 1920, 7680].map((size) => ({ rateHz, size, samples: 5_003 })),
  );
  test.each([
    ...cases,
    { rateHz: 44_100, size: 1920, samples: 0 },
    { rateHz: 44_100, size: 1, samples: 1 },
    { rateHz: 16_000, size: 5, samples: 40 },
  ])("to $rateHz Hz, $samples samples by $size", ({ rateHz, samples, size }) => {
    const sound = noise(samples);
    expect(through(sound, { rateHz }, size)).toEqual(wholly(sound, SAMPLE_RATE_HZ, rateHz));
  });

  test("and from other rates, in pieces of changing size", () => {
    const sound = noise(20_000);
    for (const [from, to] of [
      [96_000, 24_000],
      [22_050, 24_000],
      [48_000, 44_100],
    ]) {
      const resampler = new Resampler(from, to);
      const parts: Float32Array[] = [];
      for (let at = 0, size = 1; at < sound.length; at += size, size = (size * 7) % 1013)
        parts.push(resampler.push(sound.subarray(at, at + size)));
      parts.push(resampler.end());
      expect(Float32Array.from(parts.flatMap((part) => [...part]))).toEqual(wholly(sound, from, to));
    }
  });

  test("and keeps back no more than the kernel reaches over", () => {
    const resampler = new Resampler(SAMPLE_RATE_HZ, 48_000);
    let [pushed, made] = [0, 0];
    for (let i = 0; i < 50; i++) {
      pushed += 2 * 1920;
      made += resampler.push(noise(1920)).length;
      expect(pushed - made).toBeLessThanOrEqual(2 * 32);
    }
  });
});

test("nothing that was not asked for changes the sound", () => {
  expect(soundFilters({}, LEVEL)).toEqual([]);
  expect(soundFilters({ volume: 1, leadMs: 0, trimStart: false, rateHz: 24_000 }, LEVEL)).toEqual([]);
});

test("volume is a factor for every sample", () => {
  const sound = noise(100);
  expect(through(sound, { volume: 0.5 })).toEqual(sound.map((sample) => sample / 2));
  expect(through(sound, { volume: 0 }).every((sample) => sample === 0)).toBe(true);
});

describe("lead", () => {
  test("is silence once before the first samples, at the rate of the sink", () => {
    const sound = noise(4_000);
    const out = through(sound, { leadMs: 100, rateHz: 48_000 });
    expect(out.slice(0, 4_800).every((sample) => sample === 0)).toBe(true);
    expect(out.slice(4_800)).toEqual(wholly(sound, SAMPLE_RATE_HZ, 48_000));
  });

  test("comes after trimming, which would take it away", () => {
    const sound = Float32Array.from([...new Float32Array(2_400), ...noise(100)]); // noise begins with a zero
    expect(through(sound, { trimStart: true, leadMs: 50 }).length).toBe(240 + 99 + 1_200);
  });

  test("is no sound where there is none", () => {
    expect(through(new Float32Array(0), { leadMs: 100 }).length).toBe(0);
    expect(through(new Float32Array(4_000), { leadMs: 100, trimStart: true }).length).toBe(0);
  });
});

test("the gain is the one that is known when the first sound comes, and what is softer stays softer", () => {
  const sound = noise(9_600).map((sample, i) => (i < 4_800 ? 0.1 : 0.05) * sample);
  let lack = 20;
  const [filter] = soundFilters({ loudness: -16 }, { lack: () => lack });
  lack = 6;
  const out = [...filter.push(sound), ...filter.end()];
  expect(Float32Array.from(out)).toEqual(sound.map((sample) => sample * 10 ** (6 / 20)));
});

describe("moments follow the sound", () => {
  /** A click at 0.5 s, after a quarter of a second that is all but silent. */
  const sound = noise(24_000).map((sample, i) => sample * (i === 12_000 ? 1 : i < 6_000 ? 1e-4 : 0.01));
  const shapes: SoundShape[] = [
    {},
    { speed: 1.25 },
    { speed: 0.8, trimStart: true, leadMs: 200 },
    { trimStart: true, rateHz: 44_100, leadMs: 70, volume: 0.5 },
    { loudness: -16, speed: 1.4, rateHz: 16_000 },
  ];
  test.each(shapes)("%j", (shape) => {
    const filters = soundFilters(shape, LEVEL);
    const rateHz = shape.rateHz ?? SAMPLE_RATE_HZ;
    let nowMs = 1_000;
    const heard = new Heard(filters, rateHz, () => nowMs);
    heard.begin(900);
    const all = [...filters, heard];
    const out: number[] = [];
    const pass = (samples: Float32Array, from: number) =>
      out.push(...all.slice(from).reduce((left, filter) => filter.push(left), samples));
    for (let at = 0; at < sound.length; at += 1920, nowMs += 10) pass(sound.subarray(at, at + 1920), 0);
    all.forEach((filter, i) => void pass(filter.end(), i + 1));
    const click = out.indexOf(Math.max(...out)) / rateHz;
    expect(Math.abs(heard.moved(0.5) - click)).toBeLessThan(shape.speed === undefined ? 0.001 : 0.012);
    expect(heard.seconds).toBe(out.length / rateHz);
    expect(Math.abs(heard.moved(1) - heard.seconds)).toBeLessThan(0.001);
    expect(heard.moved(0)).toBeCloseTo((shape.leadMs ?? 0) / 1000);
    expect(heard.firstMs).toBeWithin(100, 150);
    expect(heard.heardMs).toBeGreaterThanOrEqual(heard.firstMs + (shape.leadMs ?? 0));
  });
});

test("volume comes after the limiter, and speed before the rate of the sink", () => {
  const sound = noise(4_800); // 6 dB more would be far above the ceiling
  const limited = through(sound, { loudness: -16 });
  expect(through(sound, { loudness: -16, volume: 0.5 })).toEqual(limited.map((sample) => sample / 2));
  const faster = through(sound, { speed: 0.8 });
  expect(through(sound, { speed: 0.8, rateHz: 48_000 })).toEqual(wholly(faster, SAMPLE_RATE_HZ, 48_000));
});
