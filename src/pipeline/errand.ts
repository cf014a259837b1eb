// An errand: one job for a worker of its own, with one answer, such as a conversion, a measurement or a
// recording to encode. Progress is reported meanwhile. The worker ends with the job, even if the job ends
// early.

import { parentPort } from "node:worker_threads";
import { type ErrorOnTheWire, fromWire, TtsError, toWire } from "../errors.ts";
import type { Progress } from "../types.ts";
import { startWorker, type WorkerRole } from "../worker.ts";

type FromErrand<Answer> = { progress: Progress } | { done: Answer } | { failed: ErrorOnTheWire };

export interface ErrandOptions {
  /** What the work is, for messages: "the conversion". */
  title: string;
  onProgress?: (progress: Progress) => void;
  /** Aborting it ends the work; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Default: no limit. */
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
 * The worker's side: sends the answer or the error home. On a main thread it only does the work, and errors
 * propagate.
 */
export function answerErrand<Answer>(work: (onProgress: (progress: Progress) => void) => Answer): void {
  const home = parentPort;
  if (home === null) {
    work(() => {});
    return;
  }
  const send = (message: FromErrand<Awaited<Answer>>) => home.postMessage(message);
  const fail = (error: unknown) => send({ failed: toWire(error) });
  try {
    const answer = work((progress) => send({ progress }));
    if (answer instanceof Promise) answer.then((done) => send({ done }), fail);
    else send({ done: answer as Awaited<Answer> });
  } catch (error) {
    fail(error);
  }
}
