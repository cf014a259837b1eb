// Texts and the gaps between them -> passages, each with the silence before it. Pure; a text may come in
// pieces.

import { TtsError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { sentenceEnds } from "../split.ts";
import type { Gap } from "./reader.ts";

/** Silence that every sentence and paragraph ends with, in milliseconds; 0: none of their own. */
export interface Pauses {
  sentenceMs: number;
  paragraphMs: number;
}

/** Text that is read by itself. */
export interface Passage {
  /** Silence before it. */
  pauseMs: number;
  text: string;
}

/** A blank line. */
const PARAGRAPH_END = /\n[^\S\n]*\n\s*$/;
const PARAGRAPHS = /\n[^\S\n]*\n\s*/g;

export class Passages {
  /** Silence that is asked for at this place, or null; it replaces the sentence's own. */
  private askedMs: number | null = null;
  private ownMs = 0;
  private hasBegun = false;

  constructor(private readonly pauses: Pauses) {}

  /** @throws TtsError USAGE when silence at one place adds up to too much */
  gap(gap: Gap): void {
    if (typeof gap !== "number") this.ownMs = Math.max(this.ownMs, this.pauses[`${gap}Ms`]);
    else this.askedMs = (this.askedMs ?? 0) + gap;
    if ((this.askedMs ?? 0) > LIMITS.pauseMs)
      throw new TtsError(
        "USAGE",
        `pauses at one place add up to ${this.askedMs} ms`,
        `at most ${LIMITS.pauseMs} ms`,
      );
  }

  /** @param isEnded whether the text ends a sentence */
  add(text: string, isEnded = false): Passage[] {
    const passages: Passage[] = [];
    const ends = [...this.endsOf(text), text.length];
    for (const [i, end] of ends.entries()) {
      const part = text.slice(ends[i - 1] ?? 0, end);
      if (part.trim() !== "") passages.push({ pauseMs: this.due(), text: part });
      const isLast = i === ends.length - 1;
      if (PARAGRAPH_END.test(text.slice(Math.max(0, end - 100), end))) this.gap("paragraph");
      else if (!isLast || isEnded) this.gap("sentence");
    }
    return passages;
  }

  /** Where own silence may follow. */
  private endsOf(text: string): Iterable<number> {
    const { paragraphMs, sentenceMs } = this.pauses;
    if (sentenceMs > 0) return sentenceEnds(text);
    if (paragraphMs === 0) return [];
    return [...text.matchAll(PARAGRAPHS)]
      .map(({ 0: { length }, index }) => index + length)
      .filter((end) => end < text.length);
  }

  /** The silence at this place, once. Nothing that is only a sentence's own stands before the first. */
  private due(): number {
    const ms = this.askedMs ?? (this.hasBegun ? this.ownMs : 0);
    [this.askedMs, this.ownMs, this.hasBegun] = [null, 0, true];
    return ms;
  }

  /** Silence behind the last passage. */
  get endMs(): number {
    return this.askedMs ?? 0;
  }
}
