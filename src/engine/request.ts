// Checks a text and its options against a model, and cuts the text into prompts. Needs no worker.

import { readFileSync } from "node:fs";
import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { type Bundle, bundlePath } from "../formats/bundle.ts";
import { assertCodes } from "../formats/codes.ts";
import { assertWhole, isWhole } from "../ranges.ts";
import type { Sentence, SpokenReference } from "../stages/sentence.ts";
import type { Lexicon, Pronounced } from "../text/lexicon.ts";
import type { spellOut } from "../text/normalize/english.ts";
import { languageId, promptDefaults, speakerId } from "../text/prompt.ts";
import { countPhones, Reader } from "../text/reading.ts";
import { assertSpeakable } from "../text/speakable.ts";
import { split } from "../text/split.ts";
import { visibleText } from "../text/visible.ts";
import { NONE, type SamplerSettings, type TextMode } from "../types.ts";
import { asWrittenIn, type PlacedWord, wordsIn } from "./words.ts";

/** The parts of a voice that a Base model needs; voices.ts keeps voices in files. */
export interface ClonedVoice {
  name: string;
  /** What the recording says; "" if only the speaker vector is used. */
  text: string;
  /** f32 [hidden] */
  xVector: Float32Array;
  /** i32 [frames, 16] or null */
  codes: Int32Array | null;
  codebookSize: number;
}

/**
 * How codes are drawn. Options of an engine hold for every speech. The code predictor's backend must be able
 * to draw this way.
 */
export interface Sampling {
  /**
   * `true`: talker and predictor always take the likeliest code. `false`: they draw, even if the model or the
   * engine is greedy.
   */
  greedy?: boolean;
  /** Changes to the model's own settings for code 0 and for codes 1 to 15. */
  sampling?: { talker?: Partial<SamplerSettings>; predictor?: Partial<SamplerSettings> };
}

/** How a text is to be spoken; the door says what each option means. */
export interface SpeechOptions extends Sampling {
  speaker?: string;
  voice?: ClonedVoice;
  language?: string;
  instruct?: string;
  seed?: number;
  maxFrames?: number;
  textMode?: TextMode;
  rawText?: boolean;
  normalize?: boolean;
}

/** Everything besides the text and the model that decides the codes: the key of caches and of saved codes. */
export interface SpeechSettings {
  /** "none": no particular speaker. */
  speaker: string;
  /** Name of the cloned voice, or "". */
  voice: string;
  /** "auto": the model decides. */
  language: string;
  instruct: string;
  textMode: TextMode;
  maxFrames: number;
  seed: number;
  rawText: boolean;
  normalize: boolean;
  sampling: { talker: SamplerSettings; predictor: SamplerSettings };
}

/** Options that have been checked against a model. */
export interface PreparedVoice {
  settings: SpeechSettings;
  /** What every sentence is spoken with. */
  message: Omit<Sentence, "text" | "stream">;
}

/** A text cut into prompts. */
export interface ReadText {
  sentences: string[];
  /** Of each sentence: its words as they were written, beside where the sentence says them. */
  words: PlacedWord[][];
  /** What they were cut from: in words where the text is normalised, also where the sentences are IPA. */
  said: Pronounced;
  /** What the voice cannot read; it is left out. */
  unread: string[];
}

/** What a text is read by. */
export interface ReadingRules {
  spellOut: typeof spellOut;
  /** Of a voice that reads IPA, else null. */
  reader: Reader | null;
}

/**
 * Loads the reading rules for a bundle: many files and patterns, which a start should not wait for before its
 * stages open.
 */
export async function loadRules(bundle: Bundle): Promise<ReadingRules> {
  const { spellOut } = await import("../text/normalize/english.ts");
  if (bundle.manifest.reading === null) return { spellOut, reader: null };
  spellOut(""); // patterns are compiled at their first use
  const read = (file: "lexicon" | "letters") => readFileSync(bundlePath(bundle, file), "utf8");
  return { spellOut, reader: new Reader(read("lexicon"), read("letters")) };
}

/**
 * Checks options against the model.
 * @throws TtsError SPEAKER_UNKNOWN, LANGUAGE_UNKNOWN, MODEL_UNSUITABLE, TEXT_TOO_LONG, USAGE
 */
