// What says how a text is spoken: the options that speaking and announcing share, and what they mean.

import { lossesInWords } from "../../engine/read-text.ts";
import type { SpeakOptions, Speech, Voice } from "../../engine.ts";
import { modelOfSpeaker, modelOfVoice } from "../../models/inventory.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import { log } from "./log.ts";
import { choice, number, type Options, type Values } from "./options.ts";

const TEXT_MODES = ["whole", "stream"] as const;

/** The sampling options that talker and code predictor have in common. */
const sampling = (what: string) =>
  ({
    temperature: {
      type: "string",
      valueHint: "T",
      description: `Above 0; lower is steadier (${what}).`,
      group: "Sampling",
    },
    topK: {
      type: "string",
      valueHint: "K",
      description: `Draw among the K likeliest codes; 0 for all (${what}).`,
      group: "Sampling",
    },
    topP: {
      type: "string",
      valueHint: "P",
      description: `Draw among the likeliest codes whose probabilities add up to P; 1 for all (${what}).`,
      group: "Sampling",
    },
  }) as const satisfies Options;

const [talker, predictor] = [sampling("talker"), sampling("code predictor")];

export const INPUT_OPTION = {
  input: {
    type: "string",
    alias: "i",
    valueHint: "FILE|-",
    description: "Read the text from a UTF-8 file, or from standard input.",
    group: "Text",
  },
} as const satisfies Options;

export const TEXT_OPTIONS = {
  language: {
    type: "string",
    alias: "l",
    valueHint: "NAME",
    description: "Language of the text, or auto. Default: the model's only language, else auto.",
    group: "Text",
  },
  "text-mode": {
    type: "string",
    valueHint: "whole|stream",
    description:
      "Give the model the whole text at once, or one token per frame. Default: as the official method for this kind of model does.",
    group: "Text",
  },
  "raw-text": {
    type: "boolean",
    description: "Give the text to the tokenizer unchanged: no markup is obeyed, and nothing is read as IPA.",
    group: "Text",
  },
  lexicon: {
    type: "string",
    valueHint: "FILE",
    description:
      "A pronunciation list: lines of word => respelling, or => /IPA/ for voices that read IPA. It wins over lexicon.txt in the configuration folder.",
    group: "Text",
  },
  normalize: {
    type: "boolean",
    description:
      "Turn English numbers, times, sums, units and abbreviations into words first. A voice that reads IPA always does, but for --raw-text; official models read most of it by themselves.",
    group: "Text",
  },
  "sentence-pause": {
    type: "string",
    valueHint: "MS",
    description: "Milliseconds of silence between sentences, 0 to 60000. Default: only what the model makes.",
    group: "Text",
  },
  "paragraph-pause": {
    type: "string",
    valueHint: "MS",
    description: "Milliseconds of silence between paragraphs. Default: as between sentences.",
    group: "Text",
  },
} as const satisfies Options;

export const VOICE_OPTIONS = {
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description:
      "An official checkpoint directory, a bundle, or a known name. Default: the model that --voice was taken with, or one that has --speaker, else starter.",
    group: "Voice",
  },
  speaker: {
    type: "string",
    alias: "s",
    valueHint: "NAME",
    description: "One of the model's speakers, or none. Default: its first.",
    group: "Voice",
  },
  voice: {
    type: "string",
    valueHint: "NAME|FILE",
    description: "A cloned voice, for Base models: see tts voices.",
    group: "Voice",
  },
  instruct: {
    type: "string",
    valueHint: "TEXT",
    description: "How to speak, in words, for models that follow instructions.",
    group: "Voice",
  },
} as const satisfies Options;

export const SAMPLING_OPTIONS = {
  seed: {
    type: "string",
    valueHint: "N",
    description: "Makes a run repeatable. Default: a new seed each time, shown in the closing line.",
    group: "Sampling",
  },
  greedy: { type: "boolean", description: "Always take the likeliest code.", group: "Sampling" },
  temperature: talker.temperature,
  "top-k": talker.topK,
  "top-p": talker.topP,
  "repetition-penalty": {
    type: "string",
    valueHint: "R",
    description: "Makes a code less likely once it was drawn; 1 switches this off (talker).",
    group: "Sampling",
  },
  "predictor-temperature": predictor.temperature,
  "predictor-top-k": predictor.topK,
  "predictor-top-p": predictor.topP,
  "max-frames": {
    type: "string",
    valueHint: "N",
    description: "At most N frames of 80 ms per sentence.",
    group: "Sampling",
  },
  "no-watch": {
    type: "boolean",
    description:
      "Let sentences be that never end, repeat, fall silent, skip text or say it twice. Without it they are cut, and their rest is said again with another draw, twice at most; nothing else changes.",
    group: "Sampling",
  },
} as const satisfies Options;

type SpeakValues = Values<typeof TEXT_OPTIONS & typeof VOICE_OPTIONS & typeof SAMPLING_OPTIONS>;

/** @throws TtsError USAGE */
export function readSpeakOptions(args: SpeakValues): Omit<SpeakOptions, "voice"> {
  const samplingOf = (prefix: "" | "predictor-") => {
    const settings = {
      temperature: number(args, `${prefix}temperature`),
      topK: number(args, `${prefix}top-k`),
      topP: number(args, `${prefix}top-p`),
      repetitionPenalty: prefix === "" ? number(args, "repetition-penalty") : undefined,
    };
    return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  };
  return {
    speaker: args.speaker,
    language: args.language,
    instruct: args.instruct,
    seed: number(args, "seed"),
    greedy: args.greedy === true ? true : undefined,
    sampling: { talker: samplingOf(""), predictor: samplingOf("predictor-") },
    maxFrames: number(args, "max-frames"),
    textMode: choice(args, "text-mode", TEXT_MODES),
    rawText: args["raw-text"] === true,
    normalize: args.normalize === true,
    watch: args.watch !== false,
    pauses: { sentenceMs: number(args, "sentence-pause"), paragraphMs: number(args, "paragraph-pause") },
  };
}

/** The model that a voice or a speaker belongs to, unless one is named. */
export const modelFor = (speaker: string | undefined, voice: Voice | undefined, cacheDir: string) =>
  voice === undefined ? modelOfSpeaker(speaker, cacheDir) : modelOfVoice(voice, cacheDir);

export function warnUnread(speech: Pick<Speech, "ignored" | "unread">): void {
  for (const line of lossesInWords(speech)) log.warn(line);
}

/**
 * Positions beyond a plain text, at most: one per character of the instruction and of the reference's text,
 * and one per frame of the reference.
 */
export function extraPositions({ instruct = "", voice }: SpeakOptions): number {
  const frames = (voice?.codes?.length ?? 0) / CODES_PER_FRAME;
  return instruct.length + (voice?.text.length ?? 0) + frames;
}
