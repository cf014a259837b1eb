// Text -> pieces that each fit a limit, cut where a speaker would pause. Knows neither tokens nor phones:
// the caller's measure decides what fits. Pure; takes no part in reading or changing the words.

import { dependsOnNext, goesOn } from "./abbreviations.ts";
import { atOnce, type Steps } from "./steps.ts";

/** Finds where parts end (offsets into the text, without the text's own end). */
type Cutter = (text: string) => Iterable<number>;

/**
 * From the best places to cut to the last resort. The next cutter cuts only parts that are still over the
 * limit.
 */
const CUTTERS: readonly Cutter[] = [sentenceEnds, pauseEnds, wordEnds, unspacedWordEnds, graphemeEnds];

const SENTENCES = new Intl.Segmenter("en", { granularity: "sentence" });
const WORDS = new Intl.Segmenter("en", { granularity: "word" });
const GRAPHEMES = new Intl.Segmenter("en", { granularity: "grapheme" });

/**
 * How much of a sentence's end is looked at: enough for an abbreviation, or a full stop with quotes and
 * brackets.
 */
const TAIL_UNITS = 24;
/**
 * Takes in opening brackets, which Unicode leaves at the end of a sentence if no space comes before them:
 * `。（`.
 */
const TERMINATED = /\p{Sentence_Terminal}[\p{Pe}\p{Pf}"']*(?<opening>[\p{Ps}\p{Pi}]*)$/u;
/** `1.` before what it numbers, at the start of a line or behind a sentence. */
const LIST_NUMBER = /^\s*\d{1,3}\.\s*$/;

/** No cut inside `1,000`, `7:45`, `10–20`, nor before a mark that belongs to the sign. */
const PAUSE = /(?:[,;:–—…，、；：]+["'\p{Pe}\p{Pf}]*(?![\d\p{M}])|\n)\s*/gu;

/**
 * The text in as few pieces as greedy packing gives, in order. A text that measures at most the limit is one
 * piece; a longer one is cut at sentence ends, an overlong sentence at pauses, an overlong clause between
 * words, an overlong word between grapheme clusters. Pieces are trimmed and never empty; nothing but
 * whitespace at the cuts is lost.
 *
 * @param limit in the units of `measure`; only a single grapheme cluster may exceed it
 * @param measure of a trimmed, non-empty piece; need not be additive, but longer text should not measure much
 * less
 */
export const split = (text: string, limit: number, measure: (piece: string) => number): string[] =>
  atOnce(splitting(text, limit, measure));

/** As {@link split}. */
export function* splitting(text: string, limit: number, measure: (piece: string) => number): Steps<string[]> {
  const piece = (start: number, end: number) => text.slice(start, end).trim();
  const fits = (start: number, end: number) => {
    const candidate = piece(start, end);
    return candidate === "" || measure(candidate) <= limit;
  };
  const ends = yield* partEnds(text, fits);
  const pieces: string[] = [];
  let start = 0;
  for (let next = 0; next < ends.length; ) {
    const from = start;
    next = lastFitting(next, ends.length, (index) => fits(from, ends[index])) + 1;
    start = ends[next - 1];
    const packed = piece(from, start);
    if (packed !== "") pieces.push(packed);
    yield;
  }
  return pieces;
}

/** Ends of the largest parts that fit by themselves, in order; the last is the end of the text. */
function* partEnds(text: string, fits: (start: number, end: number) => boolean): Steps<number[]> {
  const ends: number[] = [];
  function* collect(start: number, end: number, level: number): Steps<void> {
    yield;
    if (level === CUTTERS.length || fits(start, end)) {
      ends.push(end);
      return;
    }
    let from = start;
    for (const cut of CUTTERS[level](text.slice(start, end))) {
      yield* collect(from, start + cut, level + 1);
      from = start + cut;
    }
    yield* collect(from, end, level + 1);
  }
  yield* collect(0, text.length, 0);
  return ends;
}

/**
 * The last index from `first` on that fits, by doubling steps and then halving them: few and short
 * measurements, whatever the text's length. `first` itself counts as fitting.
 */
function lastFitting(first: number, count: number, fits: (index: number) => boolean): number {
  let good = first;
  let bad = count;
  for (let step = 1; good + step < count; step *= 2) {
    if (!fits(good + step)) {
      bad = good + step;
      break;
    }
    good += step;
  }
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (fits(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

/**
 * Ends of sentences, as offsets, without the end of the text.
 * @param isWhole otherwise more of the text comes, and an end counts only if the next word cannot change it
 */
export function* sentenceEnds(text: string, isWhole = true): Iterable<number> {
  let last = 0;
  for (const { index, segment } of SENTENCES.segment(text)) {
    const end = index + segment.length;
    if (end === text.length) return;
    const trimmed = index + segment.trimEnd().length;
    if (trimmed > index) {
      // Unicode ends a sentence at every line end; here only a blank line does, the others are pauses.
      const terminated = TERMINATED.exec(segment.trimEnd().slice(-TAIL_UNITS));
      if (terminated === null) continue;
      const isFirst = index === last || text[index - 1] === "\n";
      if (isFirst && LIST_NUMBER.test(segment)) continue;
      const before = text.slice(Math.max(last, trimmed - TAIL_UNITS), trimmed);
      const behind = text.slice(end, end + TAIL_UNITS);
      if (goesOn(before, behind)) continue;
      if (!isWhole && dependsOnNext(before) && !/\s/.test(behind)) continue;
      last = end - (terminated.groups?.opening.length ?? 0);
    } else last = end;
    yield last;
  }
}

function* pauseEnds(text: string): Iterable<number> {
  for (const { index, 0: pause } of text.matchAll(PAUSE))
    if (index + pause.length < text.length) yield index + pause.length;
}

function* wordEnds(text: string): Iterable<number> {
  for (const { index } of text.matchAll(/(?<=\s)\S/g)) yield index;
}

/** Words written without spaces (Chinese, Japanese, Thai); punctuation stays with the word before it. */
function* unspacedWordEnds(text: string): Iterable<number> {
  for (const { index, isWordLike } of WORDS.segment(text)) if (isWordLike && index > 0) yield index;
}

function* graphemeEnds(text: string): Iterable<number> {
  for (const { index } of GRAPHEMES.segment(text)) if (index > 0) yield index;
}
