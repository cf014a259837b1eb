// --loudness and --speed on the command line: sound without them is the same to the bit, and codes with them.

import { expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { LoudnessMeter } from "../../src/audio/loudness.ts";
import { newFolder, shell } from "./_tts.ts";

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
