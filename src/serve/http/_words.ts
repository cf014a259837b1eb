// The words of a speech under way, as clients get them: each when it begins, and again when its times are
// final.

import type { WordTime } from "../../engine.ts";
import type { Schema } from "./_fields.ts";

/** @property index the word's number in the speech, from 0: the later one of a number replaces the earlier */
export interface IndexedWord extends WordTime {
  index: number;
}

export const WORD: Schema = {
  type: "object",
  description: "A word comes when it begins, and again, with the same index, when its times are final.",
  properties: {
    index: { type: "integer", minimum: 0, description: "Its number in the speech." },
    text: { type: "string", description: "As it was written." },
    sentence: { type: "integer", minimum: 0 },
    start: { type: "number", description: "Seconds of the sound." },
    end: { type: "number" },
  } satisfies Record<keyof IndexedWord, Schema>,
  required: ["index", "text", "sentence", "start", "end"],
};

export class WordFeed {
  private begun = 0;
  private final = 0;

  constructor(private readonly words: () => readonly WordTime[]) {}

  /** What has changed since the last call. Times of the last word may still change. */
  news(): IndexedWord[] {
    return this.from(this.words().length - 1);
  }

  /** At the end of the speech. */
  rest(): IndexedWord[] {
    return this.from(this.words().length);
  }

  private from(final: number): IndexedWord[] {
    const words = this.words();
    const [first, begun] = [this.final, this.begun];
    this.final = Math.max(final, this.final);
    this.begun = words.length;
    const indexed = words.map((word, index) => ({ index, ...word }));
    // the first of them may have been sent as it began: it is final now
    return indexed.slice(first).filter(({ index }) => index < this.final || index >= begun);
  }
}
