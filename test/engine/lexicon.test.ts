// Pronunciation lists through the door: where they come from, which wins, and text in pieces.

import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type OpenOptions, open } from "../../src/engine.ts";
import { bundleOf, scratchFolder } from "../_support.ts";

const configDir = mkdtempSync(join(scratchFolder(), "config-"));
writeFileSync(join(configDir, "lexicon.txt"), "tea => coffee\nqwen => /kwˈɛn/\n");
const file = join(configDir, "mine.txt");
writeFileSync(file, "tea => milk\n");

/** What is spoken of a text. */
async function sentencesOf(
  text: string | string[],
  options: OpenOptions,
  rawText = false,
): Promise<readonly string[]> {
  await using engine = await open({ model: bundleOf("starter").directory, ...options });
  const speech = engine.speak(text, { greedy: true, maxFrames: 1, rawText });
  for await (const _ of speech);
  return speech.sentences;
}

const [COFFEE, MILK, TEA] = ["kˈɑfi, kwˈɛn.", "mˈɪlk, kwˈɛn.", "tˈi, kwˈɛn."];
const IPA = [["Qwen", "/kwˈɛn/"]] as const;

test.each([
  ["the user's own", { configDir }, COFFEE],
  ["a file, which wins over it", { configDir, lexicon: file }, MILK],
  ["a Map", { configDir, lexicon: new Map([["TEA", "milk"]]) }, MILK],
  ["an object", { lexicon: { tea: "milk", Qwen: "/kwˈɛn/" } }, MILK],
  ["entries", { lexicon: IPA }, TEA],
] as [string, OpenOptions, string][])("%s", async (_name, options, ipa) => {
  expect(await sentencesOf("Tea, Qwen.", options)).toEqual([ipa]);
  expect(await sentencesOf(["Te", "a, Qw", "en."], options)).toEqual([ipa]);
});

test("a raw text is left alone", async () => {
  expect(await sentencesOf("tea &amp; Qwen", { configDir }, true)).toEqual(["tea &amp; Qwen"]);
});

test.each([
  ["no such file", "starter", { lexicon: join(configDir, "none.txt") }, "INPUT_UNREADABLE"],
  ["signs without a sound", "starter", { lexicon: { x: "/ʁ/" } }, "USAGE"],
  ["IPA for a voice that reads text", "tiny-custom", { lexicon: IPA }, "USAGE"],
  ["what is no list", "starter", { lexicon: 5 as never }, "USAGE"],
  ["what is no text", "starter", { lexicon: { x: 5 as never } }, "USAGE"],
  ["a list of other things", "starter", { lexicon: [5] as never }, "USAGE"],
] as const)("%s is refused when the engine is opened", async (_name, model, options, code) => {
  await expect(open({ model: bundleOf(model).directory, ...options })).rejects.toMatchObject({ code });
});

test("the user's own list may hold IPA that a voice does not read: only a text that needs it is refused", async () => {
  await using engine = await open({ model: bundleOf("tiny-custom").directory, configDir });
  const options = { greedy: true, maxFrames: 1 } as const;
  expect(engine.speak("Tea.", options).sentences).toEqual(["coffee."]);
  expect(() => engine.speak("Qwen.", options)).toThrow(
    `${join(configDir, "lexicon.txt")} line 2: /kwˈɛn/ is IPA, which this voice does not read`,
  );
});
