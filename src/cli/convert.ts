// tts convert: a checkpoint directory to a bundle, by hand.

import { existsSync, readdirSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { isBundle, weightsInWords } from "../bundle.ts";
import { loadConfig, weightTypes } from "../config.ts";
import { TtsError } from "../errors.ts";
import { clearProgress, log, showConversion } from "./_log.ts";
import type { Command } from "./_manual.ts";
import { COMMON, type Options, readWeights, weightOptions } from "./_options.ts";
import { filePath } from "./_output.ts";

const options: Options = {
  output: { type: "string", alias: "o", valueHint: "BUNDLE", description: "Folder of the new bundle. Needed.", group: "Output" },
  ...weightOptions("f32", "Output"),
  ...COMMON,
};

export const command: Command = {
  synopsis: "convert DIR -o BUNDLE [OPTIONS]",
  description: [
    "Turns an official Qwen3-TTS checkpoint directory into the form that the program runs. Speaking does this by itself, into the cache; by hand you choose the place and the weight type.",
    "The bundle appears when it is whole: an interrupted conversion leaves nothing, and a bundle that was there stays until then. models/MODEL.md describes the files.",
  ],
  examples: [["tts convert ~/Qwen3-TTS-12Hz-0.6B-CustomVoice -o ~/ryan --weights q8_0", 'then: tts -m ~/ryan -s ryan "Hello."']],
  definition: defineCommand({
    meta: { name: "tts convert", description: "turn a checkpoint into a bundle" },
    args: options,
    run: ({ args, data }) => convertCommand(args, (data as { positionals: string[] }).positionals),
  }),
};

async function convertCommand(args: Record<string, unknown>, positionals: string[]): Promise<void> {
  const output = filePath(args, "output");
  if (positionals.length !== 1 || output === undefined) {
    throw new TtsError("USAGE", "convert needs one checkpoint directory and -o BUNDLE", "write tts convert DIR -o BUNDLE");
  }
  const chosen = readWeights(args);
  const weights = weightTypes(chosen.weights ?? "f32", chosen.predictorWeights);
  const [source] = positionals;
  if (!existsSync(source) || !statSync(source).isDirectory())
    throw new TtsError("MODEL_UNKNOWN", `${source} is no directory`, "give a checkpoint directory");
  const target = resolve(output);
  // Only a bundle may be replaced: anything else there is somebody's data.
  if (existsSync(target) && !isBundle(target) && !(statSync(target).isDirectory() && readdirSync(target).length === 0)) {
    throw new TtsError("OUTPUT_FAILED", `${output} exists and is no bundle`, "choose another place");
  }
  const { convert } = await import("../convert/index.ts");
  const before = performance.now();
  await convert({ source, target, weights, libraries: loadConfig().libraries }, showConversion);
  clearProgress();
  log.info(
    `${output}: bundle of ${source} with ${weightsInWords(weights)} weights, made in ${((performance.now() - before) / 1000).toFixed(1)} s`,
  );
}
