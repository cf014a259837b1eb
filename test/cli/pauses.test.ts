// Pauses on the command line: in the sound, in saved codes, in a dry run, and what is wrong with them.

import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newFolder, shell } from "./_tts.ts";

test("saved codes keep their pauses, so that decoding gives the same sound", async () => {
  const cwd = newFolder();
  const text = "[pause 100ms]One.[pause 1.5s]Two.<break time='200ms'/>";
  const { stderr, status } = await shell(
    `$TTS -m $STARTER "${text}" --seed 1 -o a.wav --save-codes a.json && $TTS decode a.json -m $STARTER -o b.wav && cmp a.wav b.wav`,
    cwd,
  );
  expect([status, stderr]).toEqual([0, expect.stringContaining("b.wav")]);
  const file = JSON.parse(readFileSync(join(cwd, "a.json"), "utf8"));
  expect(file.sentences.map(({ pauseMs }: { pauseMs?: number }) => pauseMs)).toEqual([100, 1500, 200]);
  file.sentences[0].pauseMs = 60_001;
  writeFileSync(join(cwd, "bad.json"), JSON.stringify(file));
  const bad = await shell("$TTS decode bad.json -m $STARTER -o c.wav", cwd);
  expect([bad.status, bad.stderr]).toEqual([
    2,
    expect.stringContaining("the pause of sentence 0 is 60001, not 0 to 60000 ms"),
  ]);
});

test("a dry run shows them, and names markup that is not obeyed", async () => {
  const { stderr, stdout } = await shell(
    `$TTS --dry-run --sentence-pause 200 "One. Two. [pause] <emphasis>Three</emphasis>"`,
    newFolder(),
  );
  expect(stdout).toBe("one\n[pause 200ms]\ntwo\n[pause 500ms]\nthree\n");
  expect(stderr).toBe("tts: warning: markup that is not obeyed, its text is read: <emphasis>\n");
});

test.each([
  ['"Hi [pause 61s]"', "[pause 61s]: 61s is too long; give 0 to 60 s, such as 500ms or 0.5s"],
  ['"Hi" --sentence-pause 60001', "the pause between sentences, in ms, is 60001; "],
  ['"Hi" --paragraph-pause soon', '--paragraph-pause is "soon"; give a number'],
])("%s is refused before a model is opened", async (args, message) => {
  const { status, stderr } = await shell(`$TTS -m no/such/model ${args}`, newFolder());
  expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
});
