// Starts worker threads. Each is this program again: tts.ts sees that it is not the main thread, and runs its
// role. This works the same from source and in a compiled binary.

import { type MessagePort, Worker } from "node:worker_threads";
import { settleEnvironment } from "../ffi/load/environment.ts";
import { ENTRY } from "./child.ts";

export type WorkerRole =
  | "talker"
  | "predictor"
  | "vocoder"
  | "decoder"
  | "encoder"
  | "convert"
  | "npu"
  | "replay"
  | "measure"
  | "probe"
  | "runner";
/** What every worker finds in its workerData. */
export interface WorkerStart<T = unknown> {
  role: WorkerRole;
  job: T;
}

/** @param ports of the job, which the worker gets for itself */
export function startWorker(role: WorkerRole, job: unknown, ports: MessagePort[] = []): Worker {
  settleEnvironment();
  return new Worker(ENTRY, { workerData: { role, job } satisfies WorkerStart, transferList: ports });
}
