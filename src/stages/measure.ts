// How long a frame of the code predictor takes with each backend on this machine.

import { PREDICTORS } from "../backends/index.ts";
import { isAccelerator, type OpenOptions } from "../backends/stage.ts";
import { CODES_PER_FRAME } from "../types.ts";

const WARM_UP_FRAMES = 2;
const FRAMES = 7;

/**
 * Backend -> median milliseconds per frame of one lane. Covers only backends on the processor: accelerators
 * come first anyway.
 */
export function measurePredictors(options: OpenOptions): Record<string, number> {
  const { hidden } = options.bundle.manifest.shape;
  const input = new Float32Array(new SharedArrayBuffer(4 * hidden)).fill(0.1);
  const codes = new Int32Array(CODES_PER_FRAME);
  const results: Record<string, number> = {};
  for (const backend of PREDICTORS) {
    if (isAccelerator(backend)) continue;
    const predictor = backend.open(options);
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
