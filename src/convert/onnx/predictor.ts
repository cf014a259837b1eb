// The code predictor as one step, with its KV cache in and out and the head of the step's group. Embeddings
// and the input projection are in the bundle's tables: this graph sees only rows of its own width.

import type { WeightType } from "../../config.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import { type Bits, BLOCK_SIZE, quantizeMatrix } from "../quantize.ts";
import { linear, type Product, reshape, slice, swiGlu } from "./layers.ts";

/**
 * ONNX Runtime has matrices of 4 and 8 bits; half precision would be slower on a CPU than f32 and gain
 * nothing.
 */
const BITS: Record<WeightType, Bits | null> = {
  f32: null,
  f16: null,
  bf16: null,
  q8_0: 8,
  q4_0: 4,
  q4_k_m: 4,
  iq4_nl: 4,
};

/**
 * Inputs: `x` f32 [lanes, rows, hidden]; `last` i32 [lanes], the position of each lane's last row;
 * `positions` i32 [1], the number of positions after the step; `group` i64 [1], 1 to 15; per layer L
 * `past.k.L` and `past.v.L` f32 [lanes, kvHeads, 16, headDim]. Outputs: `logits` f32 [lanes, codes] of the
 * last row; `present.k.L` and `present.v.L`, shaped as the past ones. Give both the same memory, and new rows
 * are written in place.
 */
