// The worker's side of every stage: opens it, says so, runs it, and sends every error home.

import { parentPort } from "node:worker_threads";
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

const send = (message: FromStage) => parentPort!.postMessage(message);
const onOpening: OnOpening = (opening) => send({ opening });

function guard(work: () => void): void {
  try {
    work();
  } catch (error) {
    send({ failed: toWire(error) });
    parentPort!.close();
  }
}

/** @param run runs the opened stage and ends the thread after it */
function runStage<Stage extends Loop>(
  stage: StageName,
  job: StageJob,
  open: () => Stage,
  run: (loop: Stage) => void,
  limitsOf: (loop: Stage) => DrawLimits | null = () => null,
): void {
  const warnings = settleThread(stage, job.config);
  guard(() => {
    const loop = open();
    const { name: backend, unused } = loop.opened;
    send({ ready: { stage, backend, unused, warnings, drawLimits: limitsOf(loop) } });
    run(loop);
  });
}

export function runTalker(job: StageJob): void {
  runStage(
    "talker",
    job,
    () => new TalkerLoop(job, onOpening),
    (loop) => loop.listen(guard), // it ends by itself
  );
}

export function runPredictor(job: StageJob): void {
  const limits = (predictor: Predictor) => predictor.drawsInside ?? null;
  runStage(
    "predictor",
    job,
    () => new PredictorLoop(job, onOpening),
    runToTheEnd,
    (loop) => limits(loop.opened.stage),
  );
}

export function runVocoder(job: StageJob): void {
  runStage("vocoder", job, () => new VocoderLoop(job, onOpening), runToTheEnd);
}

function runToTheEnd(loop: { run(): void }): void {
  loop.run();
  parentPort!.close();
}
