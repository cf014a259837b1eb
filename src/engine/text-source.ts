// The prompts of a text: all at once for a whole text, or sentence by sentence while it is still being
// written.

import { asTtsError, TtsError } from "../errors.ts";
import { type ReadingContext, readText, TextReading } from "./read-text.ts";
import type { PromptSource } from "./speech.ts";
import type { PlacedWord } from "./words.ts";

/** @throws TtsError as {@link readText} does */
export function wholeText(text: string, context: ReadingContext): PromptSource {
  const { ignored, pauses, sentences, unread, words } = readText(context, text);
  const rest = { ended: true, failure: null, want: () => {}, leave: () => {} };
  return { ignored, pauses, sentences, unread, words, ...rest };
}

/** @param onNews called when sentences or the end have come */
export function textInPieces(
  pieces: AsyncIterable<string> | Iterable<string>,
  context: ReadingContext,
  onNews: () => void,
): PromptSource {
  return new PiecedText(pieces, TextReading.inPieces(context), onNews);
}

class PiecedText implements PromptSource {
  ended = false;
  failure: TtsError | null = null;
  private iterator: AsyncIterator<string> | Iterator<string> | null = null;
  private isReading = false;
  /** How many sentences should be ready. */
  private wanted = 0;

  constructor(
    private readonly pieces: AsyncIterable<string> | Iterable<string>,
    private readonly text: TextReading,
    private readonly onNews: () => void,
  ) {}

  get sentences(): readonly string[] {
    return this.text.sentences;
  }

  get words(): readonly (readonly PlacedWord[])[] {
    return this.text.words;
  }

  get unread(): readonly string[] {
    return this.text.unread;
  }

  get ignored(): readonly string[] {
    return this.text.ignored;
  }

  get pauses(): ReadonlyMap<number, number> {
    return this.text.pauses;
  }

  want(taken: number, ahead: number): void {
    this.wanted = taken + ahead;
    if (!this.isReading && !this.ended) void this.readOn();
  }

  private async readOn(): Promise<void> {
    this.isReading = true;
    try {
      this.iterator ??= iteratorOf(this.pieces);
      while (!this.ended && this.sentences.length < this.wanted) {
        const { done, value } = await this.iterator.next();
        if (this.ended) return; // left meanwhile
        if (done === true) this.end();
        else if (typeof value === "string") this.take(value);
        else throw new TtsError("USAGE", `a piece of the text is ${typeof value}`, "give strings");
      }
    } catch (error) {
      this.failure = asTtsError(error);
      this.ended = true;
    } finally {
      this.isReading = false;
      this.onNews();
    }
  }

  private end(): void {
    this.text.end();
    this.ended = true;
  }

  private take(piece: string): void {
    const before = this.sentences.length;
    this.text.push(piece);
    if (this.sentences.length > before) this.onNews();
  }

  leave(): void {
    if (this.ended) return;
    this.ended = true;
    // tells the writer that nobody reads on
    void Promise.resolve(this.iterator?.return?.()).catch(() => {});
  }
}

function iteratorOf(
  pieces: AsyncIterable<string> | Iterable<string>,
): AsyncIterator<string> | Iterator<string> {
  return Symbol.asyncIterator in pieces ? pieces[Symbol.asyncIterator]() : pieces[Symbol.iterator]();
}
