// tts convert: turns a checkpoint directory into a bundle, or into graphs for an NPU.

import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { loadConfig, type WeightTypes, weightsFor } from "../config.ts";
import { TtsError } from "../errors.ts";
import {
  assertFormable,
  FORMED_STAGES,
  type Form,
  type FormedStage,
  isBundle,
  weightsInWords,
} from "../formats/bundle.ts";
import { sourceBytes } from "../formats/checkpoint-files.ts";
import { NPU_TARGETS } from "../npu-vendors.ts";
import { type CommandData, defineCommand } from "./shared/command.ts";
import { clearProgress, log, showConversion } from "./shared/log.ts";
import { assertReplaceable, convertForTarget, NPU_OPTIONS } from "./shared/npu-conversion.ts";
import {
  COMMON,
  choice,
  filePath,
  type Options,
  readWeights,
  USUAL_WEIGHTS,
  type Values,
  weightOptions,
} from "./shared/options.ts";

const CHOICES = ["auto", "llama", "ort"] as const;
const formOption = (part: string) => ({
  type: "string" as const,
  valueHint: CHOICES.join("|"),
  description: `The form of the ${part} that the bundle gets: for libllama or for ONNX Runtime. auto makes both, measures them here and keeps the faster one. Default: auto.`,
  group: "Output",
});

/** Options of a bundle; folders for an NPU have nothing of the kind. */
const BUNDLE_OPTIONS = {
  native: {
    type: "boolean",
    description:
      "Lay the weights out for this processor: the bundle opens faster and takes less memory, but works only on machines with such a processor. Bundles in the cache are made so.",
    group: "Output",
  },
  talker: formOption("talker"),
  predictor: formOption("code predictor"),
} as const satisfies Options;

const options = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "BUNDLE",
    description:
      "Folder of the new bundle. Required without --target; with it, the default is NAME-TARGET in the current folder, NAME being the last part of DIR.",
    group: "Output",
  },
  ...weightOptions(USUAL_WEIGHTS, "Output"),
  ...BUNDLE_OPTIONS,
  ...NPU_OPTIONS,
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "turn a checkpoint into a bundle",
  synopsis: `convert DIR -o BUNDLE [OPTIONS]  |  tts convert DIR --target ${NPU_TARGETS.join("|")} [OPTIONS]`,
  description: [
    "Turns an official Qwen3-TTS checkpoint directory into the form that the program runs. Speaking does this by itself, into the cache; here you choose the place.",
    "The bundle appears only when it is whole: an interrupted conversion leaves nothing behind, and an older bundle stays until the new one replaces it. models/MODEL.md describes the files.",
    "With --target, it makes graphs of fixed shapes for an NPU instead. The model speaks here first: its numbers are measured, and for axcl recorded as calibration inputs. The folder has everything that the vendor's toolkit needs. The README.md in the folder says what to do next.",
  ],
  examples: [
    [
      "tts convert ~/Qwen3-TTS-12Hz-0.6B-CustomVoice -o ~/ryan --weights q8_0",
      'then: tts -m ~/ryan -s ryan "Hello."',
    ],
    [
      "tts convert ~/Qwen3-TTS-12Hz-0.6B-CustomVoice --target rknn --chip rk3576 -o ~/ryan-rknn",
      "for the NPU of an RK3576",
    ],
  ],
  options,
  run: convertCommand,
});

async function convertCommand(args: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  const output = filePath(args, "output");
  const target = choice(args, "target", NPU_TARGETS);
  if (positionals.length !== 1 || (output === undefined && target === undefined)) {
    throw new TtsError(
      "USAGE",
      "convert needs one checkpoint directory and -o BUNDLE",
      "write tts convert DIR -o BUNDLE",
    );
  }
  const [source] = positionals;
  if (!existsSync(source) || !statSync(source).isDirectory())
    throw new TtsError("MODEL_UNKNOWN", `${source} is no directory`, "give a checkpoint directory");
  if (target !== undefined) {
    refuseOptions(args, BUNDLE_OPTIONS, "for a bundle", "leave it or --target out");
    return convertForTarget(args, source, target, output);
  }
  refuseOptions(args, NPU_OPTIONS, "for an NPU", `add --target ${NPU_TARGETS.join(" or --target ")}`);
  const weights = weightsFor(sourceBytes(source), readWeights(args));
  const forms = readForms(args, weights);
  assertReplaceable(output!, isBundle, "no bundle");
  const { convert } = await import("../convert/index.ts");
  const before = performance.now();
  const arranged = args.native === true;
  await convert(
    { source, target: resolve(output!), weights, arranged, forms, config: loadConfig() },
    showConversion,
  );
  clearProgress();
  log.info(
    `${output}: bundle of ${source} with ${weightsInWords(weights)} weights, made in ${((performance.now() - before) / 1000).toFixed(1)} s`,
  );
}

/** @throws TtsError USAGE for an option of those that do not belong to what is made */
function refuseOptions(args: Values<typeof options>, refused: Options, purpose: string, hint: string): void {
  const given = Object.keys(refused).find((name) => args[name as keyof typeof args] !== undefined);
  if (given !== undefined) throw new TtsError("USAGE", `--${given} is ${purpose}`, hint);
}

/** @throws TtsError USAGE, MODEL_UNSUITABLE where weights of that type have no such form */
function readForms(args: Values<typeof options>, weights: WeightTypes): Partial<Record<FormedStage, Form>> {
  const forms: Partial<Record<FormedStage, Form>> = {};
  for (const stage of FORMED_STAGES) {
    const form = choice(args, stage, CHOICES) ?? "auto";
    if (form === "auto") continue;
    assertFormable(stage, form, weights);
    forms[stage] = form;
  }
  return forms;
}
