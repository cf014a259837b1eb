// Checks a text and its options against a model. Needs no worker.

import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import type { Bundle } from "../formats/bundle.ts";
import { assertCodes } from "../formats/codes.ts";
import { assertWhole, isWhole } from "../ranges.ts";
import type { Sentence, SpokenReference } from "../stages/sentence.ts";
import type { Pauses } from "../text/markup/passages.ts";
import { languageId, promptDefaults, speakerId } from "../text/prompt.ts";
import { visibleText } from "../text/visible.ts";
import { NONE, type SamplerSettings, type TextMode } from "../types.ts";
import { checkMarkup, checkText } from "./read-text.ts";

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
  pauses?: Partial<Pauses>;
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
  /** Silence after every sentence and paragraph; both decide where the text is cut. */
  pauses: Pauses;
  sampling: { talker: SamplerSettings; predictor: SamplerSettings };
}

/** Options that have been checked against a model. */
export interface PreparedVoice {
  settings: SpeechSettings;
  /** What every sentence is spoken with. */
  message: Omit<Sentence, "text" | "stream">;
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
    pauses: pausesOf(options.pauses),
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
 * The checks that need no model. Callers make them before they open or convert a model.
 * @throws TtsError TEXT_EMPTY, TEXT_TOO_LONG, USAGE
 */
export function checkRequest(text: string, options: SpeechOptions): void {
  checkText(options.rawText ? text : visibleText(text), []);
  if (!options.rawText) checkMarkup(text);
  checkOptions(options);
}

/** A paragraph ends with a sentence, and so has at least that one's pause. */
export function pausesOf({ sentenceMs = 0, paragraphMs = 0 }: Partial<Pauses> = {}): Pauses {
  return { sentenceMs, paragraphMs: Math.max(sentenceMs, paragraphMs) };
}

function checkOptions({
  instruct = "",
  maxFrames = 1,
  normalize,
  pauses = {},
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
  assertWhole("the pause between sentences, in ms,", pauses.sentenceMs ?? 0, 0, LIMITS.pauseMs);
  assertWhole("the pause between paragraphs, in ms,", pauses.paragraphMs ?? 0, 0, LIMITS.pauseMs);
  assertWhole("the seed", seed, 0, Number.MAX_SAFE_INTEGER);
  checkSampling(sampling?.talker ?? {});
  checkSampling(sampling?.predictor ?? {});
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