export function prepareVoice(bundle: Bundle, options: SpeechOptions): PreparedVoice {
  checkOptions(options);
  const { prompt, sampling } = withSampling(bundle, options).manifest;
  const reference = checkVoice(bundle, options.voice);
  const defaults = promptDefaults(prompt);
  const speaker = options.speaker ?? defaults.speaker;
  const language = options.language ?? defaults.language;
  checkNormalize(bundle, options);
  const settings: SpeechSettings = {
    speaker,
    voice: options.voice?.name ?? "",
    language,
    instruct: checkInstruct(bundle, options.instruct ?? ""),
    textMode: options.textMode ?? defaults.mode,
    maxFrames: options.maxFrames ?? sampling.maxNewTokens - 1,
    seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
    rawText: options.rawText ?? false,
    normalize: options.normalize ?? false,
    sampling: { talker: sampling.talker, predictor: sampling.predictor },
  };
  const message = {
    instruct: settings.instruct,
    speaker: reference === null ? speakerId(prompt, speaker) : ("xVector" as const),
    language: languageId(prompt, language, speaker),
    mode: settings.textMode,
    maxFrames: settings.maxFrames,
    seed: settings.seed,
    sampling: settings.sampling,
    reference,
  };
  return { settings, message };
}

/**
 * Cuts a text into prompts that the model takes.
 * @param text of one that is not raw what can be seen: {@link visibleText}
 * @param lexicon how words of it are said; of no use to a raw one
 * @throws TtsError TEXT_EMPTY, TEXT_TOO_LONG, USAGE for what the lexicon has
 */
export function readText(
  { manifest: { prompt, reading } }: Bundle,
  text: string,
  { normalize, rawText }: Pick<SpeechOptions, "normalize" | "rawText">,
  lexicon: Lexicon,
  rules: ReadingRules,
): ReadText {
  checkText(text, Object.keys(prompt.controlTokens));
  const clean = cleanText(text);
  if (rawText) return asWritten(clean, reading?.maxPhones ?? 0);
  const pronounced = lexicon.pronounce(clean, reading !== null);
  const read =
    reading !== null
      ? intoIpa(pronounced, rules, reading.maxPhones)
      : asWritten(normalize ? rules.spellOut(pronounced.text) : pronounced.text, 0);
  const written = wordsIn(clean).map((word) => word.text);
  return { ...read, words: asWrittenIn(written, read.words) };
}

const cleanText = (text: string) => text.toWellFormed().normalize("NFC");

/**
 * The checks that need no model. Callers make them before they open or convert a model.
 * @throws TtsError TEXT_EMPTY, TEXT_TOO_LONG, USAGE
 */
export function checkRequest(text: string, options: SpeechOptions): void {
  checkText(options.rawText ? text : visibleText(text), []);
  checkOptions(options);
}

function checkText(text: string, controlTokens: readonly string[]): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.textBytes)
    throw new TtsError(
      "TEXT_TOO_LONG",
      `the text has ${bytes} bytes`,
      `at most ${LIMITS.textBytes} are read at once`,
    );
  assertSpeakable(cleanText(text), controlTokens);
}

function checkOptions({
  instruct = "",
  maxFrames = 1,
  normalize,
  rawText,
  sampling,
  seed = 0,
  speaker,
  voice,
}: SpeechOptions): void {
  if (normalize === true && rawText === true)
    throw new TtsError(
      "USAGE",
      "the text cannot be both raw and normalised",
      "give one of {rawText} and {normalize}",
    );
  if (voice !== undefined && speaker !== undefined)
    throw new TtsError("USAGE", "both a speaker and a voice are given", "give one of them");
  if (instruct.length > LIMITS.instructChars)
    throw new TtsError(
      "TEXT_TOO_LONG",
      `the instruction has ${instruct.length} characters`,
      `at most ${LIMITS.instructChars}`,
    );
  assertWhole("the frame limit", maxFrames, 1, LIMITS.maxFrames);
  assertWhole("the seed", seed, 0, Number.MAX_SAFE_INTEGER);
  checkSampling(sampling?.talker ?? {});
  checkSampling(sampling?.predictor ?? {});
}

/** Characters are code points: a surrogate pair counts once. */
const countCharacters = (text: string) => text.length - (text.match(/[\ud800-\udbff]/g)?.length ?? 0);

const NO_SOUNDS: Pronounced["sounds"] = new Map();

/**
 * @param maxPhones the limit of a voice that reads IPA and was given IPA, else 0. The limit on characters
 * holds as well.
 */
function asWritten(text: string, maxPhones: number): ReadText {
  const charactersPerPhone = LIMITS.promptChars / maxPhones;
  const ofIpa = (piece: string) => Math.max(countCharacters(piece), countPhones(piece) * charactersPerPhone);
  const sentences = split(text, LIMITS.promptChars, maxPhones === 0 ? countCharacters : ofIpa);
  return { sentences, words: sentences.map(wordsIn), said: { text, sounds: NO_SOUNDS }, unread: [] };
}

