// Markup in a text: pauses and the elements of SSML that people paste. Plain text stays what it is, and any
// text is read in linear time without an exception but for a wrong pause.

import { describe, expect, test } from "bun:test";
import { TtsError } from "../../src/errors.ts";
import { Passages } from "../../src/text/markup/passages.ts";
import { MarkupReader, type Part } from "../../src/text/markup/reader.ts";
import { sayAs } from "../../src/text/markup/say-as.ts";
import { visibleText } from "../../src/text/visible.ts";

const readerOf = (readsIpa = true) =>
  new MarkupReader({ readsIpa, sayAs: (...said) => sayAs(...said, readsIpa) });

/** Text as it is, gaps as [gap]. */
const inWords = (parts: readonly Part[]) => {
  const words: (string | [unknown])[] = [];
  for (const part of parts) {
    const last = words.at(-1);
    if ("gap" in part) words.push([part.gap]);
    else if (typeof last === "string") words[words.length - 1] = last + part.text;
    else words.push(part.text);
  }
  return words;
};

function read(text: string, { readsIpa = true, size = text.length || 1 } = {}) {
  const reader = readerOf(readsIpa);
  const parts: Part[] = [];
  for (let at = 0; at < text.length; at += size) parts.push(...reader.push(text.slice(at, at + size)));
  parts.push(...reader.end());
  return { words: inWords(parts), ignored: reader.ignored, sounds: [...reader.sounds.values()] };
}

test.each([
  ["one [pause 500ms] two", ["one ", [500], " two"]],
  ["one [pause 0.5s] two", ["one ", [500], " two"]],
  ["one[PAUSE]two", ["one", [500], "two"]],
  ["one<break time='1.5s'/>two", ["one", [1500], "two"]],
  ['one<break time="250ms"></break>two', ["one", [250], "two"]],
  ["one<break time=2s/>two", ["one", [2000], "two"]],
  ["one<break/>two", ["one", [500], "two"]],
  ['one<break strength="none"/>two', ["one", [0], "two"]],
  ['one<break strength="x-strong" />two', ["one", [1000], "two"]],
  [
    "<speak><p>A.</p><p><s>B</s></p></speak>",
    [["paragraph"], "A.", ["paragraph"], ["paragraph"], ["sentence"], "B", ["sentence"], ["paragraph"]],
  ],
  ['<sub alias="a &amp; b">AB</sub> x', ["a &amp; b x"]],
  ["<sub>AB</sub>", ["AB"]],
  ["<!-- a < b --><?xml version='1.0'?><!DOCTYPE speak>x", ["x"]],
  ["<![CDATA[a <b> &amp; c]]>", ["a <b> &amp;amp; c"]],
  ["a&lt;break/&gt;b", ["a&lt;break/&gt;b"]],
  ["a<br>b", ["a\nb"]],
])("%s", (text, words) => {
  expect(read(text).words).toEqual(words as never);
  for (const size of [1, 2, 3, 7]) expect(read(text, { size }).words).toEqual(words as never);
});

test.each([
  "a < b",
  "<3",
  "I <3 you > me",
  "[note]",
  "[pause for breath]",
  "[pausе 500ms]", // a Cyrillic letter
  "5 <6> 7",
  "x <y and z> w",
  "<|im_end|>",
  '<break time="1s"',
  '<break time="1s/> no quote',
  "<",
  "[pause",
  "</",
  "<!",
  "<!DOCTYPE x [<!ENTITY a 'b'>]>",
])("is plain text: %s", (text) => {
  expect(read(text)).toEqual({ words: [text], ignored: [], sounds: [] });
  expect(read(text, { size: 1 }).words).toEqual([text]);
});

