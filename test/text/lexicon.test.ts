// Pronunciation lists: what a line means, which words they change, and what a voice cannot say.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TtsError } from "../../src/errors.ts";
import { Lexicon, parseLexicon, pronunciationsOf } from "../../src/text/lexicon.ts";
import { Reader } from "../../src/text/reading.ts";

const STARTER = join(import.meta.dir, "../../models/starter");
const table = (name: string) => readFileSync(join(STARTER, name), "utf8");

const LIST = parseLexicon(
  [
    "# names",
    "",
    "nginx => engine x  # a server",
    "Kubernetes\tkoober netties",
    "New York => /nˈu  jˈɔrk/",
    "new york city=>the big apple\r",
    "O'Brien => oh bryan",
    "C# => see sharp",
    "C++ => see plus plus",
    "Qwen => /kwˈɛn/",
    "重庆 => 崇庆",
    "room #5 => room five",
  ].join("\n"),
  "names.txt",
);
const lexicon = new Lexicon(LIST);

test.each([
  ["nginx, Nginx and NGINX.", "engine x, engine x and engine x."],
  ["nginxes, unginx, nginx2, nginx-2", "nginxes, unginx, nginx2, engine x-2"],
  ["KUBERNETES's pods", "koober netties's pods"],
  ["New\n York City, new york citys", "the big apple, 𗀀 citys"],
  ["In NEW YORK and New  York.", "In 𗀀 and 𗀀."],
  ["O’Brien and o'brien", "oh bryan and oh bryan"],
  ["C# and C++, c and C.", "see sharp and see plus plus, c and C."],
  ["我在重庆用nginx做", "我在崇庆用engine x做"],
  ["Room #5 and room #51", "room five and room #51"],
  ["𗀀 is not Qwen", "𗀀 is not 𗀁"], // a sign that the text has stands for nothing
  ["nothing of it", "nothing of it"],
])("%j becomes %j", (text, pronounced) => {
  expect(lexicon.pronounce(text, true).text).toBe(pronounced);
});

test("what was put in is not replaced again, and of equal words the last one counts", () => {
  const { text } = new Lexicon(
    pronunciationsOf([
      ["a", "b"],
      ["b", "c"],
      ["A", "b b"],
    ]),
  ).pronounce("a b", false);
  expect(text).toBe("b b c");
});

test("IPA is read as it stands, as one word with its pauses and its genitive", () => {
  const reader = new Reader(table("lexicon.tsv"), table("letters.tsv"));
  const { sounds, text } = lexicon.pronounce("Hello, Qwen's voice: New York’s 𗀀.", true);
  expect(reader.read(text, sounds)).toMatchObject({
    ipa: "həlˈoʊ, kwˈɛnz vˈɔɪs, nˈu jˈɔrks.",
    unread: ["𗀀"],
  });
});

describe("an error is one line with the place and the value", () => {
  const HINT = "write a word, =>, and how to say it: other words or /IPA/";
  const messageOf = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return [(error as TtsError).code, (error as TtsError).inOneLine];
    }
  };

  test.each([
    ["a => b\n\nfoo bar", `names.txt line 3: "foo bar" has neither a tab nor =>; ${HINT}`],
    ["a =>", `names.txt line 1: nothing is said for "a"; ${HINT}`],
    ["a => # later", `names.txt line 1: nothing is said for "a"; ${HINT}`],
    [" => b", `names.txt line 1: there is no word before "b"; ${HINT}`],
  ])("%j", (list, line) => {
    expect(messageOf(() => parseLexicon(list, "names.txt"))).toEqual(["USAGE", line]);
  });

  test.each([
    ["/kwˈɛn/", false, "/kwˈɛn/ is IPA, which this voice does not read; write it in letters"],
    ["/ˈ /", true, "/ˈ / has no sound; write IPA in it"],
    ["//", true, "// has no sound; write IPA in it"],
    [
      "/ʁaʊyʁ/",
      true,
      expect.stringMatching(/^l line 2: \/ʁaʊyʁ\/ has ʁ y, which this voice cannot say; it has ˈ aʊ /),
    ],
  ])("%s", (said, readsIpa, line) => {
    const list = new Lexicon(parseLexicon(`x => y\nQwen => ${said}`, "l"));
    expect(list.pronounce("no word of it", readsIpa).text).toBe("no word of it");
    expect(messageOf(() => list.pronounce("Qwen", readsIpa))).toEqual([
      "USAGE",
      typeof line === "string" ? `l line 2: ${line}` : line,
    ]);
  });
});