export function predictorGraph(
  checkpoint: Checkpoint,
  type: WeightType,
  shared: Record<string, string>,
): Graph {
  const { codes, weights, predictor: shape } = checkpoint;
  const { hidden, heads, kvHeads, headDim, layers, rmsEps } = shape;
  const g = new Graph({ name: "predictor", shared });
  const x = g.input("x", "f32", ["lanes", "rows", hidden]);
  const last = g.input("last", "i32", ["lanes"]);
  const positions = g.input("positions", "i32", [1]);
  const rotary = rotaryRows(g, headDim, shape.ropeTheta);
  const times: Product = (value, weight) => product(g, value, weight, BITS[type]);
  const norm = (value: string, weight: Tensor) => {
    return g.op("SimplifiedLayerNormalization", [value, g.tensor(weight)], {
      axis: -1,
      epsilon: { float: rmsEps },
      stash_type: 1,
    });
  };
  const lanes = g.op("Shape", [x], { end: 1 });
  /** [lanes * rows, ...] -> [lanes, rows, width] */
  const byLane = (value: string, width: number) =>
    g.op("Reshape", [value, g.op("Concat", [lanes, g.ints([-1, width])], { axis: 0 })]);
  let h = reshape(g, x, [-1, hidden]);
  for (let layer = 0; layer < layers; layer++) {
    const take = (part: string, size: number[]) =>
      weights.take(`talker.code_predictor.model.layers.${layer}.${part}.weight`, size);
    const cache = ["k", "v"].map((part) =>
      g.input(`past.${part}.${layer}`, "f32", ["lanes", kvHeads, CODES_PER_FRAME, headDim]),
    );
    const normed = norm(h, take("input_layernorm", [hidden]));
    /** Queries or keys, normalised head by head. */
    const project = (part: "q" | "k", count: number) => {
      const all = times(normed, take(`self_attn.${part}_proj`, [count * headDim, hidden]));
      const perHead = norm(reshape(g, all, [-1, count, headDim]), take(`self_attn.${part}_norm`, [headDim]));
      return byLane(perHead, count * headDim);
    };
    const values = byLane(
      times(normed, take("self_attn.v_proj", [kvHeads * headDim, hidden])),
      kvHeads * headDim,
    );
    const [mixed, ...present] = g.ortOps(
      "GroupQueryAttention",
      3,
      [project("q", heads), project("k", kvHeads), values, ...cache, last, positions, rotary.cos, rotary.sin],
      { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
    );
    present.forEach((value, i) => {
      g.output(`present.${"kv"[i]}.${layer}`, value, "f32", ["lanes", kvHeads, CODES_PER_FRAME, headDim]);
    });
    h = g.op("Add", [
      h,
      times(reshape(g, mixed, [-1, heads * headDim]), take("self_attn.o_proj", [hidden, heads * headDim])),
    ]);
    const mlp = {
      gate: take("mlp.gate_proj", [shape.intermediate, hidden]),
      up: take("mlp.up_proj", [shape.intermediate, hidden]),
      down: take("mlp.down_proj", [hidden, shape.intermediate]),
    };
    h = g.op("Add", [h, swiGlu(g, norm(h, take("post_attention_layernorm", [hidden])), mlp, times)]);
  }
  const lastRows = g.op("Squeeze", [slice(g, byLane(h, hidden), 1, -1), g.ints([1])]);
  const state = norm(lastRows, weights.take("talker.code_predictor.model.norm.weight", [hidden]));
  g.output("logits", logitsOf(g, checkpoint, g.input("group", "i64", [1]), state, times), "f32", [
    "lanes",
    codes,
  ]);
  return g;
}

/**
 * The heads alone, for layers that run elsewhere. Inputs: `hidden` f32 [1, hidden], after the final norm;
 * `group` i32 [1], 1 to 15. Outputs: `logits` f32 [1, codes].
 */
export function predictorHeadsGraph(checkpoint: Checkpoint, type: WeightType): Graph {
  const { codes, predictor } = checkpoint;
  const g = new Graph({ name: "predictor-heads", shared: {} });
  const state = g.input("hidden", "f32", [1, predictor.hidden]);
  const group = g.op("Cast", [g.input("group", "i32", [1])], { to: 7 });
  g.output(
    "logits",
    logitsOf(g, checkpoint, group, state, (value, weight) => product(g, value, weight, BITS[type])),
    "f32",
    [1, codes],
  );
  return g;
}

/** Applies the head of `group`, i64 [1], to the normed `state`. */
function logitsOf(
  g: Graph,
  { codes, predictor, weights }: Checkpoint,
  group: string,
  state: string,
  times: Product,
): string {
  const head = (index: number) =>
    weights.take(`talker.code_predictor.lm_head.${index - 1}.weight`, [codes, predictor.hidden]);
  return chooseHead(g, g.op("Squeeze", [group]), [1, CODES_PER_FRAME], (index) => times(state, head(index)));
}

/** cos and sin of position * theta^(-2i/headDim) for the 16 positions of a frame: [16, headDim/2]. */
function rotaryRows(g: Graph, headDim: number, theta: number): { cos: string; sin: string } {
  const half = headDim / 2;
  const angles = Float64Array.from(
    { length: CODES_PER_FRAME * half },
    (_, i) => Math.floor(i / half) * theta ** ((-2 * (i % half)) / headDim),
  );
  const table = (fn: (angle: number) => number) =>
    g.values(Float32Array.from(angles, fn), [CODES_PER_FRAME, half]);
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/**
 * What `build` makes for `group`, one of `from` to below `to`. Nested branches halve the range until one
 * group is left, so only that one is computed.
 */
function chooseHead(
  g: Graph,
  group: string,
  [from, to]: [from: number, to: number],
  build: (group: number) => string,
): string {
  if (to - from === 1) return build(from);
  const middle = (from + to) >> 1;
  const isLow = g.op("Less", [group, g.ints([middle], [])]);
  const half = (range: [number, number]) => () => chooseHead(g, group, range, build);
  return g.choose(isLow, half([from, middle]), half([middle, to]));
}

/** x [rows, in] -> [rows, out] with a weight [out, in], quantised unless `bits` is null. */
function product(g: Graph, x: string, weight: Tensor, bits: Bits | null): string {
  if (bits === null) return linear(g, x, weight);
  const [out, width] = weight.shape;
  const blockSize = BLOCK_SIZE[bits];
  const blocks = Math.ceil(width / blockSize);
  let scales: Float32Array | undefined;
  /**
   * Runs when the weight is written: all codes together would take too much memory. The scales are small and
   * kept until their turn.
   */
  const quantized = () => {
    const matrix = quantizeMatrix(toFloat32(weight), width, bits);
    scales = matrix.scales;
    return matrix;
  };
  const codes = g.bytes(() => quantized().codes, [out, blocks, (blockSize * bits) / 8]);
  const inputs = [x, codes, g.values(() => scales ?? quantized().scales, [out * blocks])];
  // Activations are rounded to 8 bits per block: integer products make this fast.
  return g.ortOp("MatMulNBits", inputs, { K: width, N: out, bits, block_size: blockSize, accuracy_level: 4 });
}
