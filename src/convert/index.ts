// From an official checkpoint directory to a bundle. The work runs in a worker; the bundle is written beside its place and renamed into it.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../config.ts";
import { fromWire } from "../errors.ts";
import { BUNDLE_FILES, isBundle } from "../formats/bundle.ts";
import type { FromMeasure, MeasureJob } from "../pipeline/messages.ts";
import type { Progress } from "../types.ts";
import { startWorker } from "../worker.ts";
import { buildFolder, buildInWorker, runInWorker, runWithProgress } from "./building.ts";
import { Conversion, type ConvertJob } from "./conversion.ts";

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
