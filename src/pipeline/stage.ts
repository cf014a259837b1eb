// The worker's side of every stage: opens it, says so, runs it, and sends home whatever goes wrong.

import { parentPort } from "node:worker_threads";
import { nameThread, pinThread } from "../../ffi/libc.ts";
import type { Opened } from "../backends/index.ts";
import { formatCores } from "../cpus.ts";
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
  // The libraries' threads inherit both.
  nameThread(stage);
  const cores = job.config.cpus[stage];
  const refused = cores.length > 0 && !pinThread(cores) ? [`the system does not let the ${stage} have cores ${formatCores(cores)}`] : [];
  const ready = ({ name: backend, warnings }: Opened<unknown>) => send({ ready: { stage, backend, warnings: [...refused, ...warnings] } });
  guard(() => {
    if (stage === "talker") {
      const talker = new TalkerStage(job);
      ready(talker.opened);
      talker.listen(guard);
      return;
    }
    const running = stage === "predictor" ? new PredictorStage(job) : new VocoderStage(job);
    ready(running.opened);
    running.run();
    parentPort!.close();
  });
}