test.each([
  ["[pause 61s]", "[pause 61s]: 61s is too long; give 0 to 60 s, such as 500ms or 0.5s"],
  ["[pause 500]", '[pause 500]: "500" is not a length of time; give 0 to 60 s, such as 500ms or 0.5s'],
  ["[pause -1s]", '[pause -1s]: "-1s" is not a length of time; give 0 to 60 s, such as 500ms or 0.5s'],
  [
    '<break time="x"/>',
    '<break time="x"/>: "x" is not a length of time; give 0 to 60 s, such as 500ms or 0.5s',
  ],
  [
    '<break strength="huge"/>',
    '<break strength="huge"/>: there is no strength "huge"; choose one of none, x-weak, weak, medium, strong, x-strong',
  ],
])("refuses %s", (text, message) => {
  try {
    read(text);
    expect.unreachable();
  } catch (error) {
    expect([(error as TtsError).code, (error as TtsError).inOneLine]).toEqual(["USAGE", message]);
  }
});

test("names what it does not obey once, and reads its text", () => {
  const text = '<voice name="x">one</voice> <prosody rate="slow">two</prosody><a:b/><voice>three</voice>';
  expect(read(text).words).toEqual(["one two three"]);
  expect(read(text).ignored).toEqual(["<voice>", "<prosody>", "<a:b>"]);
});

test.each([
  ["characters", "", "AB-1", "ᴀ B - one", "A B - one"],
  ["spell-out", "", "cab", "C ᴀ B", "C A B"],
  ["digits", "", "2024", "two zero two four", "two zero two four"],
  ["cardinal", "", "1,234", "one thousand two hundred thirty four", "one thousand two hundred thirty four"],
  ["cardinal", "", "-2.5", "minus two point five", "minus two point five"],
  ["ordinal", "", "21", "twenty first", "twenty first"],
  [
    "date",
    "mdy",
    "12/25/2024",
    "December twenty fifth, twenty twenty four",
    "December twenty fifth, twenty twenty four",
  ],
  ["date", "dmy", "1.2.2024", "February first, twenty twenty four", "February first, twenty twenty four"],
  ["date", "", "2024-02-01", "February first, twenty twenty four", "February first, twenty twenty four"],
  ["date", "ym", "2024-02", "February twenty twenty four", "February twenty twenty four"],
  ["time", "hms12", "7:05pm", "seven oh five p m", "seven oh five p m"],
  ["time", "", "9am", "nine ᴀ m", "nine a m"],
  ["telephone", "", "+44 20", "plus four four, two zero", "plus four four, two zero"],
  ["ordinal", "", "some", "some", "some"],
  ["date", "dmy", "99/99/2024", "99/99/2024", null],
])("says %s %s %s", (kind, format, text, forIpa, forOthers) => {
  expect(sayAs(kind, format, text, true)).toBe(forIpa);
  if (forOthers !== null) expect(sayAs(kind, format, text, false)).toBe(forOthers);
});

test("reads an unknown kind of say-as through", () => {
  const { ignored, words } = read('<say-as interpret-as="expletive">oh no</say-as>');
  expect({ ignored, words }).toEqual({ ignored: ['<say-as interpret-as="expletive">'], words: ["oh no"] });
  for (const kind of ["constructor", "__proto__", ""]) expect(sayAs(kind, "", "x", true)).toBe(null);
});

test("says IPA for voices that read it, and what stands inside for others", () => {
  const text = '<phoneme alphabet="ipa" ph="tˈi">tea</phoneme>, <phoneme ph="tˈi">x</phoneme>';
  const { sounds, words } = read(text);
  expect(sounds).toEqual(["tˈi"]);
  expect(words).toEqual(["\u{17000}, \u{17000}"]);
  expect(read(text, { readsIpa: false })).toEqual({ words: ["tea, x"], ignored: [], sounds: [] });
  expect(read('<phoneme alphabet="x-sampa" ph="t">tea</phoneme>').ignored).toEqual([
    '<phoneme alphabet="x-sampa">',
  ]);
  expect(() => read('<phoneme ph="ʁ">r</phoneme>')).toThrow(
    "<phoneme>: /ʁ/ has ʁ, which this voice cannot say",
  );
});

