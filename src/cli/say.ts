// tts "text": speaks. The default command.

import { writeFileSync } from "node:fs";
import { defineCommand } from "citty";
import { FORMATS, openSink } from "../audio/sink.ts";
import { loadConfig, PREDICTOR_CHOICES } from "../config.ts";
import type { SpeakOptions, Speech, Summary } from "../engine.ts";
import { TtsError } from "../errors.ts";
import { readVoiceFile, type Voice, VoiceFolder } from "../voices.ts";
import { log } from "./_log.ts";
import type { Command } from "./_manual.ts";
import { COMMON, choice, number, type Options, text } from "./_options.ts";
import { openEngine, pour, report } from "./_run.ts";
import { inputText } from "./_text.ts";

const TEXT_MODES = ["whole", "stream"] as const;

/** The same four settings for the talker and, with a prefix, for the code predictor. */
function samplingOptions(prefix: string, what: string): Options {
  const group = "Sampling";
  return {
    [`${prefix}temperature`]: { type: "string", valueHint: "T", description: `Above 0; lower is steadier (${what}).`, group },
    [`${prefix}top-k`]: { type: "string", valueHint: "K", description: `Draw among the K likeliest codes; 0 for all (${what}).`, group },
    [`${prefix}top-p`]: {
      type: "string",
      valueHint: "P",
      description: `Draw among the likeliest codes that make up P; 1 for all (${what}).`,
      group,
    },
  };
}

const options: Options = {
  input: {
    type: "string",
    alias: "i",
    valueHint: "FILE|-",
    description: "Read the text from a UTF-8 file, or from standard input.",
    group: "Text",
  },
  language: {
    type: "string",
    alias: "l",
    valueHint: "NAME",
    description: "Language of the text, or auto. Default: the model's only one, else auto.",
    group: "Text",
  },
  "text-mode": {
    type: "string",
    valueHint: "whole|stream",
    description: "Give the model the whole text at once, or one token per frame. Default: as in the official method.",
    group: "Text",
  },
  "raw-text": { type: "boolean", description: "Give the text to the tokenizer as it is, also where the voice reads IPA.", group: "Text" },
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description: "An official checkpoint directory, a bundle, or a known name. Default: starter.",
    group: "Voice",
  },
  speaker: {
    type: "string",
    alias: "s",
    valueHint: "NAME",
    description: "One of the model's speakers, or none. Default: its first.",
    group: "Voice",
  },
  voice: { type: "string", valueHint: "NAME|FILE", description: "A cloned voice, for Base models: see tts voices.", group: "Voice" },
  instruct: {
    type: "string",
    valueHint: "TEXT",
    description: "How to speak, in words, for models that follow instructions.",
    group: "Voice",
  },
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE|-",
    description: "Where the sound goes; - is standard output. Default: output.wav.",
    group: "Output",
  },
  format: { type: "string", valueHint: "wav|pcm", description: "wav, or raw 16-bit little-endian samples. Default: wav.", group: "Output" },
  "save-codes": {
    type: "string",
    valueHint: "FILE",
    description: "Also write the codes as JSON; tts decode makes sound of them again.",
    group: "Output",
  },
  json: { type: "boolean", description: "Print the closing figures as one JSON object on standard output.", group: "Output" },
  seed: {
    type: "string",
    valueHint: "N",
    description: "Makes a run repeatable. Default: a new one each time, named in the closing line.",
    group: "Sampling",
  },
  greedy: { type: "boolean", description: "Always take the likeliest code.", group: "Sampling" },
  ...samplingOptions("", "talker"),
  "repetition-penalty": {
    type: "string",
    valueHint: "R",
    description: "Makes codes that were drawn before less likely; 1 switches it off (talker).",
    group: "Sampling",
  },
  ...samplingOptions("predictor-", "code predictor"),
  "max-frames": { type: "string", valueHint: "N", description: "At most N frames of 80 ms per sentence.", group: "Sampling" },
  predictor: { type: "string", valueHint: "auto|ort|llama", description: "What runs the code predictor. Default: auto.", group: "Machine" },
  threads: {
    type: "string",
    valueHint: "N",
    description: "Threads for talker and code predictor; the vocoder has its own. Default: 1.",
    group: "Machine",
  },
  ...COMMON,
};

