// The talker for ONNX Runtime: rows of embeddings in, hidden states and the logits of code 0 out.

import { LIMITS, type WeightType } from "../../config.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { slice } from "./layers.ts";
import { BITS, product, transformer } from "./transformer.ts";

/** ONNX Runtime computes with these alone as they are; of the others it would make one of them. */
const TYPES: readonly WeightType[] = ["f32", "q8_0", "q4_0"];
export const hasGraph = (type: WeightType) => TYPES.includes(type);

/**
 * Inputs besides those of {@link transformer}: `x` f32 [lanes, rows, hidden]. Outputs besides: of each lane's
 * last row, `hidden` f32 [lanes, hidden] after the final norm, and `logits` f32 [lanes, codec vocabulary].
 */
export function talkerGraph(
  { codecVocabulary, talker: shape, weights }: Checkpoint,
  type: WeightType,
  shared: Record<string, string>,
): Graph {
  const { hidden } = shape;
  const g = new Graph({ name: "talker", shared });
  const bits = BITS[type];
  const states = transformer(g, g.input("x", "f32", ["lanes", "rows", hidden]), {
    prefix: "talker.model",
    weights,
    shape,
    cachePositions: "positions",
    positions: LIMITS.contextPositions,
    times: (value, weight) => product(g, value, weight, bits),
  });
  const state = g.op("Squeeze", [slice(g, states, 1, -1), g.ints([1])]);
  g.output("hidden", state, "f32", ["lanes", hidden]);
  const head = weights.take("talker.codec_head.weight", [codecVocabulary, hidden]);
  // as libllama's quantiser does, the head keeps more precision than the layers
  const logits = product(g, state, head, bits === null ? null : 8);
  g.output("logits", logits, "f32", ["lanes", codecVocabulary]);
  return g;
}
