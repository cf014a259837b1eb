// The worker's side of the errands that use the stages: a recording to encode, backends to measure, known
// codes to replay.

import { standalone } from "../backends/stage.ts";
import { openBundle } from "../formats/bundle.ts";
import { encodeReference } from "../stages/encoder.ts";
import { measurePredictors } from "../stages/measure.ts";
import { measureTalkers } from "../stages/measure-talker.ts";
import { replay } from "../stages/replay.ts";
import { answerErrand } from "./errand.ts";
import type { EncodeJob, Measured, MeasureJob, ReplayJob } from "./messages.ts";

export function runEncoder({ bundle, config, forCodes, forVector }: EncodeJob): void {
  answerErrand(() => encodeReference(standalone(bundle, config), forCodes, forVector));
}

export function runMeasure({ directory, config }: MeasureJob): void {
  answerErrand(() => {
    const options = standalone(openBundle(directory), config);
    return { talkerMs: measureTalkers(options), ...measurePredictors(options) } satisfies Measured;
  });
}

export function runReplay({ bundle, config, speeches }: ReplayJob): void {
  answerErrand(() => replay(standalone(bundle, config), speeches));
}