export const command: Command = {
  synopsis: '[OPTIONS] "TEXT"  |  tts COMMAND [OPTIONS]',
  description: [
    "Speaks TEXT with a Qwen3-TTS model and writes 24 kHz mono sound. Everything runs on this machine, without a network.",
    "Long texts are split at sentence ends, then at pauses; sound is written as it is made. The first use of a checkpoint converts it into the cache.",
    "Commands: decode makes sound of saved codes, convert turns a checkpoint into a bundle. tts COMMAND --help tells more.",
  ],
  examples: [
    ['tts "The kettle is ready."', "speaks to output.wav with the voice that comes with the program"],
    ['tts "Dinner at 7:30." -o - | aplay', "plays while it speaks"],
    ["fortune | tts -i - -o fortune.wav", "reads the text from a pipe"],
    ['tts "Hello." -m ~/Qwen3-TTS-12Hz-0.6B-CustomVoice -s ryan -l english --seed 7', "an official checkpoint, a speaker, repeatable"],
  ],
  sections: {
    FILES: ["~/.cache/qwen3-tts/bundles\nConverted models. May be deleted; they are made again when needed."],
    ENVIRONMENT: [
      "TTS_CACHE\nFolder for converted models instead of $XDG_CACHE_HOME/qwen3-tts or ~/.cache/qwen3-tts.",
      "TTS_LIBLLAMA, TTS_LIBONNXRUNTIME\nFile or folder of another build of these libraries.",
    ],
    "EXIT STATUS": [
      "0 done; 2 wrong options or text; 3 unusable model; 4 library trouble; 5 output failed; 6 a worker died; 130 interrupted; 1 anything else.",
    ],
  },
  definition: defineCommand({
    meta: { name: "tts", description: "speak text with Qwen3-TTS on this machine" },
    args: options,
    run: ({ args, data }) => say(args, (data as { positionals: string[] }).positionals),
  }),
};

async function say(args: Record<string, unknown>, positionals: string[]): Promise<void> {
  const format = choice(args, "format", FORMATS) ?? "wav";
  const output = text(args, "output") ?? `output.${format}`;
  const json = args.json === true;
  if (json && output === "-") throw new TtsError("USAGE", "--json and -o - both want standard output", "write the sound to a file");
  const maxFrames = number(args, "max-frames");
  const speakOptions = readSpeakOptions(args, maxFrames);
  const predictor = choice(args, "predictor", PREDICTOR_CHOICES);
  const threads = number(args, "threads");
  const words = inputText(positionals, text(args, "input"));
  const engine = await openEngine({ model: text(args, "model"), predictor, threads }, maxFrames);
  const speech = engine.speak(words, speakOptions);
  if (speech.unread.length > 0) log.warn(`this voice cannot read ${speech.unread.map((c) => JSON.stringify(c)).join(" ")}: left out`);
  speech.sentences.forEach((sentence, i) => {
    log.debug(`sentence ${i + 1}: ${sentence}`);
  });
  const sink = openSink(output, format);
  try {
    const frames = await pour(speech, sink);
    const summary = speech.summary();
    if (summary.frames === 0) throw new TtsError("TEXT_EMPTY", "the model ended without a sound", "try another text or seed");
    const codes = text(args, "save-codes");
    if (codes !== undefined) saveCodes(codes, { words, frames, speech, summary, sourceHash: modelHash(engine.manifest.source) });
    await sink.finish();
    if (summary.stop === "length") log.warn("a sentence reached the frame limit and was cut off there");
    report(summary, output, json);
  } catch (error) {
    sink.abandon();
    throw error;
  }
  await engine.close();
}

function readSpeakOptions(args: Record<string, unknown>, maxFrames: number | undefined): SpeakOptions {
  const sampling = (prefix: string) => {
    const settings = {
      temperature: number(args, `${prefix}temperature`),
      topK: number(args, `${prefix}top-k`),
      topP: number(args, `${prefix}top-p`),
      repetitionPenalty: prefix === "" ? number(args, "repetition-penalty") : undefined,
    };
    return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  };
  return {
    speaker: text(args, "speaker"),
    voice: readVoice(text(args, "voice")),
    language: text(args, "language"),
    instruct: text(args, "instruct"),
    seed: number(args, "seed"),
    greedy: args.greedy === true,
    sampling: { talker: sampling(""), predictor: sampling("predictor-") },
    maxFrames,
    textMode: choice(args, "text-mode", TEXT_MODES),
    rawText: args["raw-text"] === true,
  };
}

const modelHash = (source: Record<string, { sha256: string }>) =>
  Object.entries(source).find(([name]) => name.startsWith("model"))?.[1].sha256 ?? "";

/** A voice of the user's folder, or a voice file. */
function readVoice(name: string | undefined): Voice | undefined {
  if (name === undefined) return undefined;
  return name.includes("/") || name.endsWith(".json") ? readVoiceFile(name) : new VoiceFolder(loadConfig().voicesDir).read(name);
}

interface CodesToSave {
  words: string;
  frames: number[][][];
  speech: Speech;
  summary: Summary;
  sourceHash: string;
}

/** `frames` is all that decode needs; each sentence starts the vocoder afresh, so their lengths stand beside. */
function saveCodes(path: string, { words, frames, speech, summary, sourceHash }: CodesToSave): void {
  const sentences = speech.sentences.map((sentence, i) => ({ text: sentence, frames: frames[i].length }));
  const file = {
    model: summary.model,
    modelSha256: sourceHash,
    text: words,
    seed: summary.seed,
    settings: speech.settings,
    sentences,
    frames: frames.flat(),
  };
  try {
    writeFileSync(path, `${JSON.stringify(file)}\n`);
  } catch (cause) {
    throw new TtsError("OUTPUT_FAILED", `cannot write ${path}: ${(cause as Error).message}`, "", { cause });
  }
}
