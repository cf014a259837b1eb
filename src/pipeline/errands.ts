// The worker's side of the errands that use the stages: a recording to encode, backends to measure, known
// codes to replay.

import { standalone } from "../backends/stage.ts";
import { openBundle } from "../formats/bundle.ts";
import { encodeReference } from "../stages/encoder.ts";
import { measurePredictors } from "../stages/measure.ts";
import { replay } from "../stages/replay.ts";
import { answerErrand } from "./errand.ts";
import type { EncodeJob, MeasureJob, ReplayJob } from "./messages.ts";

export function runEncoder({ bundle, config, forCodes, forVector }: EncodeJob): void {
  answerErrand(() => encodeReference(standalone(bundle, config), forCodes, forVector));
}

export function runMeasure({ directory, config }: MeasureJob): void {
  answerErrand(() => measurePredictors(standalone(openBundle(directory), config)));
}

export function runReplay({ bundle, config, speeches }: ReplayJob): void {
  answerErrand(() => replay(standalone(bundle, config), speeches));
}
