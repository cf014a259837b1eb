// --loudness and --speed on the command line: sound without them is the same to the bit, and codes with them.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { LoudnessMeter } from "../../src/audio/loudness.ts";
import type { WordTime } from "../../src/engine.ts";
import { newFolder, shell } from "./_tts.ts";
import { device } from "./play/_players.ts";

const SAY = '$TTS -m "$STARTER" "Dinner is ready." --seed 1';

/** Of raw 16-bit samples. */
function lufsOf(path: string): number {
  const bytes = readFileSync(path);
  const meter = new LoudnessMeter();
  meter.push(Float32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(2 * i) / 32_768));
  return meter.integrated();
}

test("a voice is measured once, said in a line, and then given the loudness that is asked for", async () => {
  const folder = newFolder();
  const cached = `TTS_CACHE=${folder}/cache ${SAY}`;
  const first = await shell(`${cached} --loudness -30 -o a.pcm --save-codes a.json`, folder);
  expect(first).toMatchObject({ status: 0, stdout: "" });
  expect(first.stderr).toContain("measuring the loudness of ");
  const second = await shell(`${cached} --loudness -20 -o b.pcm --save-codes b.json`, folder);
  expect(second.stderr).not.toContain("measuring");
  const [a, b] = [join(folder, "a.pcm"), join(folder, "b.pcm")];
  expect(lufsOf(b) - lufsOf(a)).toBeCloseTo(10, 1);
  expect(Math.abs(lufsOf(b) + 20)).toBeLessThan(4);
  const plain = await shell(
    `${cached} --quiet -o c.pcm --save-codes c.json && cmp a.json c.json && cmp b.json c.json`,
    folder,
  );
  expect(plain).toMatchObject({ status: 0, stderr: "" });
  expect(statSync(a).size).toBe(statSync(join(folder, "c.pcm")).size);
});

test("speed changes the length alone, and 1 not a bit", async () => {
  const folder = newFolder();
  const { status, stderr } = await shell(
    `${SAY} --quiet -o a.wav && ${SAY} --quiet --speed 1 -o b.wav && cmp a.wav b.wav && ${SAY} --quiet --speed 1.25 -o c.wav`,
    folder,
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const samples = (name: string) => (statSync(join(folder, name)).size - 44) / 2;
  expect(samples("c.wav")).toBe(Math.round(samples("a.wav") / 1.25));
  expect(readFileSync(join(folder, "c.wav")).readUInt32LE(40)).toBe(2 * samples("c.wav"));
});

describe("times are those of the sound that comes out", () => {
  const secondsOf = (folder: string, name: string, rateHz = 24_000) =>
    (statSync(join(folder, name)).size - 44) / 2 / rateHz;
  const wordsOf = (folder: string, name: string): WordTime[] =>
    JSON.parse(readFileSync(join(folder, name), "utf8")).words;

  test.each([
    ["--speed 1.25 --lead 300", 1.25, 0.3],
    ["--speed 0.7 --rate 44100", 0.7, 0],
  ])("%s", async (options, speed, lead) => {
    const folder = newFolder();
    const { status, stdout, stderr } = await shell(
      `${SAY} --json -o a.wav --words a.json --save-codes codes && ${SAY} --json -o b.wav --words b.json ${options} && $TTS decode codes -m "$STARTER" --json -o c.wav ${options} && cmp b.wav c.wav`,
      folder,
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [plain, shaped, decoded] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const seconds = secondsOf(folder, "b.wav", options.includes("44100") ? 44_100 : 24_000);
    expect(plain.audioSeconds).toBeCloseTo(secondsOf(folder, "a.wav"), 3);
    expect(shaped.audioSeconds).toBeCloseTo(seconds, 3);
    expect(decoded.audioSeconds).toBeCloseTo(seconds, 3);
    expect(shaped.rtf).toBeCloseTo(shaped.wallSeconds / seconds, 2);
    expect(shaped.firstHeardMs).toBeGreaterThanOrEqual(shaped.firstAudioMs + 1000 * lead);
    const [before, after] = ["a.json", "b.json"].map((name) => wordsOf(folder, name));
    expect(after.length).toBe(3);
    after.forEach(({ end, start }, i) => {
      expect(start).toBeCloseTo(before[i].start / speed + lead, 2);
      expect(end).toBeCloseTo(before[i].end / speed + lead, 2);
      expect(end).toBeLessThanOrEqual(seconds + 0.001);
    });
  });

  test("of what is played where no file is written", async () => {
    const folder = newFolder();
    const { heard, player } = device(folder);
    const play = `--play --player "${player}" --lead 500 --speed 1.4`;
    const { status, stderr } = await shell(
      `${SAY} --quiet -o a.wav --words a.json --trim-start && ${SAY} ${play} --words b.json`,
      folder,
    );
    expect(status).toBe(0);
    const seconds = heard().bytes / 2 / 24_000;
    expect(stderr).toContain(`played: ${seconds.toFixed(2)} s of sound in `);
    const [before, after] = ["a.json", "b.json"].map((name) => wordsOf(folder, name));
    for (const [i, { start }] of after.entries()) expect(start).toBeCloseTo(before[i].start / 1.4 + 0.5, 2);
  });
});

test.each([
  ["--speed 1.5", "--speed is 1.5; give 0.7 to 1.4"],
  ["--speed fast", '--speed is "fast"; give a number'],
  ["--loudness -41", "--loudness is -41; give -40 to -8"],
  ["--loudness 0", "--loudness is 0; give -40 to -8"],
])("%s is refused before any work", async (option, message) => {
  const folder = newFolder();
  const { status, stderr } = await shell(`${SAY} ${option} -o a.wav`, folder);
  expect({ status, stderr }).toEqual({ status: 2, stderr: `tts: ${message}\n` });
  expect(existsSync(join(folder, "a.wav"))).toBe(false);
});
