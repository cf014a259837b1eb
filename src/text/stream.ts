// Text that comes in pieces -> parts that are complete: whole sentences, as soon as what follows shows that
// they have ended. Pure.

import { sentenceEnds } from "./split.ts";
import { visibleText, visibleUpTo } from "./visible.ts";

/**
 * A sentence has surely ended only when something is said after it; until then a closing quote or a number
 * may still belong to it, and a number may be followed by what it counts.
 */
const GOES_ON = /\p{L}|\p{N}\P{L}*\p{Sentence_Terminal}/u;

/**
 * @param most characters that are kept back; beyond that, a text without sentence ends is given out up to its
 * last whole word
 * @param isRaw gives the text out unchanged; otherwise the parts are what {@link visibleText} makes of it
 */
export class TextStream {
  /** Not visible yet, because its end may be half of something. */
  private half = "";
  private rest = "";
  /** Whether what was given out last ends with a sentence. */
  endsSentence = false;

  constructor(
    private readonly most: number,
    private readonly isRaw = false,
  ) {}

  /** @returns what is complete now, in order; "" when nothing is */
  push(piece: string): string {
    this.take(piece, visibleUpTo);
    let complete = 0;
    for (const end of sentenceEnds(this.rest, false)) if (GOES_ON.test(this.rest.slice(end))) complete = end;
    this.endsSentence = complete > 0;
    if (complete === 0 && this.rest.length > this.most) complete = this.rest.search(/\s\S*$/) + 1;
    const part = this.rest.slice(0, complete);
    this.rest = this.rest.slice(complete);
    return part;
  }

  /** @returns what is left when the text has ended */
  flush(): string {
    this.take("", (text) => text.length);
    const part = this.rest;
    this.rest = "";
    return part;
  }

  private take(piece: string, upTo: (text: string) => number): void {
    const text = this.half + piece;
    const end = this.isRaw ? text.length : upTo(text);
    this.half = text.slice(end);
    this.rest += this.isRaw ? text : visibleText(text.slice(0, end));
  }
}
