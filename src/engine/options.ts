// The arguments of the door's functions: programs without types can pass anything. Names and types are
// checked here, ranges where the values are used.

import {
  type ConfigFlags,
  PREDICTOR_CHOICES,
  PREFIX_CACHE_CHOICES,
  SPECULATE_CHOICES,
  TALKER_CHOICES,
  VOCODER_CHOICES,
  WEIGHT_CHOICES,
} from "../config.ts";
import { TtsError } from "../errors.ts";
import type { ModelOptions } from "../models/cache.ts";
import { nearest } from "../nearest.ts";
import type { Pauses } from "../text/markup/passages.ts";
import { CODES_PER_FRAME, type SamplerSettings } from "../types.ts";
import type { LexiconSource } from "./lexicon.ts";
import type { ClonedVoice, Sampling, SpeechOptions } from "./request.ts";
import type { SoundRequest } from "./sounding.ts";
import type { SentenceRange } from "./speech.ts";

export interface HostOptions
  extends ConfigFlags,
    Omit<ModelOptions, "config" | "damage" | "everyByte" | "make">,
    Sampling {
  lexicon?: LexiconSource;
  use?: "speak" | "decode" | "encode";
  sentences?: number;
  first?: { text: string; options?: SpeakRequest };
}

export interface SpeakRequest extends SpeechOptions, SoundRequest {
  watch?: boolean;
  sentences?: SentenceRange;
  priority?: number;
  sideBySide?: boolean;
}

/** What a value must be. */
class Kind {
  constructor(
    readonly wanted: string,
    readonly fits: (value: unknown) => boolean,
    readonly choices: readonly string[] = [],
  ) {}
}

/** Options by name. A shape in place of a kind holds further options. */
interface Shape {
  readonly [name: string]: Kind | Shape;
}
type ShapeOf<Options> = { readonly [name in keyof Required<Options>]: Kind | Shape };

const ofType = (type: string, wanted: string) => new Kind(wanted, (value) => typeof value === type);
const oneOf = (choices: readonly string[]) =>
  new Kind(`one of ${choices.join(", ")}`, (value) => choices.includes(value as string), choices);

const TEXT = ofType("string", "a string");
const NUMBER = ofType("number", "a number");
const FLAG = ofType("boolean", "true or false");
const FUNCTION = ofType("function", "a function");
const NUMBERS = new Kind(
  "a list of numbers",
  (value) => Array.isArray(value) && value.every((one) => typeof one === "number"),
);
const LEXICON = new Kind(
  "the name of a file, or words with what they are said as",
  (value) => typeof value === "string" || Array.isArray(value) || isObject(value),
);
const SIGNAL = new Kind("an AbortSignal", (value) => value instanceof AbortSignal);
const FLOATS = new Kind("a Float32Array", (value) => value instanceof Float32Array);
const CODES = new Kind("an Int32Array", (value) => value instanceof Int32Array);
const OBJECT = new Kind("an object", isObject);
const SPOKEN = new Kind(
  "a string, or strings that come one by one",
  (value) =>
    typeof value === "string" ||
    ((Array.isArray(value) || isObject(value)) &&
      (Symbol.asyncIterator in value || Symbol.iterator in value)),
);

const SAMPLER: ShapeOf<SamplerSettings> = {
  greedy: FLAG,
  temperature: NUMBER,
  topK: NUMBER,
  topP: NUMBER,
  repetitionPenalty: NUMBER,
};
const SAMPLING = { greedy: FLAG, sampling: { talker: SAMPLER, predictor: SAMPLER } };

const SOUND: ShapeOf<SoundRequest> = { signal: SIGNAL, trimStart: FLAG };

const SPEAK: ShapeOf<SpeakRequest> = {
  ...SAMPLING,
  speaker: TEXT,
  voice: OBJECT,
  language: TEXT,
  instruct: TEXT,
  seed: NUMBER,
  maxFrames: NUMBER,
  textMode: oneOf(["whole", "stream"] satisfies SpeakRequest["textMode"][]),
  normalize: FLAG,
  rawText: FLAG,
  pauses: { sentenceMs: NUMBER, paragraphMs: NUMBER } satisfies ShapeOf<Pauses>,
  priority: NUMBER,
  sideBySide: FLAG,
  sentences: { from: NUMBER, to: NUMBER } satisfies ShapeOf<SentenceRange>,
  watch: FLAG,
  ...SOUND,
};

