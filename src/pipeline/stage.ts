// The worker's side of every stage: opens it, says so, runs it, and sends home whatever goes wrong.

import { parentPort } from "node:worker_threads";
import { nameThread } from "../../ffi/libc.ts";
import { toWire } from "../errors.ts";
import { PredictorStage } from "./predictor.ts";
import { TalkerStage } from "./talker.ts";
import { VocoderStage } from "./vocoder.ts";
import type { FromStage, StageJob, StageName } from "./wire.ts";

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
  nameThread(stage); // the libraries' threads inherit it
  guard(() => {
    if (stage === "talker") {
      const talker = new TalkerStage(job);
      send({ ready: { stage, backend: talker.backend } });
      talker.listen(guard);
      return;
    }
    const running = stage === "predictor" ? new PredictorStage(job) : new VocoderStage(job);
    send({ ready: { stage, backend: running.backend } });
    running.run();
    parentPort!.close();
  });
}
