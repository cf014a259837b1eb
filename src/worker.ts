// Starts the worker threads. Every worker is this program again: tts.ts sees that it is not the main thread and runs its role,
// which works the same from source and in a compiled binary.

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

export type WorkerRole = "talker" | "predictor" | "vocoder" | "encoder" | "convert" | "measure" | "probe";

/** What every worker finds in its workerData. */
export interface WorkerStart<T = unknown> {
  role: WorkerRole;
  job: T;
}

const compiled = import.meta.url.startsWith("file:///$bunfs/");
const entry = compiled ? Bun.main : fileURLToPath(new URL("../tts.ts", import.meta.url));

export function startWorker(role: WorkerRole, job: unknown): Worker {
  return new Worker(entry, { workerData: { role, job } satisfies WorkerStart });
}
