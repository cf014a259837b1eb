// tts convert --target: has the model speak a few sentences, and hands what it said to the conversion for an
// NPU.

import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { loadConfig } from "../../config.ts";
import type { NpuRequest } from "../../convert/npu/index.ts";
import type { Engine, SpeakOptions } from "../../engine.ts";
import { TtsError } from "../../errors.ts";
import { isBundle } from "../../formats/bundle.ts";
import { isNpuFolder, MOST_NPU_FRAMES } from "../../formats/npu-folder.ts";
import { resolveModel } from "../../models/resolve.ts";
import {
  DEFAULT_RKNN_CHIP,
  NPU_BUILDS,
  NPU_TARGETS,
  type NpuTarget,
  RKNN_CHIP_NAMES,
  RKNN_CHIPS,
} from "../../npu-vendors.ts";
import { assertWhole } from "../../ranges.ts";
import { CODES_PER_FRAME, type TextMode } from "../../types.ts";
import { openEngine } from "./engine.ts";
import { clearProgress, log, showConversion, showProgress } from "./log.ts";
import { choice, number, type Options, readWeights, type Values, type weightOptions } from "./options.ts";
import { readVoice } from "./voice.ts";

/** Where the vocoder's Snakes run. */
const SNAKE_PLACES = ["npu", "cpu"] as const;
const GROUP = "For an NPU";

export const NPU_OPTIONS = {
  target: {
    type: "string",
    valueHint: NPU_TARGETS.join("|"),
    description: `Make graphs for an NPU: ${NPU_TARGETS.map((target) => `${target} for ${NPU_BUILDS[target].purpose}`).join(", ")}.`,
    group: GROUP,
  },
  chip: {
    type: "string",
    valueHint: RKNN_CHIP_NAMES.join("|"),
    description: `The Rockchip chip that the models are for. RK3566 and RK3568 run each other's. Default: ${DEFAULT_RKNN_CHIP}.`,
    group: GROUP,
  },
  cores: {
    type: "string",
    valueHint: "N",
    description: `Cores of Rockchip's NPU that a run takes, up to ${chipsByCores()}. With 1 the files are smaller, and sentences that are spoken side by side get a core each. Default: the vendor's library chooses.`,
    group: GROUP,
  },
  frames: {
    type: "string",
    valueHint: "N",
    description: `Frames that the vocoder decodes in a run, 1 to ${MOST_NPU_FRAMES}. With fewer, sound comes earlier; with more, each frame costs less. Default: ${MOST_NPU_FRAMES}.`,
    group: GROUP,
  },
  snakes: {
    type: "string",
    valueHint: SNAKE_PLACES.join("|"),
    description:
      "Where the vocoder's Snake activations run. With cpu, the NPU does only what comes before the first of them, and the CPU the rest: an RK3588 has no sine, and makes it of many operators. Default: npu.",
    group: GROUP,
  },
  voice: {
    type: "string",
    valueHint: "NAME|FILE",
    description: "The cloned voice that a Base model speaks with during the conversion.",
    group: GROUP,
  },
} as const satisfies Options;

/** Such as "3 on an rk3588, 2 on an rk3576 and 1 on the others". */
function chipsByCores(): string {
  const several = RKNN_CHIP_NAMES.filter((name) => RKNN_CHIPS[name].cores > 1);
  return `${several.map((name) => `${RKNN_CHIPS[name].cores} on an ${name}`).join(", ")} and 1 on the others`;
}

type NpuValues = Values<typeof NPU_OPTIONS>;

/**
 * What the model says; everything is measured on it. The sentences are short, because the CPU speaks each
 * one twice.
 */
const SENTENCES = [
  "The kettle is ready, and the time is seven forty five.",
  "Please close the window before you leave the house.",
];
const SEED = 1;
/** Limit per sentence: a model that never ends a sentence must not run for ever. */
const MAX_FRAMES = 64;

/**
 * Only what a conversion made may be replaced: anything else there is somebody's data.
 * @throws TtsError OUTPUT_FAILED
 */
export function assertReplaceable(
  output: string,
  isOurs: (folder: string) => boolean,
  otherwise: string,
): void {
  const isFree = !existsSync(output) || (statSync(output).isDirectory() && readdirSync(output).length === 0);
  if (!isFree && !isOurs(output))
    throw new TtsError("OUTPUT_FAILED", `${output} exists and is ${otherwise}`, "choose another place");
}

