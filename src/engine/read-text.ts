// A text -> prompts that the model takes, with the silence between them. Needs no worker.

import { readFileSync } from "node:fs";
import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { type Bundle, bundlePath } from "../formats/bundle.ts";
import type { Lexicon, Pronounced } from "../text/lexicon.ts";
import { Passages, type Pauses } from "../text/markup/passages.ts";
import { MarkupReader, type Part } from "../text/markup/reader.ts";
import type { sayAs } from "../text/markup/say-as.ts";
import type { spellingOut } from "../text/normalize/english.ts";
import { languageId } from "../text/prompt.ts";
import { countPhones, KnownWords, Reader } from "../text/reading.ts";
import { assertSpeakable, missedSigns } from "../text/speakable.ts";
import { splitting } from "../text/split.ts";
import { spokenLength } from "../text/spoken-length.ts";
import { atOnce, mapped, type Steps } from "../text/steps.ts";
import { TextStream } from "../text/stream.ts";
import { visibleText } from "../text/visible.ts";
import { NONE } from "../types.ts";
import { findWords, matchWritten, type PlacedWord, wordsIn } from "./words.ts";

/** What a text is read by. */
export interface ReadingRules {
  spellingOut: typeof spellingOut;
  sayAs: typeof sayAs;
  /** Of a voice that reads IPA, else null. */
  reader: Reader | null;
}

/**
 * Loads the reading rules for a bundle: many files and patterns, which a start should not wait for before its
 * stages open.
 */
export async function loadRules(bundle: Bundle): Promise<ReadingRules> {
  const { spellingOut, spellOut } = await import("../text/normalize/english.ts");
  const { sayAs } = await import("../text/markup/say-as.ts");
  if (bundle.manifest.reading === null) return { spellingOut, sayAs, reader: null };
  spellOut(""); // patterns are compiled at their first use
  const read = (file: "lexicon" | "letters") => readFileSync(bundlePath(bundle, file), "utf8");
  return { spellingOut, sayAs, reader: new Reader(read("lexicon"), read("letters")) };
}

/** What decides how a text is read. */
export interface ReadingContext {
  bundle: Bundle;
  settings: { language: string; normalize: boolean; pauses: Pauses; rawText: boolean };
  /** How words of the text are said; of no use to a raw one. */
  lexicon: Lexicon;
  rules: ReadingRules;
  /** Gets every passage as it is said: in words where the text is normalised, also where prompts are IPA. */
  onSaid?: (said: Pronounced, pauseMs: number) => void;
}

/** Most characters kept back from a text without sentence ends: about four prompts. */
const MOST_KEPT = 4 * LIMITS.promptChars;

const cleanText = (text: string) => text.toWellFormed().normalize("NFC");

/** The prompts of one text so far. */
export class TextReading {
  readonly sentences: string[] = [];
  /** Of each sentence: its words as they were written, beside where the sentence says them. */
  readonly words: PlacedWord[][] = [];
  /** What the voice cannot read; it is left out. */
  readonly unread: string[] = [];
  private readonly leftOut = new Set<string>();
  /** Milliseconds of silence before the prompts that have some; behind the last one at their number. */
  readonly pauses = new Map<number, number>();
  private readonly markup: MarkupReader;
  private readonly passages: Passages;
  /** Why a passage could not be spoken. */
  private nothing: TtsError | null = null;

  constructor(
    private readonly context: ReadingContext,
    /** Of a text in pieces, else null. */
    private readonly stream: TextStream | null = null,
  ) {
    const { bundle, rules, settings } = context;
    const { prompt, reading } = bundle.manifest;
    const language = languageId(prompt, settings.language, "");
    const isEnglish = language === NONE || language === prompt.languages.english;
    const readsIpa = reading !== null;
    this.markup = new MarkupReader({
      readsIpa,
      sayAs: (...said) => (isEnglish ? rules.sayAs(...said, readsIpa) : null),
    });
    this.passages = new Passages(settings.pauses);
  }

  /** Of a text that comes in pieces. */
  static inPieces(context: ReadingContext): TextReading {
    return new TextReading(context, new TextStream(MOST_KEPT, context.settings.rawText));
  }

  /** Elements of markup that are not obeyed, each once. */
  get ignored(): readonly string[] {
    return this.markup.ignored;
  }

