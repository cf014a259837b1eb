// Numbers that are none of the others: fractions, ranges and scores, sums in arithmetic, rooms and flights,
// ordinals, degrees, decimals and versions.

import { cardinal, decimal, digitByDigit, inPairs, ordinal, plural, WHOLE } from "./numbers.ts";
import { type Rule, WORD_END, WORD_START } from "./rule.ts";

const VULGAR: Readonly<Record<string, string>> = {
  "½": "1/2",
  "⅓": "1/3",
  "⅔": "2/3",
  "¼": "1/4",
  "¾": "3/4",
  "⅕": "1/5",
  "⅖": "2/5",
  "⅗": "3/5",
  "⅘": "4/5",
  "⅙": "1/6",
  "⅚": "5/6",
  "⅛": "1/8",
  "⅜": "3/8",
  "⅝": "5/8",
  "⅞": "7/8",
};
/** Parts that a whole is cut into in speech: other strokes between numbers are no fractions. */
const DENOMINATORS = "10|12|16|20|32|64|100|[2-9]";

function fraction(numerator: string, denominator: string): string {
  const part = { "2": "half", "4": "quarter" }[denominator] ?? ordinal(denominator);
  const parts = part === "half" ? "halves" : plural(part);
  return `${cardinal(numerator)} ${numerator === "1" ? part : parts}`;
}

/** Read in pairs, as one says them: `Room 305` is "three oh five". */
const IN_PAIRS =
  "[Rr]oom|Rm\\.?|[Ff]light|[Bb]us|[Rr]oute|[Gg]ate|[Cc]hannel|[Ss]uite|[Aa]partment|[Hh]ighway|[Ii]nterstate|[Tt]rain|[Ll]ocker|[Ee]xtension|Boeing";
/** Digit by digit. */
const BY_DIGITS =
  "area code|[Zz]ip(?: code)?|[Oo]rder(?: number)?|ISBN(?:-1[03])?|code|PIN|pin|zip|ZIP|postcode|password|account(?: number)?|serial number|reference(?: number)?|ref";

/** Fractions come before the units, so that the unit of a half is one of many: `½ mile` has none. */
export const FRACTIONS: readonly Rule[] = [
  {
    example: ["1½, ½", "1 1/2, 1/2"],
    pattern: new RegExp(String.raw`(?:(?<digit>\d) ?)?(?<sign>[${Object.keys(VULGAR).join("")}])`, "gu"),
    say: ({ digit, sign }) => (digit === "" ? VULGAR[sign] : `${digit} ${VULGAR[sign]}`),
  },
  {
    example: ["24/7 and 50/50", "twenty four seven and fifty fifty"],
    pattern: /(?<![\d.,/])(?<first>24\/7|50\/50|9\/11|20\/20)(?![\d/]|[.,]\d)/g,
    say: ({ first }) => first.split("/").map(cardinal).join(" "),
  },
  {
    example: ["1 1/2 cups, 3/4 full", "one and a half cups, three quarters full"],
    pattern: new RegExp(
      String.raw`(?<![\d.,/:-])(?:(?<whole>\d{1,4})(?: |-))?(?<numerator>\d{1,2})[/⁄](?<denominator>${DENOMINATORS})(?:ths?|nds?)?(?![\d/%]|[.,]\d)`,
      "gu",
    ),
    say: ({ denominator, numerator, whole }) => {
      if (Number(numerator) >= Number(denominator) || numerator.startsWith("0")) return null;
      const words = fraction(numerator, denominator);
      return whole === "" ? words : `${cardinal(whole)} and ${words.replace(/^one (?=half|quarter)/, "a ")}`;
    },
  },
  {
    example: ["120/80", "one hundred twenty over eighty"],
    pattern: /(?<![\d.,/])(?<first>\d{1,4})\/(?<second>\d{1,4})(?![\d/]|[.,]\d)/g,
    say: ({ first, second }) => `${cardinal(first)} over ${cardinal(second)}`,
  },
];

