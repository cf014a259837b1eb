// --lexicon and the user's own list, as a user meets them.

import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newFolder, shell } from "./_tts.ts";

const SAY = '$TTS -m "$STARTER" "Tea for two." --greedy --max-frames 2';

test.each([
  ["--lexicon", `${SAY} --verbose -o /dev/null --lexicon l.txt`, "mˈɪlk fˈɔr tˈu."],
  ["the user's own", `TTS_CONFIG=conf ${SAY} --verbose -o /dev/null`, "kˈɑfi fˈɔr tˈu."],
  [
    "by the XDG rules",
    `unset TTS_CONFIG; XDG_CONFIG_HOME=. ${SAY} --verbose -o /dev/null`,
    "ˈɛndʒən fˈɔr tˈu.",
  ],
])("%s", async (_name, command, ipa) => {
  const folder = newFolder();
  for (const name of ["conf", "qwen3-tts"]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "l.txt"), "tea\tmilk\n");
  writeFileSync(join(folder, "conf/lexicon.txt"), "tea => coffee\n");
  writeFileSync(join(folder, "qwen3-tts/lexicon.txt"), "tea => engine\n");
  const { stderr } = await shell(command, folder);
  expect(stderr).toContain(`sentence 1: ${ipa}\n`);
});

test("a line that is no entry ends it with status 2, and nothing is written", async () => {
  const folder = newFolder();
  writeFileSync(join(folder, "l.txt"), "a => b\ntea milk\n");
  expect(await shell(`${SAY} -o a.wav --lexicon l.txt`, folder)).toEqual({
    status: 2,
    stdout: "",
    stderr:
      'tts: l.txt line 2: "tea milk" has neither a tab nor =>; write a word, =>, and how to say it: other words or /IPA/\n',
  });
  expect(readdirSync(folder)).toEqual(["l.txt"]);
});