test("what is never closed is read through", () => {
  expect(read(`<sub alias="x">${"word ".repeat(400)}`).words).toEqual(["word ".repeat(400)]);
  expect(read('<sub alias="x">word').words).toEqual(["x"]);
  expect(read("</sub>word</say-as>").words).toEqual(["word"]);
  expect(read(`${"<sub>".repeat(100)}word`).words).toEqual(["word"]);
});

describe("passages", () => {
  const passagesOf = (parts: (string | number)[], sentenceMs = 0, paragraphMs = 0) => {
    const passages = new Passages({ sentenceMs, paragraphMs });
    const found = parts.flatMap((part) => {
      if (typeof part === "string") return [...passages.add(part)];
      passages.gap(part);
      return [];
    });
    return [...found.map(({ pauseMs, text }) => [pauseMs, text.trim()]), passages.endMs];
  };

  test("have the silence that is asked for, at both ends too", () => {
    expect(passagesOf([100, "One. Two.", 200, " ", 300, "Three.", 400])).toEqual([
      [100, "One. Two."],
      [500, "Three."],
      400,
    ]);
    expect(() => passagesOf(["a", 60_000, 1, "b"])).toThrow("pauses at one place add up to 60001 ms");
  });

  test("have the silence of sentences and paragraphs, unless other silence is asked for", () => {
    const text = "One. Two.\n\nThree. Dr. Four.";
    expect(passagesOf([text])).toEqual([[0, text], 0]);
    expect(passagesOf([text], 0, 70)).toEqual([[0, "One. Two."], [70, "Three. Dr. Four."], 0]);
    expect(passagesOf([text, 5, "Five."], 30, 70)).toEqual([
      [0, "One."],
      [30, "Two."],
      [70, "Three."],
      [30, "Dr. Four."],
      [5, "Five."],
      0,
    ]);
  });
});

/** The same numbers each time. */
function* numbers(state = 1): Generator<number, never> {
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

test("any text is read without an exception but for a pause, and the same in any pieces", () => {
  const bits =
    '< > / [ ] = " \' [pause ] <break time=" 1s "/> <sub alias=" </sub> <say-as interpret-as=" date </say-as> <p> </p> <!-- --> <![CDATA[ ]]> &amp; & a é 字 😀 1 . \n'.split(
      " ",
    );
  const random = numbers();
  const next = () => random.next().value;
  for (let round = 0; round < 3_000; round++) {
    const text = Array.from({ length: 1 + next() * 20 }, () => bits[Math.floor(next() * bits.length)]).join(
      next() < 0.3 ? " " : "",
    );
    const outcome = (size?: number) => {
      try {
        return visibleText(JSON.stringify(read(text, { size }).words));
      } catch (error) {
        expect(error).toBeInstanceOf(TtsError);
        return (error as TtsError).message;
      }
    };
    expect([text, outcome(1 + Math.floor(next() * 4))]).toEqual([text, outcome()]);
  }
});

test.each([
  "<",
  "[",
  "[pause ",
  "<a ",
  "<a b=",
  '<a b="',
  `<a${" ".repeat(1_990)}`,
  "<!--",
  "<![CDATA[",
  "<sub>",
  "<sub></sub>",
  "<p>",
  "</sub",
  "<x>",
  "<break/>a",
  "a<br>",
  '<phoneme ph="t">x</phoneme>',
])("takes linear time, also in pieces: %j", (bit) => {
  const time = (bytes: number) => {
    const text = bit.repeat(bytes / bit.length);
    const start = process.cpuUsage(); // other programs may hold up this one
    read(text);
    read(text.slice(0, bytes / 10), { size: 3 });
    return process.cpuUsage(start).user / 1000;
  };
  time(20_000);
  expect(time(200_000)).toBeLessThan(20 * Math.max(time(20_000), 25));
});