export async function convertForTarget(
  args: NpuValues & Values<ReturnType<typeof weightOptions>>,
  source: string,
  npu: NpuTarget,
  output = `${basename(resolve(source))}-${npu}`,
): Promise<void> {
  const { chip, cores } = readChip(args, npu);
  const frames = number(args, "frames") ?? MOST_NPU_FRAMES;
  assertWhole("--frames", frames, 1, MOST_NPU_FRAMES);
  const snakes = choice(args, "snakes", SNAKE_PLACES) ?? "npu";
  const voice = await readVoice(args.voice);
  assertReplaceable(output, isNpuFolder, "no folder of NPU models");
  if (isBundle(source))
    throw new TtsError(
      "MODEL_UNKNOWN",
      `${source} is a bundle`,
      "give the checkpoint directory that it was made of",
    );
  const before = performance.now();
  const config = loadConfig();
  const bundle = await resolveModel({
    model: source,
    config,
    ...readWeights(args),
    onProgress: showConversion,
  });
  const engine = await openEngine(
    { model: bundle.directory, vocoder: "ort" },
    MAX_FRAMES,
    positionsOf(voice),
  );
  const speeches = await speakAll(engine, voice).finally(() => engine.close());
  const { convertForNpu } = await import("../../convert/npu/index.ts");
  const request = {
    source,
    bundle,
    target: resolve(output),
    npu,
    chip,
    cores,
    frames,
    snakes,
    speeches,
    config,
  };
  await convertForNpu(request, showConversion);
  clearProgress();
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  log.info(
    `${output}: graphs of ${source} for ${npu}, made in ${seconds} s; next: build them as ${output}/README.md says`,
  );
}

/** @throws TtsError USAGE for what the target does not have */
function readChip(args: NpuValues, npu: NpuTarget): Pick<NpuRequest, "chip" | "cores"> {
  const foreign = (["chip", "cores"] as const).find((name) => args[name] !== undefined);
  if (npu !== "rknn") {
    if (foreign === undefined) return {};
    throw new TtsError(
      "USAGE",
      `--${foreign} is for --target rknn, not for ${npu}`,
      `leave --${foreign} out`,
    );
  }
  const chip = choice(args, "chip", RKNN_CHIP_NAMES) ?? DEFAULT_RKNN_CHIP;
  const cores = number(args, "cores");
  if (cores !== undefined) assertWhole(`--cores (${chip})`, cores, 1, RKNN_CHIPS[chip].cores);
  return { chip, cores };
}

/** Positions that the reference takes in a prompt, at most: one per character and one per frame. */
const positionsOf = (voice: SpeakOptions["voice"]) =>
  voice === undefined ? 0 : voice.text.length + (voice.codes?.length ?? 0) / CODES_PER_FRAME;

/** Speaks every sentence twice: greedily, and with the model's own sampling. */
async function speakAll(engine: Engine, voice: SpeakOptions["voice"]): Promise<NpuRequest["speeches"]> {
  const runs = SENTENCES.flatMap((words) => [true, false].map((greedy) => ({ words, greedy })));
  const speeches: NpuRequest["speeches"] = [];
  for (const [i, { greedy, words }] of runs.entries()) {
    showProgress("speaking, to measure", i, runs.length);
    const speech = engine.speak(words, { greedy, seed: SEED, maxFrames: MAX_FRAMES, voice });
    const frames: number[][] = speech.sentences.map(() => []);
    for await (const { codes, sentence } of speech) frames[sentence].push(...codes);
    const {
      language,
      speaker,
      textMode: mode,
    } = speech.settings as { speaker: string; language: string; textMode: TextMode; seed: number };
    const reference =
      voice === undefined
        ? null
        : { xVector: voice.xVector, text: voice.text, codes: voice.text === "" ? null : voice.codes };
    speech.sentences.forEach((sentence, at) => {
      if (frames[at].length < CODES_PER_FRAME) return;
      speeches.push({
        text: sentence,
        speaker,
        language,
        mode,
        reference,
        codes: Int32Array.from(frames[at]),
      });
    });
  }
  return speeches;
}
