// Loudness by EBU R128: the test signals of EBU Tech 3341, made here for one channel, and ffmpeg's own
// measure.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { LoudnessMeter, truePeak } from "../../src/audio/loudness.ts";
import { toS16le } from "../../src/audio/pcm.ts";
import { scratchFolder } from "../_support.ts";
import { noise, RATE } from "./filters/_sound.ts";

const decibels = (level: number) => 20 * Math.log10(level);

/** @param parts [level in dB of full scale, seconds] @returns a sine of 1 kHz */
function tones(...parts: [db: number, seconds: number][]): Float32Array {
  let at = 0;
  const all = parts.map(([db, seconds]) =>
    Float32Array.from(
      { length: seconds * RATE },
      () => 10 ** (db / 20) * Math.sin((2 * Math.PI * 1000 * at++) / RATE),
    ),
  );
  return Float32Array.from(all.flatMap((part) => [...part]));
}

function lufsOf(samples: Float32Array, step = samples.length): number {
  const meter = new LoudnessMeter();
  for (let at = 0; at < samples.length; at += step) meter.push(samples.subarray(at, at + step));
  return meter.integrated();
}

/** EBU's signals have two equal channels, which add up; one channel gives half of that. */
const ONE_CHANNEL = 10 * Math.log10(2);

describe("integrated loudness, within 0.1 LU of EBU Tech 3341", () => {
  test.each([
    ["1: a tone of -23", [[-23, 20]], -23],
    ["2: a tone of -33", [[-33, 20]], -33],
    [
      "3: quieter parts are gated",
      [
        [-36, 10],
        [-23, 60],
        [-36, 10],
      ],
      -23,
    ],
    [
      "4: and parts that are nearly silent",
      [
        [-72, 10],
        [-36, 10],
        [-23, 60],
        [-36, 10],
        [-72, 10],
      ],
      -23,
    ],
    [
      "5: parts within the gate count",
      [
        [-26, 20],
        [-20, 20.1],
        [-26, 20],
      ],
      -23,
    ],
  ] as [string, [number, number][], number][])("signal %s", (_name, parts, expected) => {
    expect(Math.abs(lufsOf(tones(...parts)) + ONE_CHANNEL - expected)).toBeLessThan(0.1);
  });

  test("is the same however the sound comes", () => {
    const sound = tones([-30, 2], [-20, 1.3]);
    for (const step of [1, 7, 1920, 2399]) expect(lufsOf(sound, step)).toBe(lufsOf(sound));
  });

  test("is -Infinity for silence and for less than a block", () => {
    for (const sound of [new Float32Array(48_000), tones([-20, 0.3]), new Float32Array(0)])
      expect(lufsOf(sound)).toBe(-Infinity);
  });
});

test.each([
  ["15: at a quarter of the rate", 4, 0, 0.5, -6],
  ["16: between its samples", 4, 45, 0.5, -6],
  ["17: at a sixth", 6, 60, 0.5, -6],
  ["18: at an eighth", 8, 67.5, 0.5, -6],
  ["19: above full scale", 4, 45, 1.41, 3],
])("true peak, signal %s: within +0.2 and -0.4 dB", (_name, part, degrees, level, expected) => {
  const phase = (degrees * Math.PI) / 180;
  const fade = (i: number) => Math.min(1, i / 240, (RATE - 1 - i) / 240); // a step has peaks of its own
  const sine = Float32Array.from(
    { length: RATE },
    (_, i) => fade(i) * level * Math.sin((2 * Math.PI * i) / part + phase),
  );
  const found = decibels(truePeak(sine)) - expected;
  expect(found).toBeLessThan(0.2);
  expect(found).toBeGreaterThan(-0.4);
});

const ffmpeg = Bun.which("ffmpeg");
test.skipIf(ffmpeg === null)("ffmpeg measures the same (skipped where ffmpeg is not installed)", async () => {
  const rough = noise(12 * RATE, 1);
  let low = 0;
  const sound = Float32Array.from({ length: 12 * RATE }, (_, i) => {
    low += 0.2 * (rough[i] - low);
    return 0.7 * low * (i % (2 * RATE) < 1.4 * RATE ? 1 : 0.01) * Math.abs(Math.sin(i / 3000));
  });
  const path = join(scratchFolder(), "noise.pcm");
  await Bun.write(path, toS16le(sound));
  const filter = [
    "-f",
    "s16le",
    "-ar",
    `${RATE}`,
    "-ac",
    "1",
    "-i",
    path,
    "-af",
    "ebur128=peak=true",
    "-f",
    "null",
    "-",
  ];
  const { stderr } = Bun.spawnSync([ffmpeg!, "-hide_banner", "-nostats", ...filter]);
  const summary = stderr.toString().split("Summary:").at(-1)!;
  const [, lufs] = /I:\s+(-[\d.]+) LUFS/.exec(summary)!;
  const [, peak] = /Peak:\s+(-?[\d.]+) dBFS/.exec(summary)!;
  expect(Math.abs(lufsOf(sound) - Number(lufs))).toBeLessThan(0.11);
  expect(Math.abs(decibels(truePeak(sound)) - Number(peak))).toBeLessThan(0.2);
});
