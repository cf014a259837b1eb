// From a checkpoint to a folder for an NPU: graphs of fixed shapes, calibration inputs of a real run, the
// files for the vendor's toolkit, and a manifest (src/formats/npu-folder.ts). The user runs the toolkit,
// which may not be shipped with this program. The work runs in a worker.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { CONTEXT_POSITIONS, type Config, LIMITS, threadsFor, type WeightType } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { openCheckpoint } from "../../formats/checkpoint.ts";
import { isNpuFolder, NPU_MANIFEST, type NpuManifest, newNpuManifest } from "../../formats/npu-folder.ts";
import { vocoderMultiplications } from "../../machine/frame-cost.ts";
import { DEFAULT_RKNN_CHIP, type NpuTarget, type RknnChip } from "../../npu-vendors.ts";
import { runErrand } from "../../pipeline/errand.ts";
import type { ReplayJob } from "../../pipeline/messages.ts";
import type { SpokenText } from "../../stages/replay.ts";
import { CODES_PER_FRAME, type Progress } from "../../types.ts";
import { buildFolder, buildInWorker } from "../building.ts";
import { hashStep, runSteps, type Step } from "../steps.ts";
import { predictorSteps, takesPredictor } from "./_predictor-conversion.ts";
import type { Speech } from "./_recorded-predictor.ts";
import { npuReadme, toolkitFiles } from "./_toolkits.ts";
import { SELF_TEST, VocoderConversion } from "./_vocoder-conversion.ts";

export interface NpuRequest {
  /** A checkpoint directory. */
  source: string;
  /** A bundle of that checkpoint, which made the speeches. */
  bundle: Bundle;
  target: string;
  npu: NpuTarget;
  /** The Rockchip chip; default {@link DEFAULT_RKNN_CHIP}. */
  chip?: RknnChip;
  /** Cores of the NPU that a run takes; default: the vendor's library chooses. */
  cores?: number;
  /** Frames of one run of the vocoder. */
  frames: number;
  /** Where the vocoder's Snakes run. */
  snakes: "npu" | "cpu";
  /** What the model has said; all measuring is done on it. The first speech becomes the self-test. */
  speeches: SpokenText[];
  /** The talker replays the speeches with its threads and cores. */
  config: Config;
}

interface NpuJob extends Omit<NpuRequest, "bundle" | "speeches" | "config"> {
  part: string;
  libraries: Pick<Config["libraries"], "onnxruntime">;
  /** The weight type of the code predictor's heads. */
  weights: WeightType;
  name: string;
  speeches: Speech[];
}

/** Inside the folder while it is made. */
const WORK = "work";

/**
 * Converts in a worker. A folder of this kind at `target` is replaced when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, MODEL_UNSUITABLE when nothing was said, LIBRARY_*
 */
export function convertForNpu(
  { bundle, config, speeches, ...rest }: NpuRequest,
  onProgress: (progress: Progress) => void,
): Promise<void> {
  return buildFolder(rest.target, isNpuFolder, async (part) => {
    const hidden = takesPredictor(rest.npu)
      ? await replayTalker(bundle, config, speeches)
      : speeches.map(() => new Float32Array(0));
    const spoken = speeches.map(({ codes }, i) => ({ codes, hidden: hidden[i] }));
    const { name, weights } = bundle.manifest;
    const job: NpuJob = {
      ...rest,
      part,
      name,
      weights: weights.predictor,
      speeches: spoken,
      libraries: config.libraries,
    };
    await runErrand("npu", job, { title: "the conversion for an NPU", onProgress });
  });
}

/** The talker's states, f32 [frames, hidden] for each speech. */
function replayTalker(bundle: Bundle, config: Config, speeches: SpokenText[]): Promise<Float32Array[]> {
  const positions = speeches.map(({ codes, reference }) => {
    return ((reference?.codes?.length ?? 0) + codes.length) / CODES_PER_FRAME + (reference?.text.length ?? 0);
  });
  const contextPositions = Math.min(CONTEXT_POSITIONS + Math.max(...positions), LIMITS.contextPositions);
  const asSpoken = {
    ...config,
    ...threadsFor(bundle.manifest.shape.hidden, config),
    lanes: 1,
    contextPositions,
  };
  return runErrand("replay", { bundle, config: asSpoken, speeches } satisfies ReplayJob, {
    title: "the replay of the talker",
  });
}

/** The worker's side: leaves the folder at its part path. */
export function runNpuConversion(job: NpuJob): void {
  buildInWorker(job, (onProgress) => writeFolder(job, onProgress));
}

function writeFolder(job: NpuJob, onProgress: (progress: Progress) => void): void {
  const { cores = null, frames, name, npu, part, snakes, source } = job;
  const work = join(part, WORK);
  const chip = npu === "rknn" ? (job.chip ?? DEFAULT_RKNN_CHIP) : null;
  const vocoder = new VocoderConversion({ ...job, chip, work });
  if (!vocoder.hasRuns)
    throw new TtsError(
      "MODEL_UNSUITABLE",
      `${name} said nothing that could be measured`,
      "check that tts speaks with it",
    );
  loadOnnxRuntime(job.libraries.onnxruntime);
  mkdirSync(work);
  const checkpoint = openCheckpoint(source);
  const predictor: NpuManifest["predictor"] = { step: null, heads: null, frame: null };
  const hashes: NpuManifest["source"] = {};
  const steps: Step[] = [
    ...vocoder.steps(checkpoint),
    ...(takesPredictor(npu) ? predictorSteps(checkpoint, job, predictor) : []),
    hashStep(source, hashes),
  ];
  runSteps(steps, checkpoint, onProgress);
  checkpoint.close();
  rmSync(work, { recursive: true });
  const { leastSnrDb, file } = SELF_TEST;
  const selfTest = { file, leastSnrDb };
  const counts = vocoderMultiplications(source);
  const manifest = newNpuManifest({
    target: npu,
    chip,
    cores,
    tensors: "f32",
    name,
    frames,
    multiplications:
      counts === null ? null : { npu: counts[snakes === "npu" ? "all" : "front"], all: counts.all },
    vocoder: vocoder.parts,
    predictor,
    selfTest,
    source: hashes,
  });
  for (const [path, text] of toolkitFiles(manifest))
    writeFileSync(join(part, path), text, { mode: path.endsWith(".sh") ? 0o755 : 0o644 });
  writeFileSync(join(part, "README.md"), npuReadme(manifest, snakes));
  writeFileSync(join(part, NPU_MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
}
