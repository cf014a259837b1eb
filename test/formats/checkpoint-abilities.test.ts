// A checkpoint does what its abilities claim: every offered name is accepted.

import { describe, expect, test } from "bun:test";
import { readAbilities } from "../../src/formats/checkpoint-abilities.ts";
import { languageId, languageNames, speakerId } from "../../src/text/prompt.ts";
import { bundleOf, checkpointFolder, copyOfCheckpoint, failureOf, setJson } from "../_support.ts";

const CHECKPOINTS = ["tiny-base", "tiny-custom", "tiny-design", "tiny-eos", "starter"];

describe.each(CHECKPOINTS)("%s", (checkpoint) => {
  const abilities = readAbilities(checkpointFolder(checkpoint));
  const spec = () => bundleOf(checkpoint).manifest.prompt;

  test("the bundle has the same", () => {
    const { hidden, modelSize, readsIpa, ...prompt } = abilities;
    const { manifest } = bundleOf(checkpoint);
    expect(manifest.prompt).toMatchObject(prompt);
    expect([manifest.shape.hidden, manifest.modelSize, manifest.reading !== null]).toEqual([
      hidden,
      modelSize,
      readsIpa,
    ]);
  });

  test("each offered language and speaker is accepted, and no dialect is offered", () => {
    const languages = languageNames(abilities);
    expect(languages).not.toBeEmpty();
    for (const language of languages)
      expect(languageId(spec(), language, "")).toBe(abilities.languages[language]);
    for (const [speaker, id] of Object.entries(abilities.speakers))
      expect(speakerId(spec(), speaker)).toBe(id);
    for (const dialect of Object.values(abilities.dialects)) {
      expect(languages).not.toContain(dialect);
      expect(failureOf(() => languageId(spec(), dialect, "")).code).toBe("LANGUAGE_UNKNOWN");
    }
  });
});

test.each([
  ["1b7", "custom_voice", true],
  ["0b6", "custom_voice", false],
  ["0b6", "voice_design", true],
  ["1b7", "base", false],
])("whether a %s %s checkpoint takes instructions is %p", (size, type, takesInstruct) => {
  const folder = copyOfCheckpoint("tiny-custom", `abilities-${size}-${type}`);
  setJson("config.json", "tts_model_size", size)(folder);
  setJson("config.json", "tts_model_type", type)(folder);
  expect(readAbilities(folder).takesInstruct).toBe(takesInstruct);
});
