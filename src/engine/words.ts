// When each written word is said: the words of a text beside what the model gets of them, and their times
// from the place in the text that every frame comes from. Pure.

import { firstHeard } from "../audio/onset.ts";
import { atOnce, mapped, type Steps } from "../text/steps.ts";
import { SAMPLE_RATE_HZ, SAMPLES_PER_FRAME } from "../types.ts";

/** A written word and where a sentence, as the model gets it, says it. */
export interface PlacedWord {
  text: string;
  /** Offsets in UTF-16 units; `to` is exclusive. */
  from: number;
  to: number;
}

/** A written word in the sound. */
export interface WordTime {
  /** As it was written; words that are said as one are one, and so are `7:30` and all that it is read as. */
  text: string;
  /** Index of the sentence in the text, from 0. */
  sentence: number;
  /** Seconds of the sound that was given out. */
  start: number;
  end: number;
}

const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;
const SEGMENTS = new Intl.Segmenter("en", { granularity: "word" });

/** The words of a text: what stands between spaces; words of scripts without spaces one by one. */
export const wordsIn = (text: string): PlacedWord[] => atOnce(findWords(text));

/** As {@link wordsIn}. */
export function* findWords(text: string): Steps<PlacedWord[]> {
  return (yield* mapped(text.matchAll(/\S+/g), ({ 0: word, index }) => wordsOf(word, index))).flat();
}

function wordsOf(word: string, index: number): PlacedWord[] {
  if (!/[\p{L}\p{N}]/u.test(word)) return [];
  if (!UNSPACED.test(word)) return [{ text: word, from: index, to: index + word.length }];
  return [...SEGMENTS.segment(word)]
    .filter(({ isWordLike }) => isWordLike)
    .map(({ index: at, segment }) => ({
      text: segment,
      from: index + at,
      to: index + at + segment.length,
    }));
}

/** Words further apart than this are not looked for. */
const FARTHEST = 40;
/** Words that are matched in one step. */
const WORDS = 64;

/**
 * Gives spoken words the written form that they come from: `7:30` for "seven thirty". Both lists are of the
 * same text; equal words hold them together, and what lies between belongs together.
 * @param sentences of each: what is said, in order
 */
export const asWrittenIn = (written: readonly string[], sentences: readonly PlacedWord[][]): PlacedWord[][] =>
  atOnce(matchWritten(written, sentences));

/** As {@link asWrittenIn}. */
export function* matchWritten(
  written: readonly string[],
  sentences: readonly PlacedWord[][],
): Steps<PlacedWord[][]> {
  const keys = yield* mapped(written, keyOf);
  const said = yield* mapped(sentences.flat(), ({ text }) => keyOf(text));
  const group = yield* groupsOf(keys, said);
  let at = 0;
  return yield* mapped(sentences, (words) => {
    const placed: (PlacedWord & { group: number })[] = [];
    for (const { from, text, to } of words) {
      const { first, last } = group[at++];
      const before = placed.at(-1);
      if (before !== undefined && first >= 0 && before.group === first) before.to = to;
      else
        placed.push({
          text: first < 0 ? text : written.slice(first, last).join(" "),
          from,
          to,
          group: first,
        });
    }
    return placed.map(({ from, text, to }) => ({ text, from, to }));
  });
}

const keyOf = (word: string) => word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");

/** For each said word the written words that it belongs to; `first` is -1 where there are none. */
function* groupsOf(
  written: readonly string[],
  said: readonly string[],
): Steps<{ first: number; last: number }[]> {
  const groups: { first: number; last: number }[] = [];
  let [at, steps] = [0, 0];
  while (groups.length < said.length) {
    const [skipped, more] = nextEqual(written, at, said, groups.length);
    for (let i = 0; i < more; i++)
      groups.push(skipped === 0 ? { first: -1, last: -1 } : { first: at, last: at + skipped });
    at += skipped;
    if (groups.length < said.length && at < written.length) groups.push({ first: at, last: at + 1 });
    at++;
    if (++steps % WORDS === 0) yield;
  }
  return groups;
}

/** How many written and said words lie before the next equal ones; the nearest come first. */
function nextEqual(
  written: readonly string[],
  i: number,
  said: readonly string[],
  j: number,
): [number, number] {
  for (let sum = 0; sum <= FARTHEST; sum++)
    for (let a = 0; a <= sum; a++)
      if (i + a < written.length && j + sum - a < said.length && written[i + a] === said[j + sum - a])
        return [a, sum - a];
  return [Math.max(0, Math.min(written.length - i, FARTHEST)), Math.min(said.length - j, FARTHEST)];
}

/** Follows the frames of a speech. */
export class WordTimes {
  /** Words that have begun, in the order of the sound. */
  readonly words: WordTime[] = [];
  private sentence = -1;
  private placed: readonly PlacedWord[] = [];
  /** The word being said; -1 before the first one. */
  private at = -1;
  private isSaying = false;
  /** Words at the end of {@link words} that have begun in silence: their sound is still to come. */
  private silent = 0;

  /**
   * @param samples of these frames; fewer where silence before the first sound was left out
   * @param before samples that were given out before them
   */
  take({ samples, sentence, textAt }: Frames, placed: readonly PlacedWord[], before: number): void {
    if (sentence !== this.sentence)
      [this.sentence, this.placed, this.at, this.isSaying, this.silent] = [sentence, placed, -1, false, 0];
    for (let frame = 0; frame < textAt.length; frame++) {
      const from = Math.max(0, samples.length - (textAt.length - frame) * SAMPLES_PER_FRAME);
      const to = Math.max(0, samples.length - (textAt.length - frame - 1) * SAMPLES_PER_FRAME);
      const seconds = (before + from) / SAMPLE_RATE_HZ;
      if (textAt[frame] >= 0) this.reach(textAt[frame], seconds);
      if (this.silent > 0) this.listen(samples.subarray(from, to), seconds);
    }
    if (this.isSaying) this.words.at(-1)!.end = round((before + samples.length) / SAMPLE_RATE_HZ);
  }

  /** The talker is at this place of the sentence: a word begins, goes on, or has ended. */
  private reach(offset: number, seconds: number): void {
    const { at, placed } = this;
    if (this.isSaying && offset >= placed[at].to) {
      this.words.at(-1)!.end = round(seconds);
      this.isSaying = false;
    }
    const word = placed.findIndex(({ from, to }) => offset >= from && offset < to);
    if (word <= at) return;
    this.silent = 0;
    for (this.at++; this.at <= word; this.at++, this.silent++) {
      const { text } = placed[this.at];
      this.words.push({ text, sentence: this.sentence, start: round(seconds), end: round(seconds) });
    }
    this.at = word;
    this.isSaying = true;
  }

  /** The talker looks at a word while a pause still lasts: it begins where it is heard. */
  private listen(samples: Float32Array, seconds: number): void {
    const heard = firstHeard(samples);
    const start = round(seconds + (heard < 0 ? samples.length : heard) / SAMPLE_RATE_HZ);
    for (const word of this.words.slice(-this.silent))
      [word.start, word.end] = [start, Math.max(start, word.end)];
    if (heard >= 0) this.silent = 0;
  }
}

/** What is given out of a sentence. */
interface Frames {
  samples: Float32Array;
  /** i32 [frames]: offset in the sentence, or -1 */
  textAt: Int32Array;
  sentence: number;
}

const round = (seconds: number) => Math.round(seconds * 1000) / 1000;
