// The worker's side of every stage: opens it, says so, runs it, and sends home whatever goes wrong.

import { parentPort } from "node:worker_threads";
import type { OnOpening, Opened } from "../backends/stage.ts";
import { toWire } from "../errors.ts";
import type { DrawLimits, StageName } from "../types.ts";
import type { FromStage, StageJob } from "./messages.ts";
import { settleThread } from "./placement.ts";
import { PredictorStage } from "./predictor.ts";
import { TalkerStage } from "./talker.ts";
import { VocoderStage } from "./vocoder.ts";

export function runStage(stage: StageName, job: StageJob): void {
  const send = (message: FromStage) => parentPort!.postMessage(message);
  const guard = (work: () => void) => {
    try {
      work();
    } catch (error) {
      send({ failed: toWire(error) });
      parentPort!.close();
    }
  };
  const warnings = settleThread(stage, job.config);
  const ready = ({ name: backend, unused }: Opened<unknown>, drawLimits: DrawLimits | null = null) =>
    send({ ready: { stage, backend, unused, warnings, drawLimits } });
  const onOpening: OnOpening = (opening) => send({ opening });
  guard(() => {
    if (stage === "talker") {
      const talker = new TalkerStage(job, onOpening);
      ready(talker.opened);
      talker.listen(guard);
      return;
    }
    const running = stage === "predictor" ? new PredictorStage(job, onOpening) : new VocoderStage(job, onOpening);
    ready(running.opened, running instanceof PredictorStage ? running.opened.stage.drawsInside : null);
    running.run();
    parentPort!.close();
  });
}
