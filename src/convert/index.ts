// From an official checkpoint directory to a bundle. The work runs in a worker; the bundle is written beside
// its place and renamed into it.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Config, threadsFor } from "../config.ts";
import { BUNDLE_FILES, isBundle, openBundle } from "../formats/bundle.ts";
import { runErrand } from "../pipeline/errand.ts";
import type { MeasureJob } from "../pipeline/messages.ts";
import type { Measured } from "../stages/measure.ts";
import type { Progress } from "../types.ts";
import { buildFolder, buildInWorker } from "./building.ts";
import { Conversion, type ConvertJob } from "./conversion.ts";

export interface ConvertRequest extends Omit<ConvertJob, "part" | "libraries"> {
  /** Its threads and cores serve to measure the predictor backends, by which `auto` chooses later. */
  config: Config;
}

/**
 * Converts in a worker, so that progress, Ctrl-C and timers go on. An existing bundle at `target` is replaced
 * when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, LIBRARY_*
 */
export function convert(
  { config, ...request }: ConvertRequest,
  onProgress: (progress: Progress) => void,
): Promise<void> {
  return buildFolder(request.target, isBundle, async (part) => {
    const job: ConvertJob = { ...request, part, libraries: config.libraries };
    await runErrand("convert", job, { title: "the conversion", onProgress });
    await measure(part, config);
  });
}

/** Adds to the manifest how fast each predictor backend is on this machine, and what is proven of it. */
async function measure(directory: string, config: Config): Promise<void> {
  const asSpoken = { ...config, ...threadsFor(openBundle(directory).manifest.shape.hidden, config) };
  const job: MeasureJob = { directory, config: asSpoken };
  const measured = await runErrand<Measured>("measure", job, {
    title: "the measurement of the code predictor",
  });
  const path = join(directory, BUNDLE_FILES.manifest);
  writeFileSync(
    path,
    `${JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...measured }, null, 1)}\n`,
  );
}

/** The worker's side: leaves the bundle at its part path. */
export function runConversion(job: ConvertJob): void {
  buildInWorker(job, (onProgress) => new Conversion(job, job.part, onProgress).run());
}
