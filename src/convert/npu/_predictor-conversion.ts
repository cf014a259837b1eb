// The code predictor's parts of a folder for an NPU: its graphs and their calibration inputs.

import type { WeightType } from "../../config.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import type { NpuManifest } from "../../formats/npu-folder.ts";
import type { Graph } from "../../formats/onnx.ts";
import { NPU_NAMES, NPU_VENDORS, type NpuTarget } from "../../npu-vendors.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import { predictorHeadsGraph } from "../onnx/predictor.ts";
import type { Step } from "../steps.ts";
import { CalibrationSet } from "./_calibration.ts";
import { PartChain } from "./_chain.ts";
import { describePart, GRAPH_COST, graphPath, THREADS } from "./_parts.ts";
import { recordPredictor, type Speech } from "./_recorded-predictor.ts";
import { predictorFrameGraph, predictorStepGraph } from "./predictor.ts";

/** Runs that are recorded for a toolkit. It is prime, so that an even spread meets steps of every kind. */
const CALIBRATION_RUNS = 37;
/** Guessed seconds per step, as {@link GRAPH_COST} is per graph. */
const STEP_COST = 0.02;
const PART = { step: "predictor-step", heads: "predictor-heads", frame: "predictor-frame" } as const;

interface PredictorJob {
  npu: NpuTarget;
  /** Where the folder is made. */
  part: string;
  /** The weight type of the heads. */
  weights: WeightType;
  speeches: readonly Speech[];
}

/** Whether some vendor runs the code predictor on models for this target. */
export const takesPredictor = (target: NpuTarget) =>
  NPU_NAMES.some((vendor) => NPU_VENDORS[vendor].target === target && NPU_VENDORS[vendor].predictor !== null);

/** @param parts receives the manifest's entries when the steps run */
export function predictorSteps(
  checkpoint: Checkpoint,
  job: PredictorJob,
  parts: NpuManifest["predictor"],
): Step[] {
  const frames = job.speeches.reduce((sum, { codes }) => sum + codes.length / CODES_PER_FRAME, 0);
  const graph = (title: string, name: string, build: () => Graph): Step => ({
    title,
    cost: GRAPH_COST,
    run: () => build().savePortable(graphPath(job.part, name)),
  });
  return [
    graph("code predictor, a step", PART.step, () => predictorStepGraph(checkpoint, {})),
    graph("code predictor, its heads", PART.heads, () => predictorHeadsGraph(checkpoint, job.weights, 1)),
    graph("code predictor, a frame", PART.frame, () => predictorFrameGraph(checkpoint, {})),
    {
      title: "calibration of the code predictor",
      cost: STEP_COST * frames * (CODES_PER_FRAME - 1),
      run: (advance) => record(checkpoint, job, parts, advance),
    },
  ];
}

function record(
  checkpoint: Checkpoint,
  { part, speeches }: PredictorJob,
  parts: NpuManifest["predictor"],
  advance: (share: number) => void,
): void {
  const open = (name: string) => {
    const chain = new PartChain([graphPath(part, name)], THREADS);
    const described = describePart(chain, 0, name, "npu");
    return { chain, described, set: new CalibrationSet(part, name, described.inputs) };
  };
  const [step, frame] = [open(PART.step), open(PART.frame)];
  const heads = new PartChain([graphPath(part, PART.heads)], THREADS);
  Object.assign(parts, {
    step: step.described,
    heads: describePart(heads, 0, PART.heads, "cpu"),
    frame: frame.described,
  });
  heads.close();
  recordPredictor(checkpoint, speeches, { step, frame }, CALIBRATION_RUNS, advance);
  for (const { chain, set } of [step, frame]) {
    chain.close();
    set.close();
  }
}
