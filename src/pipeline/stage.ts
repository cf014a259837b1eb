// The worker's side of every stage: opens it, says so, runs it, and sends every error home.

import { parentPort } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import { type Step, takeSteps } from "../../ffi/load/steps.ts";
import type { OnOpening, Opened } from "../backends/stage.ts";
import { toWire } from "../errors.ts";
import type { DrawLimits, StageName } from "../types.ts";
import type { FromStage, StageJob } from "./messages.ts";
import { settleThread } from "./placement.ts";

/** A stage as a thread, opened. */
interface Loop {
  readonly opened: Opened<unknown>;
}

/**
 * @param run runs the opened stage and ends the thread after it; `guard` reports errors and ends the thread
 */
export function runStage<Stage extends Loop>(
  stage: StageName,
  job: StageJob,
  open: (onOpening: OnOpening) => Stage,
  run: (loop: Stage, guard: (work: () => void) => void) => void,
  limitsOf: (loop: Stage) => DrawLimits | null = () => null,
): void {
  const loaded: Step = { what: "thread and modules", startMs: job.startedMs, endMs: monotonicMs() };
  const warnings = settleThread(stage, job.config);
  const send = (message: FromStage) => job.home.postMessage(message);
  const guard = (work: () => void) => {
    try {
      work();
    } catch (error) {
      send({ failed: toWire(error) });
      parentPort!.close();
    }
  };
  guard(() => {
    const loop = open((opening) => send({ opening }));
    const { name: backend, unused } = loop.opened;
    const steps = [loaded, ...takeSteps()];
    send({ ready: { stage, backend, unused, warnings, steps, drawLimits: limitsOf(loop) } });
    run(loop, guard);
  });
}

/** For a loop that blocks its thread until it ends. */
export function runToTheEnd(loop: { run(): void }): void {
  loop.run();
  parentPort!.close();
}
