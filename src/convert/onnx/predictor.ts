// The code predictor as one step with its KV cache in and out. Heads, embedding tables and the input projection stand beside it,
// in the tables of the bundle: this graph sees rows of its own width only.

import type { Checkpoint } from "../checkpoint.ts";
import { additiveMask, linear, reshape, rmsNorm, rotaryTables, rotate, slice, swiGlu, transpose } from "./_layers.ts";
import { Graph } from "./graph.ts";

/**
 * Inputs: `x` f32 [lanes, rows, hidden]; `positions` i64 [rows]; per layer L `past.k.L` and `past.v.L` f32 [past, lanes, kvHeads, headDim].
 * Outputs: `hidden` f32 [lanes, hidden], the last row after the final norm; `new.k.L` and `new.v.L` f32 [rows, lanes, kvHeads, headDim],
 * which belong directly behind the past ones. Positions come first in the cache so that a step appends in place.
 */
export function predictorGraph(checkpoint: Checkpoint, shared: Record<string, string>): Graph {
  const { weights, predictor: shape } = checkpoint;
  const { hidden, heads, kvHeads, headDim, layers, rmsEps } = shape;
  const group = heads / kvHeads;
  const g = new Graph({ name: "predictor", shared });
  const x = g.input("x", "f32", ["lanes", "rows", hidden]);
  const positions = g.input("positions", "i64", ["rows"]);
  const rows = g.op("Shape", [positions]);
  const lanes = g.op("Shape", [x], { end: 1 });
  const rotary = rotaryTables(g, positions, headDim, shape.ropeTheta);
  const perHead = { cos: g.op("Unsqueeze", [rotary.cos, g.ints([1])]), sin: g.op("Unsqueeze", [rotary.sin, g.ints([1])]) }; // [rows, 1, half]
  /** [lanes * rows, width * headDim] -> [lanes, rows, width, headDim] */
  const splitHeads = (value: string, width: number) => {
    return g.op("Reshape", [value, g.op("Concat", [lanes, rows, g.ints([width, headDim])], { axis: 0 })]);
  };
  const name = (layer: number, part: string) => `talker.code_predictor.model.layers.${layer}.${part}.weight`;
  let h = reshape(g, x, [-1, hidden]);
  let mask = "";
  for (let layer = 0; layer < layers; layer++) {
    const take = (part: string, size: number[]) => weights.take(name(layer, part), size);
    const pastK = g.input(`past.k.${layer}`, "f32", ["past", "lanes", kvHeads, headDim]);
    const pastV = g.input(`past.v.${layer}`, "f32", ["past", "lanes", kvHeads, headDim]);
    const normed = rmsNorm(g, h, take("input_layernorm", [hidden]), rmsEps);
    const q = splitHeads(linear(g, normed, take("self_attn.q_proj", [heads * headDim, hidden])), heads);
    const k = splitHeads(linear(g, normed, take("self_attn.k_proj", [kvHeads * headDim, hidden])), kvHeads);
    const v = splitHeads(linear(g, normed, take("self_attn.v_proj", [kvHeads * headDim, hidden])), kvHeads);
    const turnedQ = rotate(g, rmsNorm(g, q, take("self_attn.q_norm", [headDim]), rmsEps), perHead);
    const turnedK = rotate(g, rmsNorm(g, k, take("self_attn.k_norm", [headDim]), rmsEps), perHead);
    const newK = transpose(g, turnedK, [1, 0, 2, 3]);
    const newV = transpose(g, v, [1, 0, 2, 3]);
    g.output(`new.k.${layer}`, newK, "f32", ["rows", "lanes", kvHeads, headDim]);
    g.output(`new.v.${layer}`, newV, "f32", ["rows", "lanes", kvHeads, headDim]);
    const keys = g.op("Concat", [pastK, newK], { axis: 0 });
    const values = g.op("Concat", [pastV, newV], { axis: 0 });
    if (mask === "") mask = causalMask(g, keys, positions);
    // Query heads j share key head j / group: [lanes, rows, kv, group, dim] -> [lanes, kv, group, rows, dim]
    const grouped = g.op("Reshape", [turnedQ, g.op("Concat", [lanes, rows, g.ints([kvHeads, group, headDim])], { axis: 0 })]);
    const queries = g.op("Mul", [transpose(g, grouped, [0, 2, 3, 1, 4]), g.float(1 / Math.sqrt(headDim))]);
    const keysT = g.op("Unsqueeze", [transpose(g, keys, [1, 2, 3, 0]), g.ints([2])]); // [lanes, kv, 1, dim, all]
    const valuesT = g.op("Unsqueeze", [transpose(g, values, [1, 2, 0, 3]), g.ints([2])]); // [lanes, kv, 1, all, dim]
    const weightsOfKeys = g.op("Softmax", [g.op("Add", [g.op("MatMul", [queries, keysT]), mask])], { axis: -1 });
    const mixed = transpose(g, g.op("MatMul", [weightsOfKeys, valuesT]), [0, 3, 1, 2, 4]);
    h = g.op("Add", [h, linear(g, reshape(g, mixed, [-1, heads * headDim]), take("self_attn.o_proj", [hidden, heads * headDim]))]);
    const before = rmsNorm(g, h, take("post_attention_layernorm", [hidden]), rmsEps);
    const gate = take("mlp.gate_proj", [shape.intermediate, hidden]);
    const up = take("mlp.up_proj", [shape.intermediate, hidden]);
    h = g.op("Add", [h, swiGlu(g, before, gate, up, take("mlp.down_proj", [hidden, shape.intermediate]))]);
  }
  const all = g.op("Reshape", [h, g.op("Concat", [lanes, rows, g.ints([hidden])], { axis: 0 })]);
  const last = g.op("Squeeze", [slice(g, all, 1, -1), g.ints([1])]);
  const norm = weights.take("talker.code_predictor.model.norm.weight", [hidden]);
  g.output("hidden", rmsNorm(g, last, norm, rmsEps), "f32", ["lanes", hidden]);
  return g;
}

/** Key j is visible to the query at position p iff j <= p: [rows, past + rows]. */
function causalMask(g: Graph, keys: string, positions: string): string {
  const count = g.op("Squeeze", [g.op("Shape", [keys], { end: 1 }), g.ints([0])]);
  const indices = g.op("Range", [g.ints([0], []), count, g.ints([1], [])]);
  return additiveMask(g, g.op("LessOrEqual", [indices, g.op("Unsqueeze", [positions, g.ints([1])])]));
}
