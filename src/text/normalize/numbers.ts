// Numbers in English words: cardinals, ordinals, digits, years, decimals. The rules of the other files say
// what a number is; here it is only named.

import { toCardinal, toOrdinal } from "n2words/en-US";

/** n2words names numbers below 10^66; longer ones are read digit by digit. */
const MAX_NAMED_DIGITS = 66;
const DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

// Every pattern takes all digits of a number or none and starts only where a number starts: linear whatever
// the text.

/** All digits of a whole number: `1,000,000` as one, the list `1,2,3` as three. */
export const WHOLE = String.raw`(?<!\d)(?:(?<!\d,)[1-9]\d{0,2}(?:,\d{3})+(?!,?\d)|\d+)`;

/** `0`, `007` and numbers that have no name are read digit by digit, whatever stands between the digits. */
export function digitByDigit(digits: string): string {
  return Array.from(digits.replace(/\D/g, ""), (digit) => DIGITS[Number(digit)]).join(" ");
}

const hasName = (digits: string) => !digits.startsWith("0") && digits.length <= MAX_NAMED_DIGITS;

export function cardinal(whole: string | number): string {
  const digits = String(whole).replaceAll(",", "");
  return hasName(digits) ? toCardinal(BigInt(digits)).replaceAll("-", " ") : digitByDigit(digits);
}

/** @param suffix as written, for a number that has no name: `0th` */
export function ordinal(whole: string | number, suffix = "th"): string {
  const digits = String(whole).replaceAll(",", "");
  return hasName(digits)
    ? toOrdinal(BigInt(digits)).replaceAll("-", " ")
    : `${digitByDigit(digits)} ${suffix}`;
}

/** @param fractions begins with a point, or is empty; of a version there are several */
export function decimal(whole: string, fractions: string): string {
  const parts = fractions.split(".").slice(1);
  return [
    ...(whole === "" ? [] : [cardinal(whole)]),
    ...parts.map((digits) => `point ${digitByDigit(digits)}`),
  ].join(" ");
}

/** `0` to `99` as the end of a year or of a room number: `05` as "oh five". */
export function pair(digits: string): string {
  if (digits === "00") return "hundred";
  return digits.startsWith("0") ? `oh ${cardinal(digits.slice(1))}` : cardinal(digits);
}

/** A number of three or four digits in pairs, as rooms and flights are read: `305`, `1204`, `300`. */
export function inPairs(digits: string): string {
  if (digits.length < 3 || digits.length > 4 || digits.startsWith("0") || /^\d000$/.test(digits))
    return cardinal(digits);
  return `${cardinal(digits.slice(0, -2))} ${pair(digits.slice(-2))}`;
}

/** `1920`, `2005`, `2024`; of two digits `45`, `05`. */
export function year(digits: string): string {
  if (digits.length === 2) return pair(digits);
  if (digits.length !== 4 || /^[1-9]00/.test(digits)) return cardinal(digits);
  return inPairs(digits);
}

/** `ten` as `tens`, `twenty` as `twenties`. */
export const plural = (words: string) => (words.endsWith("y") ? `${words.slice(0, -1)}ies` : `${words}s`);

/** Singular and plural. */
export type Noun = readonly [string, string];

/** `1` takes the singular, everything else the plural. */
export function counted(whole: string, [one, many]: Noun): string {
  return `${cardinal(whole)} ${whole === "1" ? one : many}`;
}

const ROMAN: Readonly<Record<string, number>> = { I: 1, V: 5, X: 10, L: 50, C: 100 };
/** Up to 399, with every part in its place: `IV` is one, `IIII` and `VX` are none. */
export const ROMAN_NUMERAL = "(?=[IVXLC])C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})";

export function romanValue(numeral: string): number {
  const values = Array.from(numeral.toUpperCase(), (letter) => ROMAN[letter]);
  return values.reduce((sum, value, i) => sum + (value < (values[i + 1] ?? 0) ? -value : value), 0);
}
