// The prompts of a text: all at once for a short one, in turns with other work for a long one, or sentence by
// sentence while it is still being written.

import { asTtsError, TtsError } from "../errors.ts";
import type { Steps } from "../text/steps.ts";
import { beginText, type ReadingContext, readText, TextReading } from "./read-text.ts";
import type { PromptSource } from "./speech.ts";
import type { PlacedWord } from "./words.ts";

/** A longer text is read in turns with whatever else the engine has to do. */
const MOST_AT_ONCE_UNITS = 10_000;
/** One that is spoken in ranges, and the next one. */
const MOST_KNOWN = 2;
/** How long one turn takes. */
const TURN_MS = 10;

/**
 * @param atOnce whether a long text, too, is read before this returns
 * @param onNews as of {@link textInPieces}
 * @throws TtsError as readText does; for a long text in turns only what is known without reading it
 */
export function wholeText(
  text: string,
  context: ReadingContext,
  atOnce: boolean,
  onNews: () => void,
): PromptSource {
  if (!atOnce && text.length > MOST_AT_ONCE_UNITS) {
    const { reading, rest } = beginText(context, text);
    return new LongText(reading, rest, onNews);
  }
  const { ignored, pauses, sentences, unread, words } = readText(context, text);
  const rest = { ended: true, failure: null, want: () => {}, leave: () => {} };
  return { ignored, pauses, sentences, unread, words, ...rest };
}

/** The texts that were last spoken in ranges: each is read once. */
export class KnownTexts {
  private readonly known: { text: string; rules: string; source: PromptSource }[] = [];

  /** As {@link wholeText} gives it; whoever leaves it does so alone. */
  take(text: string, context: ReadingContext, onNews: () => void): PromptSource {
    const { language, normalize, pauses, rawText } = context.settings;
    const rules = JSON.stringify([language, normalize, pauses, rawText]);
    const at = this.known.findIndex((one) => one.rules === rules && one.text === text);
    const [one] =
      at >= 0
        ? this.known.splice(at, 1)
        : [{ text, rules, source: shared(wholeText(text, context, false, onNews)) }];
    this.known.unshift(one);
    this.known.splice(MOST_KNOWN);
    return one.source;
  }
}

/** Others may still listen: a long text that was begun is read to its end. */
function shared(source: PromptSource): PromptSource {
  source.leave = () => {};
  return source;
}

/** @param onNews called when sentences or the end have come */
export function textInPieces(
  pieces: AsyncIterable<string> | Iterable<string>,
  context: ReadingContext,
  onNews: () => void,
): PromptSource {
  return new PiecedText(pieces, TextReading.inPieces(context), onNews);
}

/** A text whose sentences come while it is spoken. */
abstract class GrowingText implements PromptSource {
  ended = false;
  failure: TtsError | null = null;

  constructor(
    protected readonly text: TextReading,
    protected readonly onNews: () => void,
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

  abstract want(taken: number, ahead: number): void;
  abstract leave(): void;

  protected fail(error: unknown): void {
    this.failure = asTtsError(error);
    this.ended = true;
  }
}

class LongText extends GrowingText {
  private isReading = false;

  constructor(
    text: TextReading,
    private readonly rest: Steps<void>,
    onNews: () => void,
  ) {
    super(text, onNews);
  }

  /** From the first wish on it is read to its end: its prompts take little memory. */
  want(): void {
    if (!this.isReading && !this.ended) void this.readOn();
  }

  private async readOn(): Promise<void> {
    this.isReading = true;
    try {
      while (!this.ended) {
        const before = this.sentences.length;
        this.ended = this.takeTurn();
        if (this.sentences.length > before) this.onNews();
        if (!this.ended) await new Promise(setImmediate);
      }
    } catch (error) {
      this.fail(error);
    }
    this.onNews();
  }

  /** @returns whether the text is over */
  private takeTurn(): boolean {
    const endMs = performance.now() + TURN_MS;
    do if (this.rest.next().done === true) return true;
    while (performance.now() < endMs);
    return false;
  }

  leave(): void {
    this.ended = true;
  }
}

class PiecedText extends GrowingText {
  private iterator: AsyncIterator<string> | Iterator<string> | null = null;
  private isReading = false;
  /** How many sentences should be ready. */
  private wanted = 0;

  constructor(
    private readonly pieces: AsyncIterable<string> | Iterable<string>,
    text: TextReading,
    onNews: () => void,
  ) {
    super(text, onNews);
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
      this.fail(error);
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
