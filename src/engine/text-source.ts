// The prompts of a text: all at once for a whole text, or sentence by sentence while it is still being
// written.

import { LIMITS } from "../config.ts";
import { asTtsError, TtsError } from "../errors.ts";
import { TextStream } from "../text/stream.ts";
import { visibleText } from "../text/visible.ts";
import type { ReadText } from "./request.ts";
import type { PromptSource } from "./speech.ts";
import type { PlacedWord } from "./words.ts";

/** Cuts text into prompts. @throws TtsError TEXT_EMPTY when nothing of it can be spoken */
export type ReadPart = (text: string) => ReadText;

/** @throws TtsError as `read` does */
export function wholeText(text: string, isRaw: boolean, read: ReadPart): PromptSource {
  const { sentences, unread, words } = read(isRaw ? text : visibleText(text));
  return { sentences, words, unread, ended: true, failure: null, want: () => {}, leave: () => {} };
}

/** Most characters kept back from a text without sentence ends: about four prompts. */
const MOST_KEPT = 4 * LIMITS.promptChars;

/** @param onNews called when sentences or the end have come */
export function textInPieces(
  pieces: AsyncIterable<string> | Iterable<string>,
  isRaw: boolean,
  read: ReadPart,
  onNews: () => void,
): PromptSource {
  return new PiecedText(pieces, new TextStream(MOST_KEPT, isRaw), read, onNews);
}

class PiecedText implements PromptSource {
  readonly sentences: string[] = [];
  readonly words: PlacedWord[][] = [];
  readonly unread: string[] = [];
  ended = false;
  failure: TtsError | null = null;
  /** The error of a part in which nothing can be spoken; thrown only if no other part can be spoken. */
  private nothing: TtsError | null = null;
  private iterator: AsyncIterator<string> | Iterator<string> | null = null;
  private isReading = false;
  /** How many sentences should be ready. */
  private wanted = 0;

  constructor(
    private readonly pieces: AsyncIterable<string> | Iterable<string>,
    private readonly text: TextStream,
    private readonly read: ReadPart,
    private readonly onNews: () => void,
  ) {}

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
        else if (typeof value === "string") this.take(this.text.push(value));
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
    this.take(this.text.flush());
    this.ended = true;
    if (this.sentences.length === 0)
      this.failure =
        this.nothing ??
        new TtsError("TEXT_EMPTY", "nothing to speak: the text is blank", "give at least one word or number");
  }

  private take(part: string): void {
    if (part.trim() === "") return;
    try {
      const { sentences, unread, words } = this.read(part);
      this.words.push(...words);
      this.sentences.push(...sentences);
      this.unread.push(...unread.filter((one) => !this.unread.includes(one)));
      this.onNews();
    } catch (error) {
      if (!(error instanceof TtsError && error.code === "TEXT_EMPTY")) throw error;
      this.nothing ??= error;
    }
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
