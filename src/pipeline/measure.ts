// The measuring worker: how long a frame of the code predictor takes with each backend on this machine. Answers once and ends.

import { parentPort } from "node:worker_threads";
import { PREDICTORS } from "../backends/index.ts";
import { isAccelerator } from "../backends/stage.ts";
import { type Config, threadsFor } from "../config.ts";
import { toWire } from "../errors.ts";
import { openBundle } from "../formats/bundle.ts";
import { CODES_PER_FRAME } from "../types.ts";
import type { FromMeasure, MeasureJob } from "./messages.ts";

const WARM_UP_FRAMES = 2;
const FRAMES = 7;

export function runMeasure({ directory, config }: MeasureJob): void {
  const send = (message: FromMeasure) => parentPort!.postMessage(message);
  try {
    send({ predictorMs: measurePredictors(directory, config) });
  } catch (error) {
    send({ failed: toWire(error) });
  }
}

/** Backend -> median milliseconds per frame of one lane, of all processors. */
function measurePredictors(directory: string, config: Config): Record<string, number> {
  const bundle = openBundle(directory);
  const { hidden } = bundle.manifest.shape;
  const asSpoken = { ...config, ...threadsFor(hidden, config) };
  const [stop, loadTurn] = [new SharedArrayBuffer(2), new Int32Array(new SharedArrayBuffer(4))];
  const input = new Float32Array(new SharedArrayBuffer(4 * hidden)).fill(0.1);
  const codes = new Int32Array(CODES_PER_FRAME);
  const results: Record<string, number> = {};
  for (const backend of PREDICTORS) {
    if (isAccelerator(backend)) continue; // they come first anyway
    const predictor = backend.open({ bundle, config: asSpoken, lanes: 1, stop, loadTurn });
    const times: number[] = [];
    for (let frame = -WARM_UP_FRAMES; frame < FRAMES; frame++) {
      const before = performance.now();
      predictor.predict(1, input, codes, () => 0);
      if (frame >= 0) times.push(performance.now() - before);
    }
    predictor.close();
    results[backend.name] = Math.round(1_000 * times.toSorted((a, b) => a - b)[FRAMES >> 1]) / 1_000;
  }
  return results;
}
