// What a reading rule is, and how a list of them is applied. A rule finds one written form and says it in
// words; what it does not understand it leaves as it is.

import { replaced, type Steps } from "../steps.ts";

/** What a pattern found: its named groups, "" where one took no part, and all of it. */
export type Found = Readonly<Record<string, string>> & { readonly all: string };

export interface Rule {
  /** One case, written and as this rule leaves it. The tests hold every rule to its own. */
  example: readonly [written: string, read: string];
  /** Has the flag g. Starts only where a number or a word starts, so that any text takes linear time. */
  pattern: RegExp;
  /** The words in its place; null where this is something else after all. */
  say: string | ((found: Found) => string | null);
}

/** Each rule in turn reads the whole text, and so sees the words of those before it. */
export function* applyRules(rules: readonly Rule[], text: string): Steps<string> {
  let read = text;
  for (const { pattern, say } of rules) {
    // most rules find nothing
    if (read.search(pattern) >= 0) read = yield* replaced(read, pattern, (found) => said(say, found));
    yield;
  }
  return read;
}

function said(say: Rule["say"], { 0: all, groups = {} }: RegExpExecArray): string {
  if (typeof say === "string") return say;
  const found = Object.fromEntries(Object.entries(groups).map(([name, part]) => [name, part ?? ""]));
  return say({ ...found, all }) ?? all;
}

/** `a|b|c`, the longest first, with the signs of patterns taken as they stand. */
export function anyOf(words: Iterable<string>): string {
  return [...words]
    .sort((a, b) => b.length - a.length)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"))
    .join("|");
}

/** A word ends here. */
export const WORD_END = String.raw`(?![\p{L}\p{M}])`;
/** A word starts here. */
export const WORD_START = String.raw`(?<![\p{L}\p{M}\p{N}])`;
/** A full stop that belongs to an abbreviation ends the sentence too where one of these words follows. */
const STARTERS =
  "A|An|And|As|At|But|For|He|Her|His|How|However|I|If|In|It|My|No|On|Our|She|So|That|The|Then|There|These|They|This|Those|To|We|What|When|Who|Why|You|Your|Please";
/** The sentence goes on behind the full stop of an abbreviation. */
export const GOES_ON = String.raw`(?!\s+(?:${STARTERS})\b)`;

/**
 * The letter A, where it is not the article: a small capital, so that a text can hold both. Everything else
 * that is spelt is single letters.
 */
export const SPELT_A = "ᴀ";

/** `PM` as `p m`: a letter by itself is read by its name. */
export const spell = (letters: string) =>
  Array.from(letters.toLowerCase(), (letter) => (letter === "a" ? SPELT_A : letter)).join(" ");