/** Splits by length in phones, then reads. Reports each character without a reading once. */
function intoIpa({ sounds, text }: Pronounced, rules: ReadingRules, maxPhones: number): ReadText {
  const reader = rules.reader!;
  const read = (piece: string) => reader.read(piece, sounds);
  const words = rules.spellOut(
    text
      .replace(/\r\n?/g, "\n")
      .replace(/[\u00a0\u202f]/g, " ")
      .replace(/\u2011/g, "-"),
    (word) => reader.has(word),
  );
  const pieces = split(words, maxPhones, (piece) => countPhones(read(piece).ipa));
  const readings = pieces.map(read).filter(({ ipa }) => ipa !== "");
  const sentences = readings.map(({ ipa }) => ipa);
  const unread = [...new Set(read(words).unread)];
  if (sentences.length > 0)
    return { sentences, words: readings.map((one) => one.words), said: { text: words, sounds }, unread };
  throw new TtsError(
    "TEXT_EMPTY",
    `nothing in the text can be read by this voice: ${unread.slice(0, 20).join(" ")}`,
    "it reads English words and numbers",
  );
}

/** The reading rules are English. @throws TtsError USAGE, LANGUAGE_UNKNOWN */
export function checkNormalize(
  { manifest: { prompt } }: Bundle,
  { language, normalize }: SpeechOptions,
): void {
  if (normalize !== true) return;
  const asked = language ?? promptDefaults(prompt).language;
  const id = languageId(prompt, asked, "");
  if (id === NONE || id === prompt.languages.english) return;
  throw new TtsError(
    "USAGE",
    `text in ${asked} cannot be normalised`,
    "only English has reading rules: leave out {normalize}",
  );
}

/** Base models speak only with a cloned voice; other models cannot use one. */
function checkVoice({ manifest }: Bundle, voice: ClonedVoice | undefined): SpokenReference | null {
  const { name, shape } = manifest;
  const unsuitable = (what: string, hint: string) => new TtsError("MODEL_UNSUITABLE", what, hint);
  if (manifest.prompt.modelType !== "base") {
    if (voice === undefined) return null;
    throw unsuitable(
      `${name} cannot speak with the cloned voice ${voice.name}`,
      "cloned voices need a Base model",
    );
  }
  if (voice === undefined) {
    throw unsuitable(
      `${name} is a Base model: it speaks only with a cloned voice`,
      "make one: tts voices add NAME --from FILE; then {voice} NAME",
    );
  }
  const { xVector, codes, text, codebookSize } = voice;
  if (xVector.length !== shape.hidden) {
    throw unsuitable(
      `the voice ${voice.name} is ${xVector.length} wide, ${name} is ${shape.hidden} wide`,
      "make the voice with this model",
    );
  }
  if (codebookSize !== shape.codes) {
    throw unsuitable(
      `the voice ${voice.name} has codebooks of ${codebookSize} codes, ${name} of ${shape.codes}`,
      "make the voice with this model",
    );
  }
  if (codes !== null) assertCodes(codes, shape.codes, { hint: `the voice ${voice.name} is damaged` });
  return text === "" ? { xVector, text, codes: null } : { xVector, text, codes };
}

function checkInstruct(bundle: Bundle, instruct: string): string {
  if (instruct === "") return "";
  if (!bundle.manifest.prompt.takesInstruct) {
    throw new TtsError(
      "MODEL_UNSUITABLE",
      `${bundle.manifest.name} does not follow instructions`,
      "leave out {instruct}, or choose a 1.7B model",
    );
  }
  return instruct.toWellFormed().normalize("NFC");
}

/**
 * The bundle, with these settings in place of the model's own.
 * @throws TtsError USAGE
 */
export function withSampling(bundle: Bundle, { greedy, sampling: given }: Sampling): Bundle {
  const { manifest } = bundle;
  const talker = changed(manifest.sampling.talker, given?.talker, greedy);
  const predictor = changed(manifest.sampling.predictor, given?.predictor, greedy);
  return { ...bundle, manifest: { ...manifest, sampling: { ...manifest.sampling, talker, predictor } } };
}

/** The model's settings, replaced where others are given. */
function changed(
  model: SamplerSettings,
  given: Partial<SamplerSettings> = {},
  greedy?: boolean,
): SamplerSettings {
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const settings = { ...model, ...set, ...(greedy === undefined ? {} : { greedy }) };
  checkSampling(settings);
  return settings;
}

function checkSampling({
  temperature = 1,
  topK = 0,
  topP = 1,
  repetitionPenalty = 1,
}: Partial<SamplerSettings>): void {
  const fail = (name: string, value: number, allowed: string) => {
    throw new TtsError("USAGE", `${name} is ${value}`, `it must be ${allowed}`);
  };
  if (!(temperature > 0 && temperature <= 100))
    fail("temperature", temperature, "above 0 and at most 100; for the likeliest code use {greedy}");
  if (!isWhole(topK, 0, Number.MAX_SAFE_INTEGER)) fail("top-k", topK, "a whole number; 0 keeps every code");
  if (!(topP > 0 && topP <= 1)) fail("top-p", topP, "above 0 and at most 1");
  if (!(repetitionPenalty > 0 && repetitionPenalty <= 100))
    fail("repetition penalty", repetitionPenalty, "above 0 and at most 100; 1 switches it off");
}
