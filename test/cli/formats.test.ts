// Compressed formats on the command line: in files, pipes and files that standard output is.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readRecording } from "../../src/audio/read.ts";
import { newFolder, shell } from "./_tts.ts";

const SAY = '$TTS -m "$STARTER" "Dinner is ready." --greedy --quiet';
const SAMPLES = 18 * 1920;

const MAGIC: Readonly<Record<string, RegExp>> = { flac: /^fLaC/, mp3: /^\xff\xf3/, opus: /^OggS/ };

describe.each([
  ["flac", "a.flac"],
  ["mp3", "a.MP3"],
  ["opus", "a.opus"],
  ["opus", "a.ogg"],
])("%s as %s", (format, name) => {
  test("a file, a redirected standard output and decoded codes are the same bytes, of the exact length", async () => {
    const folder = newFolder();
    const decode = '$TTS decode c.json -m "$STARTER" --quiet';
    const { status, stderr } = await shell(
      `${SAY} -o ${name} --save-codes c.json && ${SAY} -o - --format ${format} > b && cmp ${name} b && ${decode} -o - --format ${format} > c && cmp b c`,
      folder,
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const path = join(folder, name);
    expect(readFileSync(path, "latin1")).toMatch(MAGIC[format]);
    expect((await readRecording(path)).samples.length).toBe(SAMPLES);
  });
});

test.each(["flac", "mp3", "opus"])("%s in a pipe can be read to its end", async (format) => {
  const folder = newFolder();
  await shell(`${SAY} -o - --format ${format} | cat > ${format}`, folder);
  const { samples } = await readRecording(join(folder, format));
  expect(samples.length).toBeWithin(SAMPLES, format === "mp3" ? SAMPLES + 2_400 : SAMPLES + 1);
});

test.each([
  ["flac", 44_100],
  ["mp3", 16_000],
  ["opus", 48_000],
])("%s takes --rate %d and --lead", async (format, rateHz) => {
  const folder = newFolder();
  const path = join(folder, `a.${format}`);
  const { stderr } = await shell(`${SAY} -o ${path} --rate ${rateHz} --lead 500`, folder);
  expect(stderr).toBe("");
  expect((await readRecording(path)).seconds).toBeCloseTo(SAMPLES / 24_000 + 0.5, 3);
});

test.each(["flac", "mp3", "opus"])("a full disk leaves no %s, and one line", async (format) => {
  const folder = newFolder();
  const { status, stderr } = await shell(`ulimit -f 2; trap "" XFSZ; ${SAY} -o a.${format}`, folder);
  expect(status).toBe(5);
  expect(stderr).toMatch(/^tts: cannot write a\.\w+: .+\n$/);
  expect(readdirSync(folder)).toEqual([]);
});

test.each(["flac", "mp3", "opus"])(
  "a %s that is killed in the middle can be heard so far",
  async (format) => {
    const folder = newFolder();
    const long = `$TTS -m "$STARTER" -i - -o - --format ${format} --quiet < text > a & while [ $(stat -c %s a) -lt 20000 ]; do sleep 0.02; done; kill -9 $!`;
    await shell(
      `for i in $(seq 200); do echo "Dinner is ready number $i."; done > text; touch a; ${long}`,
      folder,
    );
    expect(existsSync(join(folder, "a"))).toBe(true);
    expect((await readRecording(join(folder, "a"))).seconds).toBeGreaterThan(0.3);
  },
);
