// Faster and slower speech: its pitch stays, its length changes, and nothing clicks.

import { describe, expect, test } from "bun:test";
import { speedFilter } from "../../../src/audio/filters/speed.ts";
import { failureOf, GoldenFile } from "../../_support.ts";
import { inPieces, noise, RATE, sine } from "./_sound.ts";

const SPEEDS = [0.7, 0.85, 1.1, 1.4];
const at = (speed: number, sound: Float32Array, size = 1920) => inPieces(speedFilter(speed), sound, size);
const steepest = (sound: Float32Array) =>
  sound.reduce((most, sample, i) => Math.max(most, i === 0 ? 0 : Math.abs(sample - sound[i - 1])), 0);

describe.each(SPEEDS)("at speed %d", (speed) => {
  test.each([80, 220, 440, 1_000, 3_500])("a sine of %d Hz keeps its frequency, without clicks", (hz) => {
    const sound = sine(hz, 3 * RATE, 0.5);
    const out = at(speed, sound);
    const middle = out.subarray(2_400, out.length - 2_400);
    const crossings: number[] = [];
    middle.forEach((sample, i) => {
      if (i > 0 && middle[i - 1] < 0 && sample >= 0) crossings.push(i - sample / (sample - middle[i - 1]));
    });
    const found = ((crossings.length - 1) * RATE) / (crossings.at(-1)! - crossings[0]);
    expect(Math.abs(found / hz - 1)).toBeLessThan(0.005);
    expect(steepest(middle)).toBeLessThan(1.05 * steepest(sound));
  });

  test.each([0, 1, 100, 5_000, 48_123])("%d samples become that many divided by the speed", (length) => {
    expect(at(speed, noise(length, 0.3)).length).toBe(Math.round(length / speed));
  });

  test("silence stays silence", () => {
    expect(at(speed, new Float32Array(RATE))).toEqual(new Float32Array(Math.round(RATE / speed)));
  });

  test("gives the same to the bit however the sound comes", () => {
    const sound = noise(20_000, 0.4).map((sample, i) => sample * Math.sin(i / 900) + 0.2 * Math.sin(i / 30));
    const whole = at(speed, sound, sound.length);
    for (const size of [1, 7, 1_920, 4_801]) expect(at(speed, sound, size)).toEqual(whole);
  });
});

/** The period that a piece of speech repeats with, in samples; 0 where none is clear. */
function periodOf(sound: Float32Array): number {
  const likeness = (lag: number) => {
    let [product, here, there] = [0, 0, 0];
    for (let i = 0; i + lag < sound.length; i++) {
      product += sound[i] * sound[i + lag];
      here += sound[i] ** 2;
      there += sound[i + lag] ** 2;
    }
    return here < 1 ? 0 : product / Math.sqrt(here * there);
  };
  const lags = Array.from({ length: 260 }, (_, i) => i + 60); // 75 to 400 Hz
  const best = lags.reduce((a, b) => (likeness(b) > likeness(a) ? b : a));
  return likeness(best) > 0.8 ? best : 0;
}

test.each(SPEEDS)("at speed %d, the starter voice keeps its pitch", (speed) => {
  const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];
  const periods = (sound: Float32Array) =>
    Array.from({ length: Math.floor(sound.length / 960) - 1 }, (_, i) =>
      periodOf(sound.subarray(960 * i, 960 * i + 960)),
    ).filter((period) => period > 0);
  const speech = new GoldenFile("starter/starter-00.safetensors").floats("audio");
  const before = periods(speech);
  const after = periods(at(speed, speech));
  expect(before.length).toBeGreaterThan(8);
  expect(after.length).toBeGreaterThan((0.7 * before.length) / speed);
  expect(Math.abs(median(after) / median(before) - 1)).toBeLessThan(0.05);
});

test("speed 1 passes on the same samples", () => {
  const sound = noise(5_000, 0.5);
  expect(speedFilter(1).push(sound)).toBe(sound);
});

test.each([0.69, 1.41, Number.NaN])("speed %d is refused", (speed) => {
  expect(failureOf(() => speedFilter(speed))).toMatchObject({
    code: "USAGE",
    message: `the speed is ${speed}`,
    hint: "give 0.7 to 1.4; 1 is the voice's own",
  });
});
