// Words in capitals, for voices that read IPA: their lexicon decides whether one is a word (LASER) or letters
// (IBM), and two short lists say where it is wrong.

import { replaced, type Steps } from "../steps.ts";
import { type Rule, SPELT_A, spell } from "./rule.ts";

/** In the lexicon, as something else. */
const LETTERS = new Set(
  "AC AD AI AM CC CD DA DC DJ EM EST ET EU HR ID IDS IM IO IP IT IV LA LED MA NE NW OS PA PC PM PR PS QA SE SW TV TVS UN US UV WHO".split(
    " ",
  ),
);
/** Not in the lexicon, and yet words. */
const WORDS = new Set(
  "ASCII ASEAN BAFTA CAPTCHA COVID FEMA FIFA GIF HIPAA IKEA INTERPOL JPEG LEGO LIDAR MERS NAFTA NASA NASDAQ NATO NORAD OPEC OSHA SARS SCUBA SIM SWAT TASER UEFA UNESCO UNICEF WIFI".split(
    " ",
  ),
);
/** Longer ones are shouted, or names. */
const MOST_LETTERS = 5;

const CAPITALS = /(?<![\p{L}\p{M}'’])(?<word>[A-Z]{2,})(?<ending>['’]?s)?(?![\p{L}\p{M}])/gu;
/** Characters that are looked at on either side. */
const NEAR = 16;
const SHOUTED_BEFORE = /(?<![\p{L}\p{M}])(?!THE )([A-Z]{2,}) $/u;
const SHOUTED_AFTER = /^ (?:IS|WAS|AND|HAS|WILL|CAN|AT|ON|IN|TO|FOR|NOW|ALL|OR|ARE)(?![\p{L}\p{M}])/u;
/** Two words in one: `YouTube`, but not `McDonald`. */
const INNER_CAPITAL = /(?<![\p{L}\p{M}])(?!Ma?c\p{Lu})\p{Lu}?\p{Ll}+(?:\p{Lu}\p{Ll}+)+(?![\p{L}\p{M}])/gu;

/** After these a single A is a letter. */
const LABELS =
  "[Pp]lan|[Vv]itamin|[Gg]rade|[Tt]ype|[Gg]roup|[Cc]lass|[Gg]ate|[Ss]ection|[Bb]lock|[Pp]latform|[Oo]ption|[Hh]epatitis|[Tt]eam|[Ww]ing|[Tt]erminal|[Hh]all|[Ll]evel|[Ee]xit|[Pp]art|[Aa]ppendix|[Rr]ow|[Zz]one|[Bb]uilding|[Uu]nit|[Rr]oom|[Ll]etter|[Ss]eat";

export const LONE_LETTERS: readonly Rule[] = [
  {
    example: ["AT&T, Q & A", "ᴀ t and t, q and ᴀ"],
    pattern: /(?<![\p{L}\p{M}\d])(?<first>[A-Z]{1,3}) ?& ?(?<second>[A-Z]{1,3})(?![\p{L}\p{M}])/gu,
    say: ({ first, second }) => `${spell(first)} and ${spell(second)}`,
  },
  {
    example: ["A4, A+, an A-1, 12A, plan A.", "ᴀ4, ᴀ+, an ᴀ-1, 12ᴀ, plan ᴀ."],
    pattern: new RegExp(
      String.raw`(?<![\p{L}\p{M}\d])A(?=\d|\+|-\d|\/)|(?<=[\d/])A(?![\p{L}\p{M}])|(?<=\b(?:${LABELS}) )A(?![\p{L}\p{M}'’]| \p{Ll})`,
      "gu",
    ),
    say: SPELT_A,
  },
];

/** @param isWord whether the voice's lexicon has a word, in lower case */
export function* readCapitals(text: string, isWord: (word: string) => boolean): Steps<string> {
  const isPlain = (word: string) => !LETTERS.has(word) && isWord(word.toLowerCase());
  const isShouted = (start: number, end: number) => {
    const before = SHOUTED_BEFORE.exec(text.slice(Math.max(0, start - NEAR), start));
    return (before !== null && isPlain(before[1])) || SHOUTED_AFTER.test(text.slice(end, end + NEAR));
  };
  const words = yield* replaced(text, CAPITALS, ({ 0: all, 1: word, 2: ending, index: start }) => {
    if (WORDS.has(word)) return word.toLowerCase() + (ending ?? "");
    if (ending !== "s") {
      const staysWord = isPlain(word) || (isWord(word.toLowerCase()) && isShouted(start, start + all.length));
      if (staysWord || word.length > MOST_LETTERS) return all.toLowerCase();
    }
    return spell(word) + (ending === undefined ? "" : "'s");
  });
  return yield* replaced(words, INNER_CAPITAL, ({ 0: word }) =>
    isWord(word.toLowerCase()) ? word : word.replace(/(?<=\p{Ll})(?=\p{Lu})/gu, " "),
  );
}
