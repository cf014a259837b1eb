// --words: a file of word times beside the sound.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { newFolder, shell } from "./_tts.ts";

const SAY = '$TTS -m "$STARTER" "It is 7:30." --seed 1 --quiet -o a.wav';

test("--words writes when each word is said, and changes no byte of the sound", async () => {
  const folder = newFolder();
  const { status, stderr } = await shell(
    `${SAY} --words a.json && ${SAY} --words a.srt -o b.wav && ${SAY} --words a.vtt -o b.wav && cmp a.wav b.wav`,
    folder,
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const { words } = JSON.parse(readFileSync(join(folder, "a.json"), "utf8"));
  expect(words.map(({ text }: { text: string }) => text)).toEqual(["It", "is", "7:30."]);
  expect(readFileSync(join(folder, "a.srt"), "utf8")).toMatch(/^1\n00:00:00,\d{3} --> .+\nIt\n\n2\n/);
  expect(readFileSync(join(folder, "a.vtt"), "utf8")).toStartWith("WEBVTT\n\n00:00:00.");
});

test.each([
  ["another suffix", "--words a.txt", "--words is a.txt; name a file that ends in .json, .srt, .vtt"],
  ["standard output", "--words -", "--words is -; name a file that ends in .json, .srt, .vtt"],
  [
    "the file of the codes",
    "--words a.json --save-codes a.json",
    "cannot hold both word times and something else",
  ],
])("--words refuses %s before any work", async (_what, options, message) => {
  const folder = newFolder();
  const { status, stderr } = await shell(`${SAY} ${options}`, folder);
  expect(status).toBe(2);
  expect(stderr).toContain(message);
  expect(readdirSync(folder)).toEqual([]);
});
