// What a client may ask of a speech: the fields, and how they become a request of the service.

import { FORMAT_NAMES, type Format } from "../../audio/encode/formats.ts";
import type { ModelFacts, SpeakOptions } from "../../engine.ts";
import { LIMITS } from "../../limits.ts";
import { nearest } from "../../nearest.ts";
import { shown } from "../one-line.ts";
import type { Service, SpeechRequest } from "../service.ts";
import { ApiError, invalid } from "./_errors.ts";
import { fieldsOf, type ObjectSchema, type Schema } from "./_fields.ts";

/** Names of OpenAI's that mean the defaults, so that its clients work unchanged. */
const OTHER_MODELS: readonly string[] = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"];
/** They may have the date of a version behind them. */
const VERSION = /-\d{4}(-\d\d-\d\d)?$/;
const OTHER_VOICES: readonly string[] =
  "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split(" ");

/** Fields that a speech has however its text comes. */
interface StyleFields {
  model?: string;
  voice?: string | { id: string };
  response_format?: Format;
  speed?: number;
  instructions?: string;
  language?: string;
  seed?: number;
  temperature?: number;
  top_k?: number;
  top_p?: number;
  repetition_penalty?: number;
  words?: boolean;
}

export interface SpeechFields extends StyleFields {
  input: string;
  stream_format?: "audio" | "sse";
}

export interface StartFields extends StyleFields {
  type: "start";
}

const MOST_PENALTY = 100;
const MOST_TEMPERATURE = 100;

const STYLE: Readonly<Record<keyof StyleFields, Schema>> = {
  model: {
    type: "string",
    description: `A name of GET /v1/models. ${OTHER_MODELS.join(", ")} mean the default, as no name does.`,
  },
  voice: {
    anyOf: [{ type: "string" }, { type: "object", properties: { id: { type: "string" } }, required: ["id"] }],
    description: `A name of GET /v1/audio/voices. ${OTHER_VOICES.join(", ")} mean the default where the model has no voice of that name, as no name does.`,
  },
  response_format: {
    type: "string",
    enum: FORMAT_NAMES,
    description:
      "pcm: 16-bit little-endian mono samples, 24000 a second. wav: its header does not tell the length.",
  },
  speed: { type: "number", minimum: 0.7, maximum: 1.4, default: 1, description: "At the same pitch." },
  instructions: {
    type: "string",
    maxLength: LIMITS.instructChars,
    description: `How to speak. "" and "None" mean none. A model that takes none ignores them; the header x-tts-ignored then names them.`,
  },
  language: { type: "string", description: `Name or code of a language of the model, or "auto".` },
  seed: {
    type: "integer",
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: "The same one gives the same sound. The header x-tts-seed names it.",
  },
  temperature: {
    type: "number",
    minimum: 0,
    maximum: MOST_TEMPERATURE,
    description: "0: always the likeliest code.",
  },
  top_k: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: "0: all codes." },
  top_p: { type: "number", exclusiveMinimum: 0, maximum: 1 },
  repetition_penalty: { type: "number", exclusiveMinimum: 0, maximum: MOST_PENALTY, description: "1: none." },
  words: {
    type: "boolean",
    default: false,
    description: "Whether the times of words come with the sound, as events.",
  },
};

export const SPEECH: ObjectSchema = {
  type: "object",
  description: "Fields that are not named here are ignored; null is as absent.",
  properties: {
    input: { type: "string", minLength: 1, description: `The text, up to ${LIMITS.textBytes} bytes.` },
    ...STYLE,
    response_format: { ...STYLE.response_format, default: "mp3" },
    stream_format: {
      type: "string",
      enum: ["audio", "sse"],
      default: "audio",
      description: "audio: the sound itself, as it is made. sse: events.",
    },
  } satisfies Readonly<Record<keyof SpeechFields, Schema>>,
  required: ["input"],
};

export const START: ObjectSchema = {
  type: "object",
  description: "Begins a speech. Fields that are not named here are ignored; null is as absent.",
  properties: {
    type: { type: "string", const: "start" },
    ...STYLE,
    response_format: { ...STYLE.response_format, default: "pcm" },
  } satisfies Readonly<Record<keyof StartFields, Schema>>,
  required: ["type"],
};

/** A checked request. */
export interface Asked {
  speech: Omit<SpeechRequest, "text" | "client" | "signal">;
  format: Format;
  words: boolean;
  /** Fields that the model has no use for. */
  ignored: readonly string[];
}

export function askedSpeech(service: Service, value: unknown): Asked & { text: string; isSse: boolean } {
  const fields = fieldsOf<SpeechFields>(value, SPEECH);
  const isSse = fields.stream_format === "sse";
  const asked = asAsked(service, fields, "mp3");
  if (asked.words && !isSse)
    throw invalid("words", "words come as events", 'set stream_format to "sse", or use the WebSocket');
  return { ...asked, text: fields.input, isSse };
}

export const askedStart = (service: Service, value: unknown): Asked =>
  asAsked(service, fieldsOf<StartFields>(value, START), "pcm");

function asAsked(service: Service, fields: StyleFields, usualFormat: Format): Asked {
  const { manifest } = service.engine;
  assertModel(manifest, fields.model);
  const instruct = ["", "None"].includes(fields.instructions ?? "") ? undefined : fields.instructions;
  const takesInstruct = manifest.prompt.takesInstruct;
  return {
    speech: {
      voice: voiceNamed(service, fields.voice),
      speed: fields.speed,
      options: {
        ...{ language: fields.language, seed: fields.seed, ...sampling(fields) },
        ...(instruct !== undefined && takesInstruct ? { instruct } : {}),
      },
    },
    format: fields.response_format ?? usualFormat,
    words: fields.words ?? false,
    ignored: instruct !== undefined && !takesInstruct ? ["instructions"] : [],
  };
}

/** @throws ApiError 404 */
export function assertModel({ name }: Pick<ModelFacts, "name">, asked: string | undefined): void {
  if (asked === undefined || asked === name || OTHER_MODELS.includes(asked.replace(VERSION, ""))) return;
  const guess = nearest(asked, [name]) === null ? `this server has ${name}` : `did you mean ${name}?`;
  throw new ApiError(404, "model_not_found", `there is no model ${shown(asked)}; ${guess}`, {
    param: "model",
  });
}

/** Undefined: the default. The service refuses names that it does not know. */
function voiceNamed(service: Service, asked: StyleFields["voice"]): string | undefined {
  const name = typeof asked === "object" ? asked.id : asked;
  if (name === undefined || !OTHER_VOICES.includes(name)) return name;
  return service.voices.list().some((voice) => voice.name === name) ? name : undefined;
}

/** Of the talker; the code predictor keeps its own. A temperature of 0 leaves nothing to chance in either. */
function sampling(fields: StyleFields): Pick<SpeakOptions, "greedy" | "sampling"> {
  const { repetition_penalty: repetitionPenalty, temperature, top_k: topK, top_p: topP } = fields;
  const greedy = temperature === 0 ? true : undefined;
  const talker = { temperature: greedy ? undefined : temperature, topK, topP, repetitionPenalty };
  const set = Object.entries(talker).filter(([, value]) => value !== undefined);
  return { greedy, ...(set.length === 0 ? {} : { sampling: { talker: Object.fromEntries(set) } }) };
}
