// Text that comes in pieces -> parts that are complete: whole sentences, as soon as what follows shows that
// they have ended. Pure.

import { sentenceEnds } from "./split.ts";

/**
 * A sentence has surely ended only when something is said after it; until then a closing quote or a number
 * may still belong to it.
 */
const GOES_ON = /[\p{L}\p{N}]/u;

/**
 * @param most characters that are kept back; beyond that, a text without sentence ends is given out up to its
 * last whole word
 */
export class TextStream {
  private rest = "";

  constructor(private readonly most: number) {}

  /** @returns what is complete now, in order; "" when nothing is */
  push(piece: string): string {
    this.rest += piece;
    let complete = 0;
    for (const end of sentenceEnds(this.rest)) if (GOES_ON.test(this.rest.slice(end))) complete = end;
    if (complete === 0 && this.rest.length > this.most) complete = this.rest.search(/\s\S*$/) + 1;
    const part = this.rest.slice(0, complete);
    this.rest = this.rest.slice(complete);
    return part;
  }

  /** @returns what is left when the text has ended */
  flush(): string {
    const part = this.rest;
    this.rest = "";
    return part;
  }
}
