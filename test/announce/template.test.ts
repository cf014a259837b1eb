// What is filled into a text, in which language, and how sentences with it are kept apart from others.

import { expect, test } from "bun:test";
import { localeOf, partsOf } from "../../src/announce/template.ts";
import { sentenceEnds } from "../../src/text/split.ts";

const SEVEN = new Date(2026, 5, 1, 7, 0, 0);
const parts = (text: string, language = "english") => partsOf(text, SEVEN, localeOf(language), sentenceEnds);

test("a text without placeholders is one part", () => {
  expect(parts("Good morning. Get up.")).toEqual([{ text: "Good morning. Get up.", fresh: false }]);
});

test("sentences with a time are apart from the others", () => {
  expect(parts("Good morning. It is {time}.")).toEqual([
    { text: "Good morning.", fresh: false },
    { text: "It is 7:00 AM.", fresh: true },
  ]);
  expect(parts("{time}. It is {weekday}. Get up. Now!")).toEqual([
    { text: "7:00 AM. It is Monday.", fresh: true },
    { text: "Get up. Now!", fresh: false },
  ]);
});

test("each language has its own words", () => {
  const said = (language: string) => parts("{weekday}, {date}, {time}", language)[0].text;
  expect(said("english")).toBe("Monday, June 1, 2026, 7:00 AM");
  expect(said("German")).toBe("Montag, 1. Juni 2026, 07:00");
  expect(said("fr")).toBe("lundi, 1 juin 2026, 07:00");
  expect(said("russian")).toBe("понедельник, 1 июня 2026 г., 07:00");
  expect(said("chinese")).toBe("星期一, 2026年6月1日, 07:00");
  expect(said("auto")).toBe(said("english"));
});

test("other braces stay, and mistyped placeholders are refused", () => {
  expect(parts("Use {braces} and {}, {0} or {a b}.")[0].text).toBe("Use {braces} and {}, {0} or {a b}.");
  expect(() => parts("It is {tmie}.")).toThrow("there is no placeholder {tmie}");
});
