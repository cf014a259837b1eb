// The options of tts bench: lists of values. Every combination of them is one configuration.

import {
  LIMITS,
  loadConfig,
  PREDICTOR_CHOICES,
  SPECULATE_CHOICES,
  TALKER_CHOICES,
  WEIGHT_CHOICES,
} from "../../config.ts";
import { SYNTHETIC_SIZES, type SyntheticSize } from "../../convert/synthetic.ts";
import { TtsError } from "../../errors.ts";
import { assertWhole } from "../../ranges.ts";
import { MACHINE_OPTIONS, readVocoder, VOCODER_OPTIONS } from "../shared/machine-options.ts";
import {
  asChoice,
  asNumber,
  COMMON,
  choice,
  filePath,
  number,
  type Options,
  type Text,
  type Values,
} from "../shared/options.ts";
import type { WantedSetting } from "./_run.ts";

/** Needed because a random model does not end by itself. */
const DEFAULT_FRAMES = 50;
const DEFAULT_REPEAT = 5;
const MOST_REPEATS = 1_000;
/** Each one has an engine of its own, open beside the others if memory allows. */
const MOST_SETTINGS = 32;

export const OPTIONS = {
  synthetic: {
    type: "string",
    valueHint: "0.6b|1.7b",
    description: "Measure a full-size model with random weights; it is made once, in the cache.",
    group: "What",
  },
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description: "Measure this model. Default: starter.",
    group: "What",
  },
  weights: {
    type: "string",
    valueHint: "TYPES",
    description: `Weight types: ${WEIGHT_CHOICES.join(", ")}.`,
    group: "What",
  },
  "predictor-weights": {
    type: "string",
    valueHint: "TYPES",
    description: "Weight types of the code predictor alone. Default: what --weights says.",
    group: "What",
  },
  lanes: {
    type: "string",
    valueHint: "LIST",
    description: "Sentences that are spoken at the same time. Default: 1.",
    group: "How",
  },
  threads: {
    type: "string",
    valueHint: "LIST",
    description: "Threads for talker and code predictor.",
    group: "How",
  },
  talker: {
    type: "string",
    valueHint: "LIST",
    description: "What runs the talker: auto, llama, ort.",
    group: "How",
  },
  predictor: {
    type: "string",
    valueHint: "LIST",
    description: "What runs the code predictor: auto, ort, llama.",
    group: "How",
  },
  speculate: {
    type: "string",
    valueHint: "LIST",
    description: `Whether the code predictor guesses codes ahead: ${SPECULATE_CHOICES.join(", ")}. Default: auto.`,
    group: "How",
  },
  accept: {
    type: "string",
    valueHint: "N",
    description: `Take wrong guesses as right ones, so that a call of the code predictor gives N codes on average, 1 to ${LIMITS.passRows}: it shows what a trained model may gain, where random weights guess nothing right. The codes mean nothing, and none are kept.`,
    group: "How",
  },
  ...VOCODER_OPTIONS,
  cpus: MACHINE_OPTIONS.cpus,
  frames: {
    type: "string",
    valueHint: "N",
    description: `At most N frames per sentence. Default: ${DEFAULT_FRAMES}.`,
    group: "How",
  },
  repeat: {
    type: "string",
    valueHint: "N",
    description: `Measured rounds, after one that warms up. Default: ${DEFAULT_REPEAT}.`,
    group: "How",
  },
  json: { type: "boolean", description: "Print the figures as one JSON object.", group: "Output" },
  compare: {
    type: "string",
    valueHint: "FILE",
    description: "Also show what changed since FILE, a result of --json.",
    group: "Output",
  },
  trace: {
    type: "string",
    valueHint: "FILE",
    description: "Write when each thread opened and did what, for ui.perfetto.dev or about:tracing.",
    group: "Output",
  },
  ...COMMON,
} as const satisfies Options;

export interface BenchOptions {
  synthetic: SyntheticSize | undefined;
  model: string | undefined;
  settings: WantedSetting[];
  frames: number;
  repeat: number;
  json: boolean;
  compare: string | undefined;
  trace: string | undefined;
}

type Arguments = Values<typeof OPTIONS>;

/** @throws TtsError USAGE */
export function readOptions(args: Arguments): BenchOptions {
  const synthetic = choice(args, "synthetic", SYNTHETIC_SIZES);
  const { model } = args;
  if (synthetic !== undefined && model !== undefined)
    throw new TtsError("USAGE", "there are --synthetic and --model", "give one of them");
  return {
    synthetic,
    model,
    settings: settingsOf(args),
    frames: whole("frames", number(args, "frames") ?? DEFAULT_FRAMES, LIMITS.contextPositions),
    repeat: whole("repeat", number(args, "repeat") ?? DEFAULT_REPEAT, MOST_REPEATS),
    json: args.json === true,
    compare: filePath(args, "compare"),
    trace: filePath(args, "trace"),
  };
}

/** Every combination. Later lists vary faster, so that the first configurations differ in lanes. */
function settingsOf(args: Arguments): WantedSetting[] {
  const lists = {
    weights: list(args, "weights", (name, item) => asChoice(name, item, WEIGHT_CHOICES)),
    predictorWeights: list(args, "predictor-weights", (name, item) => asChoice(name, item, WEIGHT_CHOICES)),
    talker: list(args, "talker", (name, item) => asChoice(name, item, TALKER_CHOICES)),
    predictor: list(args, "predictor", (name, item) => asChoice(name, item, PREDICTOR_CHOICES)),
    speculate: list(args, "speculate", (name, item) => asChoice(name, item, SPECULATE_CHOICES)),
    threads: list(args, "threads", (name, item) => whole(name, asNumber(name, item), LIMITS.threads)),
    lanes: list(args, "lanes", (name, item) => whole(name, asNumber(name, item), LIMITS.lanes)),
  };
  const machine = readVocoder(args);
  const pretendedCodes = number(args, "accept") ?? 0;
  if (args.accept !== undefined && !(pretendedCodes >= 1 && pretendedCodes <= LIMITS.passRows))
    throw new TtsError(
      "USAGE",
      `--accept is ${pretendedCodes}`,
      `give codes per call, from 1 to ${LIMITS.passRows}`,
    );
  const defaults = loadConfig({ ...machine, pretendedCodes });
  let settings: Partial<WantedSetting>[] = [{}];
  for (const [name, values] of Object.entries(lists))
    settings = settings.flatMap((some) => values.map((value) => ({ ...some, [name]: value })));
  if (settings.length > MOST_SETTINGS)
    throw new TtsError(
      "USAGE",
      `these are ${settings.length} configurations`,
      `at most ${MOST_SETTINGS} are measured together`,
    );
  return settings.map(({ lanes, predictor, predictorWeights, speculate, talker, threads, weights }) => ({
    lanes: lanes ?? defaults.lanes,
    threads,
    talker: talker ?? defaults.talker,
    predictor: predictor ?? defaults.predictor,
    speculate: speculate ?? defaults.speculate,
    pretendedCodes,
    weights,
    predictorWeights,
    machine,
  }));
}

/** The values between the commas, each once; a single undefined if the option is not given. */
function list<Name extends string, T>(
  args: Text<Name>,
  name: Name,
  read: (name: Name, item: string) => T,
): (T | undefined)[] {
  const given = args[name];
  if (given === undefined) return [undefined];
  return [...new Set(given.split(",").map((item) => read(name, item.trim())))];
}

function whole(name: string, value: number, most: number): number {
  assertWhole(`--${name}`, value, 1, most);
  return value;
}
