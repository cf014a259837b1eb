// Names of languages and speakers as users write them. The layouts themselves are in test/golden.test.ts.

import { describe, expect, test } from "bun:test";
import { languageId, promptDefaults, speakerId } from "../../src/text/prompt.ts";
import { NONE } from "../../src/types.ts";
import { bundleOf } from "../_support.ts";

const spec = () => bundleOf("tiny-custom").manifest.prompt;

describe("languages", () => {
  test.each(["russian", "Russian", "ru", "RU", "ru-RU", "ru_RU"])("%s is russian", (written) => {
    expect(languageId(spec(), written, "ryan")).toBe(spec().languages.russian);
  });

  test.each(["klingon", "xx", "", " ", "beijing_dialect", "constructor"])(
    "%p is refused with the names there are",
    (written) => {
      expect(() => languageId(spec(), written, "ryan")).toThrow(`there is no language "${written}"`);
    },
  );

  test("a dialect comes with its speaker where the language is auto or chinese, and only there", () => {
    const { beijing_dialect, english } = spec().languages;
    expect(
      ["auto", "chinese", "zh-CN", "english"].map((language) => languageId(spec(), language, "dylan")),
    ).toEqual([beijing_dialect, beijing_dialect, beijing_dialect, english]);
    expect(languageId(spec(), "auto", "ryan")).toBe(NONE);
  });
});

describe("speakers", () => {
  test("names are not case-sensitive, and none means no speaker", () => {
    expect(speakerId(spec(), "Vivian")).toBe(spec().speakers.vivian);
    expect([speakerId(spec(), "none"), speakerId(spec(), "")]).toEqual([NONE, NONE]);
  });

  test.each(["bob", "constructor", "__proto__"])("%s is refused", (name) => {
    expect(() => speakerId(spec(), name)).toThrow(`there is no speaker "${name}"`);
  });

  test("the first speaker and the only language are the defaults", () => {
    expect(promptDefaults(spec())).toEqual({ speaker: "serena", language: "auto", mode: "whole" });
    expect(promptDefaults(bundleOf("starter").manifest.prompt)).toEqual({
      speaker: "starter",
      language: "english",
      mode: "whole",
    });
    expect(promptDefaults(bundleOf("tiny-base").manifest.prompt).mode).toBe("stream");
  });
});
