#!/usr/bin/env bun
// Entry of everything: the command line on the main thread, one stage or job in a worker.

import { isMainThread, workerData } from "node:worker_threads";
import type { WorkerStart } from "./src/worker.ts";

if (isMainThread) {
  const { main } = await import("./src/cli/index.ts");
  await main(process.argv.slice(2));
} else {
  const { role, job } = workerData as WorkerStart;
  if (role === "convert") (await import("./src/convert/index.ts")).runConversion(job as never);
  else if (role === "measure") (await import("./src/pipeline/measure.ts")).runMeasure(job as never);
  else if (role === "encoder") (await import("./src/pipeline/encoder.ts")).runEncoder(job as never);
  else if (role === "probe") (await import("./src/bandwidth.ts")).runProbe(job as never);
  else (await import("./src/pipeline/stage.ts")).runStage(role, job as never);
}
