// Work that a worker is given once and answers once: a conversion, a measurement, a recording to encode.
// Progress comes meanwhile; whatever ends it early, its worker ends, too.

import { parentPort } from "node:worker_threads";
import { type ErrorOnTheWire, fromWire, TtsError, toWire } from "../errors.ts";
import type { Progress } from "../types.ts";
import { startWorker, type WorkerRole } from "../worker.ts";

type FromErrand<Answer> = { progress: Progress } | { done: Answer } | { failed: ErrorOnTheWire };

export interface ErrandOptions {
  /** What the work is, for messages: "the conversion". */
  title: string;
  onProgress?: (progress: Progress) => void;
  /** Ends it: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Default: as long as it takes. */
  timeoutMs?: number;
}

/**
 * Has `role` do `job` in a worker of its own.
 * @throws TtsError what the work throws, STAGE_DIED when the worker ends without an answer, STAGE_TIMEOUT
 */
export async function runErrand<Answer>(
  role: WorkerRole,
  job: unknown,
  options: ErrandOptions,
): Promise<Answer> {
  const { onProgress = () => {}, signal, timeoutMs, title } = options;
  signal?.throwIfAborted();
  const worker = startWorker(role, job);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  worker.on("error", reject);
  worker.on("exit", () =>
    reject(new TtsError("STAGE_DIED", `${title} ended without a result`, "please report this")),
  );
  worker.on("message", (message: FromErrand<Answer>) => {
    if ("progress" in message) onProgress(message.progress);
    else if ("done" in message) resolve(message.done);
    else reject(fromWire(message.failed));
  });
  const abort = () => reject(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  const late = () =>
    reject(new TtsError("STAGE_TIMEOUT", `${title} was not done after ${timeoutMs! / 1000} s`));
  const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    await worker.terminate();
  }
}

/**
 * The worker's side: whatever goes wrong goes home. On a main thread the work is simply done, and what it
 * throws is thrown.
 */
export function answerErrand<Answer>(work: (onProgress: (progress: Progress) => void) => Answer): void {
  const home = parentPort;
  if (home === null) {
    work(() => {});
    return;
  }
  const send = (message: FromErrand<Answer>) => home.postMessage(message);
  try {
    send({ done: work((progress) => send({ progress })) });
  } catch (error) {
    send({ failed: toWire(error) });
  }
}
