#!/usr/bin/env bun
// Entry of everything: the command line on the main thread, one stage or job in a worker, or a job that may crash in a process of its own.

import { isMainThread, workerData } from "node:worker_threads";
import { answerAsChild, childStart, type WorkerStart } from "./src/worker.ts";

const child = isMainThread ? childStart(process.argv.slice(2)) : null;
if (child !== null) {
  const { job, role } = child;
  await answerAsChild(async () => {
    if (role === "speed") return (await import("./src/machine/compute-speed.ts")).runSpeed(job as never);
    return (await import("./src/machine/libraries.ts")).runLibrary(job as never);
  });
} else if (isMainThread) {
  const { main } = await import("./src/cli/index.ts");
  await main(process.argv.slice(2));
} else {
  const { role, job } = workerData as WorkerStart;
  if (role === "convert") (await import("./src/convert/index.ts")).runConversion(job as never);
  else if (role === "npu") (await import("./src/convert/npu/index.ts")).runNpuConversion(job as never);
  else if (role === "record") (await import("./src/pipeline/replay.ts")).runRecord(job as never);
  else if (role === "measure") (await import("./src/pipeline/measure.ts")).runMeasure(job as never);
  else if (role === "encoder") (await import("./src/pipeline/encoder.ts")).runEncoder(job as never);
  else if (role === "probe") (await import("./src/machine/memory-speed.ts")).runProbe(job as never);
  else (await import("./src/pipeline/stage.ts")).runStage(role, job as never);
}
