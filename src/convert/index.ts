// From an official checkpoint directory to a bundle. The work runs in a worker; the bundle is written beside its place and renamed into it.

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parentPort, type Worker } from "node:worker_threads";
import { BUNDLE_FILES, isBundle } from "../bundle.ts";
import { type Config, loadConfig, type WeightTypes } from "../config.ts";
import { type ErrorOnTheWire, fromWire, TtsError, toWire } from "../errors.ts";
import { partPath, removeAbandonedParts } from "../parts.ts";
import type { FromMeasure, MeasureJob } from "../pipeline/wire.ts";
import type { Progress } from "../store.ts";
import { startWorker } from "../worker.ts";
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

type Report = { progress: Progress } | { error: ErrorOnTheWire } | { finished: true };

/**
 * Converts in a worker, so that progress, Ctrl-C and timers go on. An existing bundle at `target` is replaced when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, LIBRARY_*
 */
export async function convert(request: Omit<ConvertJob, "part">, onProgress: (progress: Progress) => void): Promise<void> {
  const part = partPath(request.target);
  const job: ConvertJob = { ...request, part };
  const cleanUp = () => rmSync(part, { recursive: true, force: true });
  removeAbandonedParts(job.target);
  process.once("exit", cleanUp);
  try {
    await runInWorker(startWorker("convert", job), (report: Report) => {
      if ("progress" in report) onProgress(report.progress);
      else if ("error" in report) throw fromWire(report.error);
      return "finished" in report;
    });
    await measure(part, job.libraries);
    moveIntoPlace(part, job.target);
  } finally {
    process.off("exit", cleanUp);
    cleanUp();
  }
}

/** Listens until `finish` says that all is done, or throws. */
async function runInWorker<Message>(worker: Worker, finish: (message: Message) => boolean): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  worker.on("error", reject);
  worker.on("exit", () => reject(new TtsError("STAGE_DIED", "the conversion ended without a result")));
  worker.on("message", (message: Message) => {
    try {
      if (finish(message)) resolve();
    } catch (error) {
      reject(error);
    }
  });
  try {
    await promise;
  } finally {
    await worker.terminate();
  }
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

/** The old bundle steps aside for an instant; a program that has it open keeps its files. */
function moveIntoPlace(part: string, target: string): void {
  const old = `${part}.old`;
  const replaces = existsSync(target);
  try {
    if (replaces) renameSync(target, old);
    renameSync(part, target);
  } catch (cause) {
    if (existsSync(old) && !existsSync(target)) renameSync(old, target);
    const finishedByAnother = isBundle(target) && !replaces;
    if (!finishedByAnother)
      throw new TtsError("OUTPUT_FAILED", `cannot move the new bundle to ${target}: ${(cause as Error).message}`, "", { cause });
  }
  rmSync(old, { recursive: true, force: true });
}

/** The worker's side: leaves the bundle at its part path. Failures go to the main thread; there itself they are thrown. */
export function runConversion(job: ConvertJob): void {
  const send = (report: Report) => parentPort?.postMessage(report);
  try {
    mkdirSync(job.part, { recursive: true, mode: 0o755 });
    new Conversion(job, job.part, (progress) => send({ progress })).run();
    send({ finished: true });
  } catch (error) {
    const failure = asOutputError(error, job.target);
    if (parentPort === null) throw failure;
    send({ error: toWire(failure) });
  }
}

/** Failures of the file system while writing name the target and what to do. */
function asOutputError(error: unknown, target: string): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const hints: Record<string, string> = {
    ENOSPC: "free disk space",
    EACCES: "choose a folder you may write to",
    EROFS: "choose a writable disk",
    EDQUOT: "free disk space",
  };
  if (!(code in hints) && code !== "ENOTDIR" && code !== "EEXIST") return error;
  return new TtsError("OUTPUT_FAILED", `cannot write the bundle ${target}: ${(error as Error).message}`, hints[code] ?? "", {
    cause: error,
  });
}
