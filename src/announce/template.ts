// The text of an announcement: what stands for time, date and weekday is filled in, and the sentences that
// hold it are kept apart from those that are the same every day. Pure.

import { TtsError } from "../errors.ts";
import { nearest } from "../nearest.ts";

/** The languages of official models as Intl knows them. */
const LOCALES: Readonly<Record<string, string>> = {
  chinese: "zh",
  english: "en",
  french: "fr",
  german: "de",
  italian: "it",
  japanese: "ja",
  korean: "ko",
  portuguese: "pt",
  russian: "ru",
  spanish: "es",
};
const PLACEHOLDERS: Readonly<Record<string, Intl.DateTimeFormatOptions>> = {
  time: { timeStyle: "short" },
  date: { dateStyle: "long" },
  weekday: { weekday: "long" },
};
const IN_BRACES = /\{(\p{L}{1,12})\}/gu;

/** @param language a name or a code of a language, or "auto", which is spoken of in English */
export function localeOf(language: string): string {
  const name = language.toLowerCase();
  return LOCALES[name] ?? (Object.values(LOCALES).includes(name.slice(0, 2)) ? name.slice(0, 2) : "en");
}

/** Sentences that are spoken together. */
export interface Part {
  text: string;
  /** Whether a time or a date stands in it, so that it is another one soon. */
  fresh: boolean;
}

/** What is filled in, and where it stands in the filled text. */
interface Filled {
  text: string;
  ranges: [from: number, to: number][];
}

/**
 * The parts of a text, in order. One without placeholders is one part.
 * @param sentenceEnds offsets of the ends of sentences, without the end of the text
 * @throws TtsError USAGE for a placeholder that is nearly one of the known ones
 */
export function partsOf(
  template: string,
  moment: Date,
  locale: string,
  sentenceEnds: (text: string) => Iterable<number>,
): Part[] {
  const { ranges, text } = fill(template, moment, locale);
  if (ranges.length === 0) return [{ text, fresh: false }];
  const parts: Part[] = [];
  let from = 0;
  for (const to of [...sentenceEnds(text), text.length]) {
    const sentence = text.slice(from, to);
    const fresh = ranges.some(([start, end]) => start < to && end > from);
    from = to;
    const last = parts.at(-1);
    if (last !== undefined && (last.fresh === fresh || sentence.trim() === "")) last.text += sentence;
    else parts.push({ text: sentence, fresh });
  }
  return parts.map((part) => ({ ...part, text: part.text.trim() })).filter(({ text }) => text !== "");
}

function fill(template: string, moment: Date, locale: string): Filled {
  const ranges: Filled["ranges"] = [];
  let [text, at] = ["", 0];
  for (const { 0: whole, 1: word, index } of template.matchAll(IN_BRACES)) {
    if (!Object.hasOwn(PLACEHOLDERS, word)) {
      const guess = nearest(word, Object.keys(PLACEHOLDERS));
      if (guess === null) continue; // it is part of the text
      throw new TtsError(
        "USAGE",
        `there is no placeholder ${whole}`,
        `did you mean "${guess}" in its braces?`,
      );
    }
    text += template.slice(at, index);
    const words = inWords(word, moment, locale);
    ranges.push([text.length, text.length + words.length]);
    text += words;
    at = index + whole.length;
  }
  return { text: text + template.slice(at), ranges };
}

/** Narrow and protected spaces, which Intl puts before "AM", are plain ones. */
const inWords = (placeholder: string, moment: Date, locale: string) =>
  new Intl.DateTimeFormat(locale, PLACEHOLDERS[placeholder]).format(moment).replace(/[\u00a0\u202f]/g, " ");
