// The words of a speech under way, as clients get them: each when it begins, and again as its times change.

import type { WordTime } from "../../engine.ts";
import type { Schema } from "./_fields.ts";

export interface IndexedWord extends WordTime {
  index: number;
}

export const WORD: Schema = {
  type: "object",
  description:
    "Replaces the one of the same index. The end of a word that is being said is that of the sound so far.",
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
  private readonly sent: WordTime[] = [];
  /** Words before it are final: those whose times may change do so with every sound. */
  private final = 0;

  /** What is new or has changed since the last call. */
  changes(words: readonly WordTime[]): IndexedWord[] {
    const changed: IndexedWord[] = [];
    for (let index = this.final; index < words.length; index++) {
      const [before, word] = [this.sent[index], words[index]];
      if (before?.start === word.start && before.end === word.end) continue;
      this.sent[index] = { ...word };
      changed.push({ index, ...word });
    }
    this.final = changed[0]?.index ?? this.final;
    return changed;
  }
}
