// tts --dry-run: what will be said, without a sound, a conversion or a file.

import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleOf, checkpointFolder } from "../_support.ts";
import { newFolder, shell } from "./_tts.ts";

/** In an empty folder with an empty cache, both of which stay empty. */
async function rehearse(args: string): Promise<{ status: number; stdout: string; stderr: string }> {
  const folder = newFolder();
  const result = await shell(`TTS_CACHE=cache HF_HUB_OFFLINE=1 $TTS --dry-run ${args}`, folder);
  expect(readdirSync(folder)).toEqual([]);
  return { ...result, stdout: Buffer.from(result.stdout, "latin1").toString("utf8") };
}

test("prints a line a sentence, in words as they will be read", async () => {
  const { status, stderr, stdout } = await rehearse(
    '"Dinner is at 7:30 pm. See Dr. Brown of IBM. Then rest."',
  );
  expect({ status, stderr, stdout }).toEqual({
    status: 0,
    stderr: "",
    stdout: "dinner is at seven thirty p m\nsee doctor brown of i b m\nthen rest\n",
  });
});

test("prints the IPA beneath with --verbose, and names what is left out", async () => {
  const { stderr, stdout } = await rehearse('--verbose "I have 3 PCs. ☃ Bye"');
  expect(stdout).toBe("i have three p cs\n    ˈaɪ hˈæv θrˈi pˈi sˈiz.\nbye\n    bˈaɪ.\n");
  expect(stderr).toContain('this voice cannot read "☃": left out');
});

test("keeps a sentence on one line, also where it is spoken as several prompts", async () => {
  const { stdout } = await rehearse('"Call +44 20 7946 0958 before 5 p.m. on Dec 25\nor come by."');
  expect(stdout).toBe(
    "call plus four four, two zero, seven nine four six, zero nine five eight before five p m on december twenty fifth, or come by\n",
  );
});

test("shows what a pronunciation list says, and reads entities as what they stand for", async () => {
  const list = join(newFolder(), "list.txt");
  writeFileSync(list, "nginx => engine x\nZoe => /zˈoʊi/\n");
  const { stdout } = await rehearse(`--lexicon ${list} "Tom&#39;s nginx &amp; Zoe's."`);
  expect(stdout).toBe("tom's engine x and /zˈoʊi/'s\n");
});

test("--raw-text switches the reading rules off", async () => {
  expect((await rehearse('--raw-text "dˈɪnɝ 7 ˈɪz"')).stdout).toBe("dˈɪnɝ 7 ˈɪz\n");
});

test("shows an official model's text as the model gets it, with --normalize in words", async () => {
  const model = `-m ${checkpointFolder("tiny-custom")}`;
  expect((await rehearse(`${model} "Dinner is at 7:30 pm."`)).stdout).toBe("Dinner is at 7:30 pm.\n");
  expect((await rehearse(`${model} --normalize "Dinner is at 7:30 pm."`)).stdout).toBe(
    "dinner is at seven thirty p m\n",
  );
});

test("shows the same token ids of a checkpoint and of its bundle", async () => {
  const text = '--verbose "Hello. How are you?"';
  const { stdout } = await rehearse(`${text} -m ${checkpointFolder("tiny-custom")}`);
  expect(stdout).toMatch(/^Hello\.\n {4}[\d ]+\nHow are you\?\n {4}[\d ]+\n$/);
  expect((await rehearse(`${text} -m ${bundleOf("tiny-custom").directory}`)).stdout).toBe(stdout);
});

test("works for a Base model without a voice", async () => {
  expect((await rehearse(`-m ${checkpointFolder("tiny-base")} "Hello there."`)).stdout).toBe(
    "Hello there.\n",
  );
});

test.each([
  [
    '--normalize --raw-text "Hello"',
    "the text cannot be both raw and normalised; give one of --raw-text and --normalize",
  ],
  [
    `--normalize -l chinese -m ${checkpointFolder("tiny-custom")} "Hello"`,
    "text in chinese cannot be normalised; only English has reading rules: leave out --normalize",
  ],
  ['"..."', 'nothing to speak: "..." holds only punctuation or symbols; give at least one word or number'],
])("refuses %s", async (args, message) => {
  const { status, stderr, stdout } = await rehearse(args);
  expect({ status, stderr, stdout }).toEqual({ status: 2, stderr: `tts: ${message}\n`, stdout: "" });
});
