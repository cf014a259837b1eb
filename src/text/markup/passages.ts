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
  *add(text: string, isEnded = false): Generator<Passage> {
    let start = 0;
    for (const end of this.endsOf(text)) {
      yield* this.passage(text, start, end, true);
      start = end;
    }
    yield* this.passage(text, start, text.length, isEnded);
  }

  private *passage(text: string, start: number, end: number, isEnded: boolean): Generator<Passage> {
    const part = text.slice(start, end);
    if (part.trim() !== "") yield { pauseMs: this.due(), text: part };
    if (PARAGRAPH_END.test(text.slice(Math.max(0, end - 100), end))) this.gap("paragraph");
    else if (isEnded) this.gap("sentence");
  }

  /** Where own silence may follow. */
  private *endsOf(text: string): Iterable<number> {
    const { paragraphMs, sentenceMs } = this.pauses;
    if (sentenceMs > 0) yield* sentenceEnds(text);
    else if (paragraphMs > 0)
      for (const { 0: blank, index } of text.matchAll(PARAGRAPHS))
        if (index + blank.length < text.length) yield index + blank.length;
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
