// What SSML's `say-as` holds -> English words, in the terms of the reading rules.

import { grouped } from "../normalize/addresses.ts";
import { asLatin, spellOut } from "../normalize/english.ts";
import { cardinal, decimal, digitByDigit, ordinal, year } from "../normalize/numbers.ts";
import { SPELT_A } from "../normalize/rule.ts";
import { clock, dateOf } from "../normalize/times.ts";

const NUMBER = /^(?<minus>[-−])?(?<whole>\d[\d,]*)(?<fraction>\.\d+)?$/;
const TIME =
  /^(?<hours>\d{1,2})(?:[:.](?<minutes>\d{1,2}))?(?:[:.](?<seconds>\d{1,2}))? ?(?:(?<half>[ap])\.?m\.?)?$/i;

/** By the name in `interpret-as`; null where the text is something else. */
const KINDS: Readonly<Record<string, (text: string, format: string) => string | null>> = {
  characters: letters,
  "spell-out": letters,
  verbatim: letters,
  digits: (text) => (/\d/.test(text) ? digitByDigit(text) : null),
  cardinal: number,
  number: (text, format) => (format === "ordinal" ? (KINDS.ordinal(text, "") as string) : number(text)),
  ordinal: (text) => (/^\d[\d,]*(?:st|nd|rd|th)?$/i.test(text) ? ordinal(text.replace(/[^\d]/g, "")) : null),
  date,
  time,
  telephone: (text) => (/\d/.test(text) ? `${/^\s*\+/.test(text) ? "plus " : ""}${grouped(text)}` : null),
  ...Object.fromEntries(["fraction", "unit", "currency", "address"].map((kind) => [kind, () => null])),
};

/**
 * @param forIpa whether a voice that reads IPA says it: for others a letter stays a capital
 * @returns the words; what the rules make of the text where it is not of its kind; null for no known kind
 */
export function sayAs(interpretAs: string, format: string, text: string, forIpa: boolean): string | null {
  if (!Object.hasOwn(KINDS, interpretAs)) return null;
  const words = KINDS[interpretAs](text, format) ?? (forIpa ? text : spellOut(text));
  return forIpa ? words : asLatin(words);
}

/** A sign between letters is read as itself, so it stands apart. */
function letters(text: string): string {
  return Array.from(text.normalize("NFC"), (sign) => {
    if (/\d/.test(sign)) return digitByDigit(sign);
    return sign === "a" || sign === "A" ? SPELT_A : sign.toUpperCase();
  })
    .filter((sign) => sign.trim() !== "")
    .join(" ");
}

function number(text: string): string | null {
  const found = NUMBER.exec(text)?.groups;
  if (found === undefined) return null;
  const whole = found.whole.replaceAll(",", "");
  const words = found.fraction === undefined ? cardinal(whole) : decimal(whole, found.fraction);
  return found.minus === undefined ? words : `minus ${words}`;
}

/** The order of the format, else that of ISO 8601; what has another order is left to the rules. */
function date(text: string, format: string): string | null {
  const parts = text.split(/[-/. ]+/);
  const compact = /^(\d{4})(\d\d)(\d\d)$/.exec(text);
  if (compact !== null) return dateOf({ y: compact[1], m: compact[2], d: compact[3] });
  if (!parts.every((part) => /^\d{1,4}$/.test(part))) return null;
  const order = /^[ymd]{1,3}$/.test(format) ? format : parts[0].length === 4 ? "ymd" : "";
  const fields = Object.fromEntries(Array.from(order, (field, i) => [field, parts[i] ?? ""]));
  if (parts.length !== Object.keys(fields).length) return null;
  if (order === "y") return year(parts[0]);
  return dateOf({ y: fields.y ?? "", m: fields.m ?? "", d: fields.d ?? "" });
}

function time(text: string): string | null {
  const { half = "", hours, minutes = "", seconds = "" } = TIME.exec(text)?.groups ?? {};
  if (hours === undefined || Number(hours) > 24 || Number(minutes) > 59 || Number(seconds) > 59) return null;
  if (half === "" && minutes === "") return null;
  return clock(hours, minutes.padStart(minutes === "" ? 0 : 2, "0"), seconds, half.toLowerCase());
}
