// The encoder's worker: one recording to codes and a speaker vector. Not a stage: it answers once and ends.

import { parentPort } from "node:worker_threads";
import { ENCODERS, openBackend } from "../backends/index.ts";
import { toWire } from "../errors.ts";
import type { EncodeJob, FromEncoder } from "./messages.ts";

export function runEncoder({ bundle, config, forCodes, forVector }: EncodeJob): void {
  const send = (message: FromEncoder) => parentPort!.postMessage(message);
  try {
    const loadTurn = new Int32Array(new SharedArrayBuffer(4)); // libllama is not used here
    const stop = new SharedArrayBuffer(2);
    const encoder = openBackend(ENCODERS, "auto", { bundle, config, lanes: 1, stop, loadTurn }).stage;
    send({ encoded: { codes: encoder.codes(forCodes), xVector: encoder.xVector(forVector) } });
    encoder.close();
  } catch (error) {
    send({ failed: toWire(error) });
  }
}