const OPEN: ShapeOf<HostOptions> = {
  ...SAMPLING,
  model: TEXT,
  weights: oneOf(WEIGHT_CHOICES),
  predictorWeights: oneOf(WEIGHT_CHOICES),
  onProgress: FUNCTION,
  first: { text: TEXT, options: SPEAK } satisfies ShapeOf<NonNullable<HostOptions["first"]>>,
  use: oneOf(["speak", "decode", "encode"] satisfies HostOptions["use"][]),
  sentences: NUMBER,
  alignment: FLAG,
  lanes: NUMBER,
  contextPositions: NUMBER,
  threads: NUMBER,
  promptThreads: NUMBER,
  cpus: { all: NUMBERS, talker: NUMBERS, predictor: NUMBERS, vocoder: NUMBERS } satisfies ShapeOf<
    ConfigFlags["cpus"]
  >,
  talker: oneOf(TALKER_CHOICES),
  predictor: oneOf(PREDICTOR_CHOICES),
  speculate: oneOf(SPECULATE_CHOICES),
  pretendedCodes: NUMBER,
  vocoder: oneOf(VOCODER_CHOICES),
  npu: TEXT,
  prefixCache: oneOf(PREFIX_CACHE_CHOICES),
  stageTimeoutMs: NUMBER,
  cacheDir: TEXT,
  configDir: TEXT,
  lexicon: LEXICON,
  voicesDir: TEXT,
};

/** A voice is data, not options: it may hold more than this, and must hold all of it. */
const VOICE: Readonly<Record<keyof ClonedVoice, Kind>> = {
  name: TEXT,
  text: TEXT,
  xVector: FLOATS,
  codes: new Kind(
    "an Int32Array of whole frames, or null",
    (value) => value === null || (value instanceof Int32Array && value.length % CODES_PER_FRAME === 0),
  ),
  codebookSize: NUMBER,
};

const SHAPES = {
  open: OPEN,
  speak: SPEAK,
  decode: SOUND,
  loudness: SPEAK,
  encode: { signal: SIGNAL },
  provenanceOf: { recordingSha256: TEXT, recordingSeconds: NUMBER, tailSilenceSeconds: NUMBER },
};
const KINDS = {
  onMeasure: FUNCTION,
  text: SPOKEN,
  codes: CODES,
  samples: FLOATS,
  tailSilenceSeconds: NUMBER,
  path: TEXT,
  engine: new Kind("an open engine", (value) => isObject(value) && "manifest" in value),
  provenance: new Kind("what provenanceOf gives", isObject),
};

/**
 * Checks the options of a function.
 * @throws TtsError USAGE naming function, option, value and what it must be, or the nearest name
 */
export const checkOptions = (call: keyof typeof SHAPES, options: unknown): void =>
  checkShape(call, "", options, SHAPES[call]);

/** @throws TtsError USAGE for an argument of another kind */
export const checkArgument = (call: string, name: keyof typeof KINDS, value: unknown): void =>
  checkValue(call, name, value, KINDS[name]);

/** @throws TtsError USAGE for a value that is no cloned voice */
export function checkVoiceType(call: string, voice: unknown): void {
  if (!isObject(voice)) throw wrong(call, "voice", voice, "a cloned voice");
  for (const [name, kind] of Object.entries(VOICE))
    checkValue(call, `voice.${name}`, (voice as Record<string, unknown>)[name], kind);
}

function checkShape(call: string, path: string, options: unknown, shape: Shape): void {
  if (options === undefined) return;
  if (!isObject(options)) throw wrong(call, path.slice(0, -1) || "options", options, "an object");
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.hasOwn(shape, name) ? shape[name] : null;
    if (kind === null) throw unknown(call, path, name, value, Object.keys(shape));
    if (!(kind instanceof Kind)) checkShape(call, `${path}${name}.`, value, kind);
    else if (value !== undefined) checkValue(call, path + name, value, kind);
  }
}

function checkValue(call: string, name: string, value: unknown, { choices, fits, wanted }: Kind): void {
  if (fits(value)) return;
  const guess = typeof value === "string" ? nearest(value, choices) : null;
  throw wrong(call, name, value, guess === null ? wanted : `${wanted}; did you mean ${guess}?`);
}

const wrong = (call: string, name: string, value: unknown, wanted: string) =>
  new TtsError("USAGE", `${call}: ${name} is ${inWords(value)}`, `give ${wanted}`);

function unknown(call: string, path: string, name: string, value: unknown, known: string[]): TtsError {
  const guess = nearest(name, known);
  const hint = guess === null ? `there are ${known.map((one) => path + one).join(", ")}` : "";
  return new TtsError(
    "USAGE",
    `${call}: there is no option ${path}${name} (${inWords(value)})`,
    hint || `did you mean ${path}${guess}?`,
  );
}

/** Neither a list nor memory: those have no options. */
function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}

const SHOWN_CHARACTERS = 60;

/** A value of any kind in one short line. */
function inWords(value: unknown): string {
  if (typeof value === "string")
    return value.length > SHOWN_CHARACTERS
      ? `${JSON.stringify(value.slice(0, SHOWN_CHARACTERS))}…`
      : JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return ArrayBuffer.isView(value) ? `${value.constructor.name} of ${value.byteLength} bytes` : "an object";
}
