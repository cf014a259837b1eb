// The worker's side of errands: a recording to decode, one to encode, backends to measure, known codes to
// replay.

import { decodeRecording } from "../audio/read.ts";
import { standalone } from "../backends/stage.ts";
import { openBundle } from "../formats/bundle.ts";
import { encodeReference } from "../stages/encoder.ts";
import { measurePredictors } from "../stages/measure.ts";
import { measureTalkers } from "../stages/measure-talker.ts";
import { replay } from "../stages/replay.ts";
import { answerErrand } from "./errand.ts";
import type { DecodeJob, EncodeJob, Measured, MeasureJob, ReplayJob } from "./messages.ts";

export function runDecoder({ bytes, mostSeconds, name }: DecodeJob): void {
  answerErrand(() => decodeRecording(bytes, name, mostSeconds));
}

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
