// From an official checkpoint directory to a bundle. The work runs in a worker; the bundle is written beside its place and renamed into it.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BUNDLE_FILES, isBundle } from "../bundle.ts";
import { type Config, loadConfig, type WeightTypes } from "../config.ts";
import { fromWire } from "../errors.ts";
import type { FromMeasure, MeasureJob } from "../pipeline/wire.ts";
import type { Progress } from "../store.ts";
import { startWorker } from "../worker.ts";
import { buildFolder, buildInWorker, runInWorker, runWithProgress } from "./_building.ts";
import { Conversion } from "./conversion.ts";

export interface ConvertJob {
  source: string;
  /** Named in errors; the bundle is written at `part` and moved there by the caller. */
  target: string;
  part: string;
  /** What the model is called; default: the checkpoint's folder. */
  name?: string;
  weights: WeightTypes;
  libraries: Pick<Config["libraries"], "llama" | "onnxruntime">;
}

/**
 * Converts in a worker, so that progress, Ctrl-C and timers go on. An existing bundle at `target` is replaced when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, LIBRARY_*
 */
export function convert(request: Omit<ConvertJob, "part">, onProgress: (progress: Progress) => void): Promise<void> {
  return buildFolder(request.target, isBundle, async (part) => {
    const job: ConvertJob = { ...request, part };
    await runWithProgress(startWorker("convert", job), onProgress);
    await measure(part, job.libraries);
  });
}

/** Adds to the manifest which predictor backend is how fast on this machine. */
async function measure(directory: string, libraries: ConvertJob["libraries"]): Promise<void> {
  const config = loadConfig();
  const job: MeasureJob = { directory, config: { ...config, libraries: { ...config.libraries, ...libraries } } };
  let predictorMs = {};
  await runInWorker(startWorker("measure", job), (message: FromMeasure) => {
    if ("failed" in message) throw fromWire(message.failed);
    ({ predictorMs } = message);
    return true;
  });
  const path = join(directory, BUNDLE_FILES.manifest);
  writeFileSync(path, `${JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), predictorMs }, null, 1)}\n`);
}

/** The worker's side: leaves the bundle at its part path. Failures go to the main thread; there itself they are thrown. */
export function runConversion(job: ConvertJob): void {
  buildInWorker(job, (onProgress) => new Conversion(job, job.part, onProgress).run());
}
