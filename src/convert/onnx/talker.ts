// The talker for ONNX Runtime: rows of embeddings in, hidden states and the logits of code 0 out.

import { LIMITS, type WeightType } from "../../config.ts";
import type { AlignmentHead } from "../../formats/bundle.ts";
import type { Checkpoint, TransformerShape } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { rotate, slice } from "./layers.ts";
import { type Attend, BITS, product, rotaryRows, transformer } from "./transformer.ts";

/**
 * Inputs: `x` f32 [lanes, rows, hidden]; `last` i32 [lanes], the position of each lane's last row;
 * `positions` i32 [1], the most positions of a lane after the run; keys and values so far, f32 [lanes,
 * kvHeads, positions, headDim], as {@link transformer} says. Outputs besides: of each lane's last row,
 * `hidden` f32 [lanes, hidden] after the final norm, and `logits` f32 [lanes, codec vocabulary]. Where the
 * alignment head is known, also `query` f32 [lanes, headDim]: what that head asks, rotated as the keys are.
 */
export function talkerGraph(
  { alignment, codecVocabulary, talker: shape, weights }: Checkpoint,
  type: WeightType,
  shared: Record<string, string>,
): Graph {
  const { headDim, hidden, kvHeads } = shape;
  const g = new Graph({ name: "talker", shared });
  const bits = BITS[type];
  const x = g.input("x", "f32", ["lanes", "rows", hidden]);
  const lanes = g.op("Shape", [x], { end: 1 });
  /** [lanes * rows, ...] -> [lanes, rows, width] */
  const byLane = (value: string, width: number) =>
    g.op("Reshape", [value, g.op("Concat", [lanes, g.ints([-1, width])], { axis: 0 })]);
  const states = transformer(g, x, {
    ...{ prefix: "talker.model", weights, shape },
    cacheShape: ["lanes", kvHeads, "positions", headDim],
    attend: attention(g, shape, byLane, alignment),
    times: (value, weight) => product(g, value, weight, bits),
  });
  const state = g.op("Squeeze", [slice(g, byLane(states, hidden), 1, -1), g.ints([1])]);
  g.output("hidden", state, "f32", ["lanes", hidden]);
  const head = weights.take("talker.codec_head.weight", [codecVocabulary, hidden]);
  // as libllama's quantiser does, the head keeps more precision than the layers
  const logits = product(g, state, head, bits === null ? null : 8);
  g.output("logits", logits, "f32", ["lanes", codecVocabulary]);
  return g;
}

/** Attention of lanes that are at positions of their own. */
function attention(
  g: Graph,
  { headDim, heads, kvHeads, ropeTheta }: TransformerShape,
  byLane: (value: string, width: number) => string,
  alignment: AlignmentHead | null,
): Attend {
  const places = [g.input("last", "i32", ["lanes"]), g.input("positions", "i32", [1])];
  const { cos, sin } = rotaryRows(g, LIMITS.contextPositions, headDim, ropeTheta);
  return ([query, key, value], past, layer) => {
    if (layer === alignment?.layer) {
      const lastRows = slice(g, byLane(query, heads * headDim), 1, -1);
      const from = alignment.head * headDim;
      const asked = g.op("Squeeze", [slice(g, lastRows, 2, from, from + headDim), g.ints([1])]);
      const [cosOfLast, sinOfLast] = [cos, sin].map((table) => g.op("Gather", [table, places[0]]));
      const rotated = rotate(g, asked, { cos: cosOfLast, sin: sinOfLast });
      g.output("query", rotated, "f32", ["lanes", headDim]);
    }
    const rows = [
      byLane(query, heads * headDim),
      ...[key, value].map((part) => byLane(part, kvHeads * headDim)),
    ];
    return g.ortOps("GroupQueryAttention", 3, [...rows, ...past, ...places, cos, sin], {
      num_heads: heads,
      kv_num_heads: kvHeads,
      do_rotary: 1,
    });
  };
}