  /** @throws TtsError USAGE for markup or a lexicon that cannot be obeyed, TEXT_TOO_LONG */
  push(piece: string): void {
    atOnce(this.take(this.partsOf(piece)));
  }

  /**
   * The text is over.
   * @throws TtsError TEXT_EMPTY when nothing of it can be spoken, and as {@link push}
   */
  end(): void {
    atOnce(this.finish());
  }

  /**
   * A whole text, as {@link push} and {@link end} take it.
   * @returns the rest of the work, once it is known that its markup can be obeyed
   * @throws TtsError as {@link push}
   */
  whole(text: string): Steps<void> {
    const parts = this.partsOf(text);
    checkGaps(parts);
    return this.takeWhole(parts);
  }

  private *takeWhole(parts: readonly Part[]): Steps<void> {
    yield* this.take(parts);
    yield* this.finish();
  }

  private *finish(): Steps<void> {
    yield* this.take(this.markup.end());
    yield* this.read(this.stream?.flush() ?? "");
    this.pauseBefore(this.passages.endMs);
    if (this.sentences.length === 0) throw this.nothing ?? blank();
  }

  private partsOf(piece: string): readonly Part[] {
    return this.context.settings.rawText ? [{ text: piece }] : this.markup.push(piece);
  }

  private *take(parts: readonly Part[]): Steps<void> {
    const { stream } = this;
    for (const part of parts) {
      if ("gap" in part) {
        yield* this.read(stream?.flush() ?? "");
        this.passages.gap(part.gap);
      } else if (stream !== null) yield* this.read(stream.push(part.text), stream.endsSentence);
      else yield* this.read(this.context.settings.rawText ? part.text : visibleText(part.text));
    }
  }

  private pauseBefore(ms: number): void {
    const at = this.sentences.length;
    if (ms > 0) this.pauses.set(at, Math.min((this.pauses.get(at) ?? 0) + ms, LIMITS.pauseMs));
  }

  private *read(text: string, endsSentence = false): Steps<void> {
    for (const { pauseMs, text: passage } of this.passages.add(text, endsSentence)) {
      yield;
      this.pauseBefore(pauseMs);
      try {
        const { said, sentences, unread, words } = yield* readPassage(
          this.context,
          passage,
          this.markup.sounds,
        );
        this.context.onSaid?.(said, pauseMs);
        this.words.push(...words); // first: whoever sees a sentence asks for its words
        this.sentences.push(...sentences);
        this.leaveOut(unread);
        if (sentences.length === 0) this.nothing ??= unreadable(unread);
      } catch (error) {
        if (!(error instanceof TtsError && error.code === "TEXT_EMPTY")) throw error;
        this.nothing ??= error;
        const { controlTokens } = this.context.bundle.manifest.prompt;
        this.leaveOut(missedSigns(passage, Object.keys(controlTokens)));
      }
    }
  }

  private leaveOut(signs: readonly string[]): void {
    for (const sign of signs) {
      if (this.leftOut.has(sign)) continue;
      this.leftOut.add(sign);
      this.unread.push(sign);
    }
  }
}

/** What was not obeyed, and what was left out. */
export interface Losses {
  ignored: readonly string[];
  unread: readonly string[];
}

/** What a user is told of a text that was not read as it was written; a line each. */
export function lossesInWords({ ignored, unread }: Losses): string[] {
  const signs = unread.map((one) => JSON.stringify(one)).join(" ");
  return [
    ignored.length > 0 ? `markup that is not obeyed, its text is read: ${ignored.join(" ")}` : "",
    unread.length > 0 ? `this voice cannot read ${signs}: left out` : "",
  ].filter((line) => line !== "");
}

/** @throws TtsError as {@link TextReading.end} */
export function readText(context: ReadingContext, text: string): TextReading {
  const { reading, rest } = beginText(context, text);
  atOnce(rest);
  return reading;
}

/**
 * Reads a text in steps.
 * @throws TtsError as {@link checkText} and {@link TextReading.push}; the steps throw the others
 */
export function beginText(
  context: ReadingContext,
  text: string,
): { reading: TextReading; rest: Steps<void> } {
  const { bundle, settings } = context;
  checkText(settings.rawText ? text : visibleText(text), Object.keys(bundle.manifest.prompt.controlTokens));
  const reading = new TextReading(context);
  return { reading, rest: reading.whole(text) };
}

interface ReadPassage {
  sentences: string[];
  words: PlacedWord[][];
  said: Pronounced;
  unread: string[];
}

