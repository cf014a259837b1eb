// Written English with digits and signs -> words only, for voices that read IPA: their reader knows no
// digits. Never fails and never drops anything: what is not understood stays as it is, for the reader to
// report. The rules lie beside it by subject, a table a file; their order is here.

import { atOnce, replaced, type Steps } from "../steps.ts";
import { ABBREVIATIONS, ROMANS } from "./abbreviations.ts";
import { LONE_LETTERS, readCapitals } from "./acronyms.ts";
import { ADDRESSES, TELEPHONES } from "./addresses.ts";
import { FRACTIONS, LABELLED, NUMBERS, RANGES } from "./counts.ts";
import { MONEY } from "./money.ts";
import { applyRules, type Rule, SPELT_A, WORD_END } from "./rule.ts";
import { DATES, TIMES, YEARS } from "./times.ts";
import { MEASURES } from "./units.ts";

const COMPATIBILITY_FORMS = /[０-９％＆＋＝＠＄￡￥℃℉]/g;

const SIGNS: Readonly<Record<string, string>> = {
  "%": "percent",
  "‰": "per mille",
  "&": "and",
  "+": "plus",
  "=": "equals",
  "@": "at",
  "−": "minus",
  "×": "times",
  "÷": "divided by",
  "±": "plus or minus",
  "≈": "about",
  "≠": "is not",
  "≤": "at most",
  "≥": "at least",
  "→": "to",
  $: "dollars", // not before a number, so the unit by itself
  "€": "euros",
  "£": "pounds",
  "¥": "yen",
};

/** Signs that are read by what stands beside them. */
const SIGNS_IN_PLACE: readonly Rule[] = [
  { example: ["C# and F#", "C sharp and F sharp"], pattern: /(?<=\b[A-G])#(?!\p{L})/gu, say: " sharp" },
  { example: ["x^2, 3²", "x squared, 3 squared"], pattern: /\^2(?!\d)|(?<=[\p{L}\d])²/gu, say: " squared" },
  { example: ["x^3", "x cubed"], pattern: /\^3(?!\d)|(?<=[\p{L}\d])³/gu, say: " cubed" },
  {
    example: ["2^10", "2 to the power of 10"],
    pattern: /(?<=[\p{L}\d])\^(?=\d)/gu,
    say: " to the power of ",
  },
  { example: ["x < 5", "x less than 5"], pattern: /(?<=[\p{L}\d]) ?< ?(?=\d)/gu, say: " less than " },
  { example: ["3 > 2", "3 greater than 2"], pattern: /(?<=[\p{L}\d]) ?> ?(?=\d)/gu, say: " greater than " },
  { example: ["~5", "about 5"], pattern: /~ ?(?=[$€£]?\d)/g, say: "about " },
  { example: ["and/or, TCP/IP", "and or, TCP IP"], pattern: /(?<=\p{L})\/(?=\p{L})/gu, say: " " },
  { example: ["snake_case", "snake case"], pattern: /(?<=[\p{L}\d])_+(?=[\p{L}\d])/gu, say: " " },
];

/** Between a letter and a number: `USB3`, `30km`, but not `3rd`. */
const GLUED: Rule = {
  example: ["USB3, 30km, 3rd", "USB 3, 30 km, 3rd"],
  pattern: new RegExp(
    String.raw`(?<=[\p{L}\p{M}])(?=[$€£]?\d)|(?<=\d)(?!(?:st|nd|rd|th)${WORD_END})(?=\p{L})`,
    "giu",
  ),
  say: " ",
};
/** Not the hyphen of a word, a range, a telephone number or an option: `F-16`, `5-7`, `(0)-5`, `--5`. */
const MINUS: Rule = {
  example: ["-5, F-16", "minus 5, F-16"],
  pattern: /(?<![\p{L}\p{M}\p{N}\p{Pe}%°_-])-(?=[$€£]?\.?\d)/gu,
  say: "minus ",
};

/**
 * In this order: what needs the text as it was written comes first, what reads whatever digits are left last.
 */
export const ENGLISH: readonly (readonly Rule[])[] = [
  ADDRESSES,
  TELEPHONES,
  ABBREVIATIONS,
  ROMANS,
  DATES,
  TIMES,
  LABELLED,
  FRACTIONS,
  [MINUS],
  MONEY,
  MEASURES,
  YEARS,
  RANGES,
  LONE_LETTERS,
  SIGNS_IN_PLACE,
  [GLUED],
  NUMBERS,
];

/** Set apart, so that it ends a sentence: `p m. Then` looks like an initial to whoever splits the text. */
const ENDING_LETTER = /(?<=(?<![\p{L}\p{M}'’.])\p{Ll})\.(?=\s+\S)/gu;
const SIGN = new RegExp(`[${Object.keys(SIGNS).join("")}]`, "g");

/**
 * Numbers, times, sums, units, abbreviations and common signs as English words, whatever their length, in
 * linear time. Digits of other scripts and other signs are left untouched.
 * @param isWord whether the voice's lexicon has a word, in lower case: then words in capitals are read too.
 * Without it they stay, for models that know them.
 */
export const spellOut = (text: string, isWord?: (word: string) => boolean): string =>
  atOnce(spellingOut(text, isWord));

/** As {@link spellOut}. */
export function* spellingOut(text: string, isWord?: (word: string) => boolean): Steps<string> {
  let words = text.replace(COMPATIBILITY_FORMS, (form) => form.normalize("NFKC"));
  for (const rules of ENGLISH)
    if (rules !== LONE_LETTERS || isWord !== undefined) words = yield* applyRules(rules, words);
  words = yield* replaced(words, SIGN, ({ 0: sign, index, input }) =>
    spaced(SIGNS[sign], sign, index, input),
  );
  words = isWord === undefined ? asLatin(words) : yield* readCapitals(words, isWord);
  return words.replace(ENDING_LETTER, " .");
}

/** Models that read the letters themselves know no {@link SPELT_A}. */
export const asLatin = (words: string) => words.replace(/ᴀ(?= m\b)/g, "a").replaceAll(SPELT_A, "A");

/** Words in place of a sign at `offset`, with the spaces that set them off from what stands beside it. */
function spaced(words: string, sign: string, offset: number, all: string): string {
  const before = all[offset - 1] ?? " ";
  const after = all[offset + sign.length] ?? " ";
  // A sign that follows sets itself off.
  return (/[\s\p{Ps}\p{Pi}"']/u.test(before) ? "" : " ") + words + (/[\s\p{P}\p{S}]/u.test(after) ? "" : " ");
}
