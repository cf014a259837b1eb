// From an official checkpoint directory to a bundle. The work runs in a worker; the bundle is written beside
// its place and renamed into it.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Config, threadsFor } from "../config.ts";
import {
  BUNDLE_FILES,
  FORMED_STAGES,
  FORMS,
  type Form,
  type FormedStage,
  fasterFirst,
  isBundle,
  openBundle,
} from "../formats/bundle.ts";
import { runErrand } from "../pipeline/errand.ts";
import type { Measured, MeasureJob } from "../pipeline/messages.ts";
import type { Progress } from "../types.ts";
import { buildFolder, buildInWorker } from "./building.ts";
import { Conversion, type ConvertJob } from "./conversion.ts";

/** Forms of talker and code predictor that a bundle keeps besides those that were faster here. */
export type KeptForms = Partial<Record<FormedStage, readonly Form[]>>;

export interface ConvertRequest extends Omit<ConvertJob, "part" | "libraries"> {
  /** Its threads and cores serve to measure the backends, by which `auto` chooses later. */
  config: Config;
  /** Default: none. */
  keep?: KeptForms;
}

/**
 * Converts in a worker, so that progress, Ctrl-C and timers go on. An existing bundle at `target` is replaced
 * when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, LIBRARY_*
 */
export function convert(
  { config, keep = {}, ...request }: ConvertRequest,
  onProgress: (progress: Progress) => void,
): Promise<void> {
  return buildFolder(request.target, isBundle, async (part) => {
    const job: ConvertJob = { ...request, part, libraries: config.libraries };
    await runErrand("convert", job, { title: "the conversion", onProgress });
    await choose(part, config, keep);
  });
}

/** Measures the backends on this machine. Of talker and code predictor the faster form stays, and `keep`. */
async function choose(directory: string, config: Config, keep: KeptForms): Promise<void> {
  const { manifest } = openBundle(directory);
  const asSpoken = { ...config, ...threadsFor(manifest.shape.hidden, config) };
  const job: MeasureJob = { directory, config: asSpoken };
  const measured = await runErrand<Measured>("measure", job, { title: "the measurement of the backends" });
  const files = { ...manifest.files };
  for (const stage of FORMED_STAGES) {
    const forms = fasterFirst({ ...manifest, ...measured }, stage);
    for (const form of forms.slice(1).filter((other) => !keep[stage]?.includes(other)))
      for (const name of Object.keys(files).filter((file) => FORMS[stage][form].files.test(file))) {
        rmSync(join(directory, name));
        delete files[name];
      }
  }
  const arranged = manifest.arranged && {
    ...manifest.arranged,
    files: manifest.arranged.files.filter((name) => name in files),
  };
  const path = join(directory, BUNDLE_FILES.manifest);
  writeFileSync(path, `${JSON.stringify({ ...manifest, ...measured, arranged, files }, null, 1)}\n`);
}

/** The worker's side: leaves the bundle at its part path. */
export function runConversion(job: ConvertJob): void {
  buildInWorker(job, (onProgress) => new Conversion(job, job.part, onProgress).run());
}