export const LABELLED: readonly Rule[] = [
  {
    example: ["1 000 000", "1000000"],
    pattern: /(?<![\d.,]|\d )[1-9]\d{0,2}(?:[ \u2009]\d{3}){2,20}(?![\d ]\d|\d)/g,
    say: ({ all }) => all.replace(/\D/g, ""),
  },
  {
    example: ["Room 305, flight BA 1204", "Room three oh five, flight BA twelve oh four"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?<noun>(?:${IN_PAIRS}) (?:[A-Z]{1,3}[ -]?|\p{Lu}[a-z]+ )?)(?<digits>\d{3,4})(?!\d|[.,]\d)`,
      "gu",
    ),
    say: ({ digits, noun }) => noun + inPairs(digits),
  },
  {
    example: ["No. 5, #7, nos. 3", "number 5, number 7, numbers 3"],
    pattern: new RegExp(String.raw`${WORD_START}(?:[Nn]o(?<many>s)?\.? ?|№ ?|(?<![&\p{L}\d])#)(?=\d)`, "gu"),
    say: ({ all, many }) => (/^no\d/i.test(all) || /^no\s/.test(all) ? null : `number${many} `),
  },
  {
    example: ["PIN 4821", "PIN four eight two one"],
    pattern: new RegExp(
      String.raw`${WORD_START}(?<noun>(?:${BY_DIGITS})(?: is)?:? )(?<digits>\d[\d-]{1,20})(?!\d|[.,]\d)`,
      "gu",
    ),
    say: ({ digits, noun }) => noun + digitByDigit(digits),
  },
  {
    example: ["v1.2.3", "version one point two point three"],
    pattern: new RegExp(String.raw`${WORD_START}[vV](?:er)?\.? ?(?<whole>\d+)(?<rest>(?:\.\d+)*)`, "gu"),
    say: ({ rest, whole }) => `version ${decimal(whole, rest)}`,
  },
  {
    example: ["§ 5", "section 5"],
    pattern: /§ ?(?=\d)/g,
    say: "section ",
  },
];
/** Between numbers: `-` is a minus in arithmetic, else it says up to where. */
export const RANGES: readonly Rule[] = [
  {
    example: ["UTC-5", "UTC minus 5"],
    pattern: /(?<=\b(?:UTC|GMT))[-−](?=\d)/g,
    say: " minus ",
  },
  {
    example: ["5-3=2, 7 - 2", "5 minus 3=2, 7 minus 2"],
    pattern: /(?<=(?<![\d.,])\d{1,9}) ?[-–−] ?(?=\d{1,9} ?=)|(?<=\d) [-−] (?=\d)/g,
    say: " minus ",
  },
  {
    example: ["2x4, 3 × 5", "2 by 4, 3 times 5"],
    pattern: /(?<=\d) ?(?:(?<by>[xX])|[×*·]) ?(?=\d)/g,
    say: ({ by }) => (by === "" ? " times " : " by "),
  },
  {
    example: ["10÷2, 8 / 4", "10 divided by 2, 8 divided by 4"],
    pattern: /(?<=\d)(?: ?÷ ?| \/ )(?=\d)/g,
    say: " divided by ",
  },
  {
    example: ["5-10, 1.5–2 and 10%-20%, but 1-2-3", "5 to 10, 1.5 to 2 and 10% to 20%, but 1-2-3"],
    pattern: /(?<=(?<![-–\d\p{L}]|\p{L}-)\d{1,9}[%°]?)\s?[-–—]\s?(?=\d+(?![-–\d]))/gu,
    say: " to ",
  },
  {
    example: ["a ratio of 2:1", "a ratio of 2 to 1"],
    pattern: /(?<=(?<![\d:.,])\d{1,4}):(?=\d{1,4}(?![\d:]|[.,]\d))/g,
    say: " to ",
  },
];

const DEGREE_SCALES: Readonly<Record<string, string>> = { C: " celsius", F: " fahrenheit", "": "" };

/** What is left, in this order: all digits are words then. */
export const NUMBERS: readonly Rule[] = [
  {
    example: ["the 22nd", "the twenty second"],
    pattern: new RegExp(`(?<whole>${WHOLE})(?<suffix>st|nd|rd|th)${WORD_END}`, "giu"),
    say: ({ suffix, whole }) => ordinal(whole, suffix),
  },
  {
    example: ["20°C, 1°, 45°angle", "20 degrees celsius, one degree, 45 degrees angle"],
    pattern: new RegExp(
      String.raw`(?<one>(?<![\d:.,])1 ?)?(?<space> ?)°(?: ?(?<scale>[CF])${WORD_END})?(?=(?<letter>[\p{L}\p{N}])?)`,
      "gu",
    ),
    say: ({ letter, one, scale }) =>
      `${one === "" ? " degrees" : "one degree"}${DEGREE_SCALES[scale]}${letter === "" ? "" : " "}`,
  },
  {
    example: [
      "42, 3.14, .5, 1.2.10",
      "forty two, three point one four, point five, one point two point one zero",
    ],
    pattern: new RegExp(
      String.raw`(?<whole>${WHOLE})(?<rest>(?:\.\d+)*)|(?<![\p{L}\p{M}\d.])(?<point>\.\d+)`,
      "gu",
    ),
    say: ({ point, rest, whole }) => decimal(whole, point || rest),
  },
];