/**
 * @param text what can be seen of it, unless it is raw
 * @param sounds IPA of the signs that stand for words already
 */
function* readPassage(
  { bundle, lexicon, rules, settings }: ReadingContext,
  text: string,
  sounds: Pronounced["sounds"],
): Steps<ReadPassage> {
  const { prompt, reading } = bundle.manifest;
  checkText(text, Object.keys(prompt.controlTokens));
  const clean = cleanText(text);
  if (settings.rawText) return yield* asWritten(clean, reading?.maxPhones ?? 0);
  const said = yield* lexicon.pronouncing(clean, reading !== null);
  const all = new Map([...sounds, ...said.sounds]);
  const read =
    reading !== null
      ? yield* intoIpa({ text: said.text, sounds: all }, rules, reading.maxPhones)
      : yield* asWritten(settings.normalize ? yield* rules.spellingOut(said.text) : said.text, 0);
  const written = (yield* findWords(clean)).map((word) => word.text);
  return { ...read, words: yield* matchWritten(written, read.words) };
}

/** What no model is needed for. @throws TtsError USAGE for a pause that is too long, or none */
export function checkMarkup(text: string): void {
  const markup = new MarkupReader({ readsIpa: false, sayAs: () => null });
  checkGaps([...markup.push(text), ...markup.end()]);
}

function checkGaps(parts: readonly Part[]): void {
  const passages = new Passages({ sentenceMs: 0, paragraphMs: 0 });
  for (const part of parts) {
    if ("gap" in part) passages.gap(part.gap);
    else for (const _ of passages.add(part.text));
  }
}

/** @throws TtsError TEXT_EMPTY, TEXT_TOO_LONG */
export function checkText(text: string, controlTokens: readonly string[]): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.textBytes)
    throw new TtsError(
      "TEXT_TOO_LONG",
      `the text has ${bytes} bytes`,
      `at most ${LIMITS.textBytes} are read at once`,
    );
  assertSpeakable(cleanText(text), controlTokens);
}

const NO_SOUNDS: Pronounced["sounds"] = new Map();

/**
 * @param maxPhones the limit of a voice that reads IPA and was given IPA, else 0. The limit on characters
 * holds as well.
 */
function* asWritten(text: string, maxPhones: number): Steps<ReadPassage> {
  const charactersPerPhone = LIMITS.promptChars / maxPhones;
  const ofIpa = (piece: string) => Math.max(spokenLength(piece), countPhones(piece) * charactersPerPhone);
  const measure = maxPhones === 0 ? spokenLength : ofIpa;
  // a character has at most two units: what is much too long need not be measured
  const sentences = yield* splitting(text, LIMITS.promptChars, (piece) =>
    piece.length > 2 * LIMITS.promptChars ? piece.length : measure(piece),
  );
  const words = yield* mapped(sentences, wordsIn);
  return { sentences, words, said: { text, sounds: NO_SOUNDS }, unread: [] };
}

/** Splits by length in phones, then reads. Reports each character without a reading once. */
function* intoIpa({ sounds, text }: Pronounced, rules: ReadingRules, maxPhones: number): Steps<ReadPassage> {
  const reader = rules.reader!;
  const known = new KnownWords();
  const words = yield* rules.spellingOut(
    text
      .replace(/\r\n?/g, "\n")
      .replace(/[\u00a0\u202f]/g, " ")
      .replace(/\u2011/g, "-"),
    (word) => reader.has(word),
  );
  const pieces = yield* splitting(words, maxPhones, (piece) =>
    reader.countPhones(piece, maxPhones, sounds, known),
  );
  const read = yield* mapped(pieces, (piece) => reader.read(piece, sounds, known));
  const readings = read.filter(({ ipa }) => ipa !== "");
  return {
    sentences: readings.map(({ ipa }) => ipa),
    words: readings.map((one) => one.words),
    said: { text: words, sounds },
    unread: yield* reader.unread(words, sounds, known),
  };
}

const unreadable = (unread: readonly string[]) =>
  new TtsError(
    "TEXT_EMPTY",
    `nothing in the text can be read by this voice: ${unread.slice(0, 20).join(" ")}`,
    "it reads English words and numbers",
  );

const blank = () =>
  new TtsError("TEXT_EMPTY", "nothing to speak: the text is blank", "give at least one word or number");
