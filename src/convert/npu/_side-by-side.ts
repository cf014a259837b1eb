// A transposed convolution as a plain one, which gives all results of a moment as channels.

import type { TransposedSize } from "../onnx/vocoder-network.ts";

/** One of the `stride` results of a moment, its phase, in one channel. */
export interface Result {
  channel: number;
  phase: number;
}

/**
 * Turns the taps of a transposed convolution, [in, out, kernel], into those of a plain one, [results, in,
 * kernel / stride], oldest moment first.
 */
export function sideBySide(
  taps: Float32Array,
  [inputs, out, kernel]: TransposedSize,
  results: readonly Result[],
  stride: number,
  factor: number,
): Float32Array {
  const moments = kernel / stride;
  const turned = new Float32Array(results.length * inputs * moments);
  let at = 0;
  for (const { channel, phase } of results) {
    for (let input = 0; input < inputs; input++) {
      for (let moment = moments - 1; moment >= 0; moment--)
        turned[at++] = factor * taps[(input * out + channel) * kernel + moment * stride + phase];
    }
  }
  return turned;
}
