// The code predictor as two graphs: its layers, with their KV cache in and out, and its heads. Embeddings and
// the input projection are in the bundle's tables: these graphs see only rows of the predictor's own width.

import { LIMITS, type WeightType } from "../../config.ts";
import type { Checkpoint, TransformerShape } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { CODES_PER_FRAME, PREDICTOR_POSITIONS } from "../../types.ts";
import { type Bits, BLOCK_SIZE, quantizeMatrix } from "../quantize.ts";
import { linear, type Product, reshape, slice, swiGlu, transpose } from "./layers.ts";

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
 * The layers. Inputs: `x` f32 [lanes, rows, hidden]; `last` i32 [1], the position after the last row;
 * `positions` i32 [1], a number larger by one; per layer L `past.k.L` and `past.v.L` f32 [1, lanes *
 * kvHeads, 17, headDim]. Outputs: `states` f32 [lanes * rows, hidden], after the final norm; `present.k.L`
 * and `present.v.L`, shaped as the past ones. Give both the same memory, and new rows are written in place.
 */
export function predictorLayersGraph(
  checkpoint: Checkpoint,
  type: WeightType,
  shared: Record<string, string>,
): Graph {
  const { weights, predictor: shape } = checkpoint;
  const { hidden, heads, kvHeads, headDim, layers, rmsEps } = shape;
  const g = new Graph({ name: "predictor", shared });
  const x = g.input("x", "f32", ["lanes", "rows", hidden]);
  const times: Product = (value, weight) => product(g, value, weight, BITS[type]);
  const norm = (value: string, weight: Tensor) => {
    return g.op("SimplifiedLayerNormalization", [value, g.tensor(weight)], {
      axis: -1,
      epsilon: { float: rmsEps },
      stash_type: 1,
    });
  };
  const attend = attention(g, x, shape);
  let h = reshape(g, x, [-1, hidden]);
  for (let layer = 0; layer < layers; layer++) {
    const take = (part: string, size: number[]) =>
      weights.take(`talker.code_predictor.model.layers.${layer}.${part}.weight`, size);
    const cache = ["k", "v"].map((part) =>
      g.input(`past.${part}.${layer}`, "f32", [1, "heads", PREDICTOR_POSITIONS, headDim]),
    );
    const normed = norm(h, take("input_layernorm", [hidden]));
    const project = (part: "q" | "k" | "v", count: number) =>
      reshape(g, times(normed, take(`self_attn.${part}_proj`, [count * headDim, hidden])), [
        -1,
        count,
        headDim,
      ]);
    const query = norm(project("q", heads), take("self_attn.q_norm", [headDim]));
    const key = norm(project("k", kvHeads), take("self_attn.k_norm", [headDim]));
    const [mixed, ...present] = attend([query, key, project("v", kvHeads)], cache);
    present.forEach((value, i) => {
      g.output(`present.${"kv"[i]}.${layer}`, value, "f32", [1, "heads", PREDICTOR_POSITIONS, headDim]);
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
  const states = norm(h, weights.take("talker.code_predictor.model.norm.weight", [hidden]));
  g.output("states", states, "f32", ["rows in all", hidden]);
  return g;
}

/**
 * The heads. Inputs: `hidden` f32 [rows, hidden], after the final norm; `group` i32 [1], 1 to 15. Outputs:
 * `logits` f32 [rows, codes].
 * @param rows 1 for a part of an NPU folder, whose shapes are fixed
 */
export function predictorHeadsGraph(checkpoint: Checkpoint, type: WeightType, rows: 1 | "rows"): Graph {
  const { codes, predictor } = checkpoint;
  const g = new Graph({ name: "predictor-heads" });
  const states = g.input("hidden", "f32", [rows, predictor.hidden]);
  const group = g.op("Cast", [g.input("group", "i32", [1])], { to: 7 });
  g.output(
    "logits",
    logitsOf(g, checkpoint, group, states, (value, weight) => product(g, value, weight, BITS[type])),
    "f32",
    [rows, codes],
  );
  return g;
}

/** Applies the head of `group`, i64 [1], to normed states. */
function logitsOf(
  g: Graph,
  { codes, predictor, weights }: Checkpoint,
  group: string,
  states: string,
  times: Product,
): string {
  const head = (index: number) =>
    weights.take(`talker.code_predictor.lm_head.${index - 1}.weight`, [codes, predictor.hidden]);
  return chooseHead(g, g.op("Squeeze", [group]), [1, CODES_PER_FRAME], (index) => times(states, head(index)));
}

/**
 * Attention of the rows of all lanes, as one sequence whose heads are those of all lanes:
 * GroupQueryAttention takes several rows of one sequence alone, and the lanes are always at the same
 * position. A spare row is added and thrown away, because on x64 a single row has a kernel of its own, which
 * rounds otherwise.
 * @returns a function from queries, keys and values f32 [lanes * rows, heads, headDim], and the keys and
 * values so far, to the mixed values, keys and values with the new rows
 */
function attention(g: Graph, x: string, { headDim, heads, kvHeads, ropeTheta }: TransformerShape) {
  const { cos, sin } = rotaryRows(g, headDim, ropeTheta);
  const [last, positions] = [g.input("last", "i32", [1]), g.input("positions", "i32", [1])];
  const sizes = g.op("Shape", [x], { end: 2 });
  const rows = slice(g, sizes, 0, 1);
  const isUpTo = Array.from({ length: LIMITS.lanes }, (_, count) =>
    g.op("LessOrEqual", [g.op("Squeeze", [slice(g, sizes, 0, 0, 1)]), g.ints([count], [])]),
  );
  const width = (heads + 2 * kvHeads) * headDim;
  const spare = g.values(new Float32Array(width), [1, 1, width]);
  /** @param qkv [1, rows, width of all lanes] */
  const attend = (qkv: string, spareRow: string, past: string[], count: number) => {
    const [mixed, ...present] = g.ortOps(
      "GroupQueryAttention",
      3,
      [g.op("Concat", [qkv, spareRow], { axis: 1 }), "", "", ...past, last, positions, cos, sin],
      { num_heads: count * heads, kv_num_heads: count * kvHeads, do_rotary: 1 },
    );
    return [slice(g, mixed, 1, 0, -1), ...present];
  };
  const alone = (parts: string[], past: string[]) =>
    attend(reshape(g, g.op("Concat", parts, { axis: 1 }), [1, -1, width]), spare, past, 1);
  const together = (parts: string[], past: string[], count: number) => {
    /** [lanes * rows, heads, headDim] -> [1, rows, lanes * heads * headDim] */
    const beside = (part: string, i: number) => {
      const wide = (i === 0 ? heads : kvHeads) * headDim;
      const shape = (sides: string[]) => g.op("Concat", sides, { axis: 0 });
      const apart = g.op("Reshape", [part, shape([sizes, g.ints([wide])])]);
      const joined = shape([g.ints([1]), rows, g.ints([count * wide])]);
      return g.op("Reshape", [transpose(g, apart, [1, 0, 2]), joined]);
    };
    const spareRow = g.op("Expand", [g.float(0), g.ints([1, 1, count * width])]);
    const qkv = g.op("Concat", parts.map(beside), { axis: 2 });
    const [mixed, ...present] = attend(qkv, spareRow, past, count);
    return [transpose(g, reshape(g, mixed, [-1, count, heads * headDim]), [1, 0, 2]), ...present];
  };
  return (parts: string[], past: string[]): string[] => {
    const from = (count: number): string[] =>
      count === LIMITS.lanes
        ? together(parts, past, count)
        : g.choose(
            isUpTo[count],
            () => (count === 1 ? alone(parts, past) : together(parts, past, count)),
            () => from(count + 1),
          );
    return from(1);
  };
}

/** cos and sin of position * theta^(-2i/headDim) for the positions of a frame: [17, headDim/2]. */
function rotaryRows(g: Graph, headDim: number, theta: number): { cos: string; sin: string } {
  const half = headDim / 2;
  const angles = Float64Array.from(
    { length: PREDICTOR_POSITIONS * half },
    (_, i) => Math.floor(i / half) * theta ** ((-2 * (i % half)) / headDim),
  );
  const table = (fn: (angle: number) => number) =>
    g.values(Float32Array.from(angles, fn), [PREDICTOR_POSITIONS, half]);
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
  const half = (range: [number, number]) => () => [chooseHead(g, group, range, build)];
  return g.choose(isLow, half([from, middle]), half([middle, to]))[0];
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
