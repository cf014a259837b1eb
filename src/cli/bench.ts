// tts bench: medians of speaking on this machine. Prints, never judges.

import { existsSync, mkdirSync, renameSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { defineCommand } from "citty";
import { printText } from "../audio/output.ts";
import { loadConfig, PREDICTOR_CHOICES, WEIGHT_CHOICES } from "../config.ts";
import { SYNTHETIC_SIZES, type SyntheticSize } from "../convert/synthetic.ts";
import type { Summary } from "../engine.ts";
import { TtsError } from "../errors.ts";
import { partPath, removeAbandonedParts } from "../parts.ts";
import { clearProgress, log, showProgress } from "./_log.ts";
import type { Command } from "./_manual.ts";
import { COMMON, choice, number, type Options, text } from "./_options.ts";
import { openEngine } from "./_run.ts";

const TEXT = "The kettle is ready. The time is seven forty five.";
/** A random model does not end by itself. */
const DEFAULT_FRAMES = 50;
const DEFAULT_REPEAT = 5;
/** Checkpoint and bundle together, with room to spare. */
const SYNTHETIC_BYTES: Record<SyntheticSize, number> = { "0.6b": 6e9, "1.7b": 13e9 };

const options: Options = {
  synthetic: {
    type: "string",
    valueHint: "0.6b|1.7b",
    description: "Measure a model of full size with random weights; it is made once, in the cache.",
    group: "What",
  },
  model: { type: "string", alias: "m", valueHint: "DIR|NAME", description: "Measure this model. Default: starter.", group: "What" },
  weights: { type: "string", valueHint: "TYPE", description: `Weight type: ${WEIGHT_CHOICES.join(", ")}.`, group: "What" },
  predictor: { type: "string", valueHint: "auto|ort|llama", description: "What runs the code predictor.", group: "How" },
  threads: { type: "string", valueHint: "N", description: "Threads for talker and code predictor. Default: 1.", group: "How" },
  frames: { type: "string", valueHint: "N", description: `Frames of a run. Default: ${DEFAULT_FRAMES}.`, group: "How" },
  repeat: { type: "string", valueHint: "N", description: `Runs after one that warms up. Default: ${DEFAULT_REPEAT}.`, group: "How" },
  json: { type: "boolean", description: "Print the medians as one JSON object.", group: "Output" },
  ...COMMON,
};

export const command: Command = {
  synopsis: "bench [OPTIONS]",
  description: [
    "Speaks the same sentence several times and prints medians: real-time factor, time to first sound, milliseconds per frame of each stage, memory.",
    "Machines are noisy: compare medians of runs that were made one after the other.",
  ],
  examples: [
    ["tts bench", "the starter voice"],
    ["tts bench --synthetic 0.6b --weights q4_0", "what a 0.6B model would do on this machine, without having one"],
  ],
  definition: defineCommand({
    meta: { name: "tts bench", description: "measure this machine" },
    args: options,
    run: ({ args }) => bench(args),
  }),
};

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function bench(args: Record<string, unknown>): Promise<void> {
  const synthetic = choice(args, "synthetic", SYNTHETIC_SIZES);
  const weights = choice(args, "weights", WEIGHT_CHOICES);
  const predictor = choice(args, "predictor", PREDICTOR_CHOICES);
  const frames = number(args, "frames") ?? DEFAULT_FRAMES;
  const repeat = number(args, "repeat") ?? DEFAULT_REPEAT;
  if (!Number.isSafeInteger(repeat) || repeat < 1 || repeat > 1000)
    throw new TtsError("USAGE", `--repeat is ${repeat}`, "give a whole number from 1 to 1000");
  const model = synthetic === undefined ? text(args, "model") : await syntheticCheckpoint(synthetic);
  const before = performance.now();
  const engine = await openEngine({ model, weights, predictor, threads: number(args, "threads") }, frames);
  const openMs = performance.now() - before;
  const runs: Summary[] = [];
  for (let run = 0; run <= repeat; run++) {
    showProgress("measuring", run, repeat + 1);
    const speech = engine.speak(TEXT, { greedy: true, seed: 1, maxFrames: frames });
    for await (const _ of speech);
    if (run > 0) runs.push(speech.summary());
  }
  clearProgress();
  const rssMb = process.memoryUsage().rss / 1e6;
  await engine.close();
  await print(medians(runs), { openMs, rssMb, repeat, weights: engine.manifest.weights }, args.json === true);
}

function medians(runs: Summary[]): Summary {
  const of = (pick: (summary: Summary) => number) => median(runs.map(pick));
  return {
    ...runs[0],
    wallSeconds: of((run) => run.wallSeconds),
    rtf: of((run) => run.rtf),
    firstAudioMs: of((run) => run.firstAudioMs),
    msPerFrame: {
      talker: of((run) => run.msPerFrame.talker),
      predictor: of((run) => run.msPerFrame.predictor),
      vocoder: of((run) => run.msPerFrame.vocoder),
    },
  };
}

async function print(
  summary: Summary,
  run: { openMs: number; rssMb: number; repeat: number; weights: string },
  json: boolean,
): Promise<void> {
  if (json) return printText(`${JSON.stringify({ ...summary, ...run })}\n`);
  const { talker, predictor, vocoder } = summary.msPerFrame;
  const rows: [string, string][] = [
    ["model", `${summary.model}, ${run.weights}; predictor ${summary.backends.predictor}`],
    ["runs", `median of ${run.repeat}, ${summary.frames} frames (${summary.audioSeconds} s) each`],
    ["opening", `${run.openMs.toFixed(0)} ms`],
    ["RTF", summary.rtf.toFixed(3)],
    ["first audio", `${summary.firstAudioMs.toFixed(0)} ms`],
    ["ms per frame", `talker ${talker.toFixed(2)}, predictor ${predictor.toFixed(2)}, vocoder ${vocoder.toFixed(2)}`],
    ["memory", `${run.rssMb.toFixed(0)} MB, mapped files included`],
  ];
  await printText(rows.map(([name, value]) => `${name.padEnd(14)}${value}\n`).join(""));
}

/** Made beside its place and renamed, so that a run that was cut off leaves none. */
async function syntheticCheckpoint(size: SyntheticSize): Promise<string> {
  const { writeSyntheticCheckpoint } = await import("../convert/synthetic.ts");
  const target = join(loadConfig().cacheDir, "synthetic", size);
  if (existsSync(target)) return target;
  mkdirSync(join(target, ".."), { recursive: true, mode: 0o700 });
  const { bavail, bsize } = statfsSync(join(target, ".."));
  if (bavail * bsize < SYNTHETIC_BYTES[size]) {
    throw new TtsError(
      "OUTPUT_FAILED",
      `a ${size} model of random weights needs ${SYNTHETIC_BYTES[size] / 1e9} GB in ${target}`,
      "free space, or set TTS_CACHE",
    );
  }
  log.info(`making a ${size} checkpoint of random weights in ${target}`);
  removeAbandonedParts(target);
  const part = partPath(target);
  const cleanUp = () => rmSync(part, { recursive: true, force: true });
  process.once("exit", cleanUp);
  writeSyntheticCheckpoint(part, size, (done, total) => showProgress("random weights", done, total));
  renameSync(part, target);
  process.off("exit", cleanUp);
  clearProgress();
  return target;
}
