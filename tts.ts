#!/usr/bin/env bun
// The entry of the program: the command line on the main thread, one stage or errand in a worker, or a job
// that may crash in a process of its own.

import { isMainThread, workerData } from "node:worker_threads";
import { answerAsChild, type ChildRole, childStart, programArguments } from "./src/child.ts";
import type { WorkerRole, WorkerStart } from "./src/worker.ts";

/** Does a role's job. Only the role and the code that starts it know what the job is made of. */
type Runner = (job: never) => unknown;

const WORKERS: Record<WorkerRole, () => Promise<Runner>> = {
  talker: async () => (await import("./src/pipeline/talker-loop.ts")).runTalker,
  predictor: async () => (await import("./src/pipeline/predictor-loop.ts")).runPredictor,
  vocoder: async () => (await import("./src/pipeline/vocoder-loop.ts")).runVocoder,
  decoder: async () => (await import("./src/pipeline/errands.ts")).runDecoder,
  encoder: async () => (await import("./src/pipeline/errands.ts")).runEncoder,
  measure: async () => (await import("./src/pipeline/errands.ts")).runMeasure,
  replay: async () => (await import("./src/pipeline/errands.ts")).runReplay,
  convert: async () => (await import("./src/convert/index.ts")).runConversion,
  npu: async () => (await import("./src/convert/npu/index.ts")).runNpuConversion,
  runner: async () => (await import("./src/backends/npu/runner.ts")).runRunner,
  probe: async () => (await import("./src/machine/memory-speed.ts")).runProbe,
};

const CHILDREN: Record<ChildRole, () => Promise<Runner>> = {
  library: async () => (await import("./src/machine/libraries.ts")).runLibrary,
  speed: async () => (await import("./src/machine/compute-speed.ts")).runSpeed,
};

const args = isMainThread ? programArguments() : [];
const child = isMainThread ? childStart(args) : null;
if (child !== null) await answerAsChild(async () => (await CHILDREN[child.role]())(child.job as never));
else if (isMainThread) await (await import("./src/cli/index.ts")).main(args);
else {
  const { role, job } = workerData as WorkerStart;
  (await WORKERS[role]())(job as never);
}
