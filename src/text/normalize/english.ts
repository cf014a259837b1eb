// Written English with digits and signs -> words only, for voices that read IPA: their reader knows no
// digits. Never fails and never drops anything: what is not understood stays as it is, for the reader to
// report.

import { toCardinal, toOrdinal } from "n2words/en-US";

/** n2words names numbers below 10^66; longer ones are read digit by digit. */
const MAX_NAMED_DIGITS = 66;
const DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/** Singular and plural. */
type Noun = readonly [string, string];

const CURRENCIES: Readonly<Record<string, { unit: Noun; hundredth: Noun }>> = {
  $: { unit: ["dollar", "dollars"], hundredth: ["cent", "cents"] },
  "€": { unit: ["euro", "euros"], hundredth: ["cent", "cents"] },
  "£": { unit: ["pound", "pounds"], hundredth: ["penny", "pence"] },
};

const SIGNS: Readonly<Record<string, string>> = {
  "%": "percent",
  "&": "and",
  "+": "plus",
  "=": "equals",
  "@": "at",
  "−": "minus",
  $: "dollars", // not before a number, so a price such as `5€` or the unit by itself
  "€": "euros",
  "£": "pounds",
};

const DEGREE_SCALES: Readonly<Record<string, string>> = { C: "celsius", F: "fahrenheit" };

// Every pattern below takes all digits of a number or none and starts only where a number starts, so the time
// is linear for any text.

/** All digits of a whole number: `1,000,000` as one, the list `1,2,3` as three. */
const WHOLE = String.raw`(?<!\d)(?:(?<!\d,)[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)|\d+)`;
const WORD_END = String.raw`(?![\p{L}\p{M}])`;

const COMPATIBILITY_FORMS = /[０-９％＆＋＝＠＄￡℃℉]/g;
/** Between a letter and a number: `USB3`, `30km`, `US$5`, but not `3rd`. */
const GLUED = new RegExp(
  String.raw`(?<=[\p{L}\p{M}])(?=[$€£]?\d)|(?<=\d)(?!(?:st|nd|rd|th)${WORD_END})(?=\p{L})`,
  "giu",
);
/** Not the hyphen of a word, a range, a telephone number or an option: `F-16`, `5-7`, `(0)-5`, `--5`. */
const MINUS = /(?<![\p{L}\p{M}\p{N}\p{Pe}%°_-])-(?=[$€£]?\.?\d)/gu;
const MONEY = new RegExp(
  String.raw`([$€£])(${WHOLE})(?:\.(\d+))?(?: ?(hundred|thousand|million|billion|trillion)${WORD_END})?`,
  "giu",
);
const TIME = /(?<!\d[:.,]?|:)([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?(?!:?\d)/g;
const ORDINAL = new RegExp(`(${WHOLE})(st|nd|rd|th)${WORD_END}`, "giu");
const DEGREES = new RegExp(String.raw`((?<!\d[:.,]?)1 ?)?°(?: ?([CF])${WORD_END})?`, "gu");
/** `42`, `3.14`, `.5`, and the version `1.2.10`. */
const NUMBER = new RegExp(String.raw`(${WHOLE})((?:\.\d+)*)|(?<![\p{L}\p{M}\d.])\.\d+`, "gu");
const SIGN = /[%&+=@−$€£]/g;

/**
 * Numbers, clock times, sums of money and common signs as English words, whatever their length, in linear
 * time. Digits of other scripts, fractions such as `½` and other signs are left untouched.
 */
export function spellOut(text: string): string {
  return text
    .replace(COMPATIBILITY_FORMS, (form) => form.normalize("NFKC"))
    .replace(GLUED, " ")
    .replace(MINUS, "minus ")
    .replace(MONEY, (_, sign: string, whole: string, fraction?: string, scale?: string) =>
      money(sign, whole, fraction, scale),
    )
    .replace(TIME, (_, hours: string, minutes: string, seconds?: string) => time(hours, minutes, seconds))
    .replace(ORDINAL, (_, whole: string, suffix: string) => ordinal(whole, suffix))
    .replace(
      DEGREES,
      (found, one: string | undefined, scale: string | undefined, offset: number, all: string) =>
        spaced(
          [one ? "one degree" : "degrees", scale && DEGREE_SCALES[scale]].filter(Boolean).join(" "),
          found,
          offset,
          all,
        ),
    )
    .replace(NUMBER, (found, whole?: string, fractions?: string) => decimal(whole, fractions ?? found))
    .replace(SIGN, (sign, offset: number, all: string) => spaced(SIGNS[sign], sign, offset, all));
}

function digitByDigit(digits: string): string {
  return Array.from(digits, (digit) => DIGITS[Number(digit)]).join(" ");
}

/** False for what is read digit by digit: `007`, and numbers that have no name. */
function hasName(digits: string): boolean {
  return !digits.startsWith("0") && digits.length <= MAX_NAMED_DIGITS;
}

function cardinal(whole: string): string {
  const digits = whole.replaceAll(",", "");
  return hasName(digits) ? toCardinal(BigInt(digits)).replaceAll("-", " ") : digitByDigit(digits);
}

function ordinal(whole: string, suffix: string): string {
  const digits = whole.replaceAll(",", "");
  return hasName(digits)
    ? toOrdinal(BigInt(digits)).replaceAll("-", " ")
    : `${digitByDigit(digits)} ${suffix}`;
}

/** `fractions` begins with a point, or is empty. */
function decimal(whole: string | undefined, fractions: string): string {
  const parts = fractions.split(".").slice(1);
  return [
    ...(whole ? [cardinal(whole)] : []),
    ...parts.map((digits) => `point ${digitByDigit(digits)}`),
  ].join(" ");
}

function money(sign: string, whole: string, fraction = "", scale = ""): string {
  const { unit, hundredth } = CURRENCIES[sign];
  if (scale !== "" || (fraction !== "" && fraction.length !== 2)) {
    const amount = decimal(whole, fraction && `.${fraction}`);
    return [amount, scale, unit[1]].filter(Boolean).join(" ");
  }
  const cents = Number(fraction);
  if (cents === 0) return counted(whole, unit);
  const rest = counted(String(cents), hundredth);
  return whole === "0" ? rest : `${counted(whole, unit)} and ${rest}`;
}

function counted(whole: string, [one, many]: Noun): string {
  return `${cardinal(whole)} ${whole === "1" ? one : many}`;
}

function time(hours: string, minutes: string, seconds?: string): string {
  const hour = cardinal(String(Number(hours)));
  const minute =
    minutes === "00"
      ? "o'clock"
      : minutes.startsWith("0")
        ? `oh ${cardinal(minutes.slice(1))}`
        : cardinal(minutes);
  const rest = seconds === undefined ? "" : ` and ${counted(String(Number(seconds)), ["second", "seconds"])}`;
  return `${hour} ${minute}${rest}`;
}

/** Words in place of a sign at `offset`, with the spaces that set them off from their neighbours. */
function spaced(words: string, sign: string, offset: number, all: string): string {
  const before = all[offset - 1] ?? " ";
  const after = all[offset + sign.length] ?? " ";
  // A sign that follows adds its own space.
  return (/[\s\p{Ps}\p{Pi}"']/u.test(before) ? "" : " ") + words + (/[\s\p{P}\p{S}]/u.test(after) ? "" : " ");
}
