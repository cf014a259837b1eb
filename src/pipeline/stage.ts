// The worker's side of every stage: opens it, says so, runs it, and sends every error home.

import { parentPort } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import { type Step, takeSteps } from "../../ffi/load/steps.ts";
import type { OnOpening, Opened, Predictor } from "../backends/stage.ts";
import { toWire } from "../errors.ts";
import type { DrawLimits, StageName } from "../types.ts";
import type { FromStage, StageJob } from "./messages.ts";
import { settleThread } from "./placement.ts";
import { PredictorLoop } from "./predictor-loop.ts";
import { TalkerLoop } from "./talker-loop.ts";
import { VocoderLoop } from "./vocoder-loop.ts";

/** A stage as a thread, opened. */
interface Loop {
  readonly opened: Opened<unknown>;
}

/**
 * @param run runs the opened stage and ends the thread after it; `guard` reports errors and ends the thread
 */
function runStage<Stage extends Loop>(
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

export function runTalker(job: StageJob): void {
  runStage(
    "talker",
    job,
    (onOpening: OnOpening) => new TalkerLoop(job, onOpening),
    (loop, guard) => loop.listen(guard), // it ends by itself
  );
}

export function runPredictor(job: StageJob): void {
  const limits = (predictor: Predictor) => predictor.drawsInside ?? null;
  runStage(
    "predictor",
    job,
    (onOpening: OnOpening) => new PredictorLoop(job, onOpening),
    runToTheEnd,
    (loop) => limits(loop.opened.stage),
  );
}

export function runVocoder(job: StageJob): void {
  runStage("vocoder", job, (onOpening: OnOpening) => new VocoderLoop(job, onOpening), runToTheEnd);
}

function runToTheEnd(loop: { run(): void }): void {
  loop.run();
  parentPort!.close();
}
