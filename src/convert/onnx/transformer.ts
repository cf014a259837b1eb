// The layers of a Qwen3 transformer for ONNX Runtime, with the KV cache in and out, and quantised products.

import type { WeightType } from "../../config.ts";
import type { TransformerShape, Weights } from "../../formats/checkpoint.ts";
import type { Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { type Bits, BLOCK_SIZE, quantizeMatrix } from "../quantize.ts";
import { linear, type Product, reshape, swiGlu } from "./layers.ts";

/**
 * ONNX Runtime has matrices of 4 and 8 bits; half precision would be slower on a CPU than f32 and gain
 * nothing.
 */
export const BITS: Record<WeightType, Bits | null> = {
  f32: null,
  f16: null,
  bf16: null,
  q8_0: 8,
  q4_0: 4,
  q4_k_m: 4,
  iq4_nl: 4,
};

export interface TransformerOptions {
  /** Part of the names of its tensors: "talker.model". */
  prefix: string;
  weights: Weights;
  shape: TransformerShape;
  /** Size of the KV cache's axis of positions: a number, or the name of one that may vary. */
  cachePositions: number | string;
  /** Positions that the rotary tables cover. */
  positions: number;
  times: Product;
}

/**
 * Layers and final norm: `x` f32 [lanes, rows, hidden] -> a value [lanes, rows, hidden]. Adds the inputs
 * `last` i32 [lanes], the position of each lane's last row; `positions` i32 [1], the most positions of a lane
 * after the run; per layer L `past.k.L` and `past.v.L` f32 [lanes, kvHeads, cachePositions, headDim]; and the
 * outputs `present.k.L` and `present.v.L`, shaped as the past ones. Give both the same memory, and new rows
 * are written in place.
 */
export function transformer(g: Graph, x: string, options: TransformerOptions): string {
  const { cachePositions, prefix, shape, times, weights } = options;
  const { hidden, heads, kvHeads, headDim, layers } = shape;
  const last = g.input("last", "i32", ["lanes"]);
  const positions = g.input("positions", "i32", [1]);
  const rotary = rotaryRows(g, options.positions, headDim, shape.ropeTheta);
  const norm = (value: string, weight: Tensor) => rmsNormOf(g, value, weight, shape.rmsEps);
  const lanes = g.op("Shape", [x], { end: 1 });
  /** [lanes * rows, width] -> [lanes, rows, width] */
  const byLane = (value: string, width: number) =>
    g.op("Reshape", [value, g.op("Concat", [lanes, g.ints([-1, width])], { axis: 0 })]);
  let h = reshape(g, x, [-1, hidden]);
  for (let layer = 0; layer < layers; layer++) {
    const take = (part: string, size: number[]) =>
      weights.take(`${prefix}.layers.${layer}.${part}.weight`, size);
    const cacheShape = ["lanes", kvHeads, cachePositions, headDim];
    const cache = ["k", "v"].map((part) => g.input(`past.${part}.${layer}`, "f32", cacheShape));
    const normed = norm(h, take("input_layernorm", [hidden]));
    /** Queries or keys, normalised head by head. */
    const project = (part: "q" | "k", count: number) => {
      const all = times(normed, take(`self_attn.${part}_proj`, [count * headDim, hidden]));
      const perHead = norm(reshape(g, all, [-1, count, headDim]), take(`self_attn.${part}_norm`, [headDim]));
      return byLane(perHead, count * headDim);
    };
    const values = times(normed, take("self_attn.v_proj", [kvHeads * headDim, hidden]));
    const [mixed, ...present] = g.ortOps(
      "GroupQueryAttention",
      3,
      [
        ...[project("q", heads), project("k", kvHeads), byLane(values, kvHeads * headDim)],
        ...[...cache, last, positions, rotary.cos, rotary.sin],
      ],
      { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
    );
    present.forEach((value, i) => {
      g.output(`present.${"kv"[i]}.${layer}`, value, "f32", cacheShape);
    });
    const attended = times(
      reshape(g, mixed, [-1, heads * headDim]),
      take("self_attn.o_proj", [hidden, heads * headDim]),
    );
    h = g.op("Add", [h, attended]);
    const mlp = {
      gate: take("mlp.gate_proj", [shape.intermediate, hidden]),
      up: take("mlp.up_proj", [shape.intermediate, hidden]),
      down: take("mlp.down_proj", [hidden, shape.intermediate]),
    };
    h = g.op("Add", [h, swiGlu(g, norm(h, take("post_attention_layernorm", [hidden])), mlp, times)]);
  }
  return byLane(norm(h, weights.take(`${prefix}.norm.weight`, [hidden])), hidden);
}

/** x [..., C] -> x / sqrt(mean(x^2) + eps) * weight, as one operator. */
function rmsNormOf(g: Graph, value: string, weight: Tensor, eps: number): string {
  return g.op("SimplifiedLayerNormalization", [value, g.tensor(weight)], {
    axis: -1,
    epsilon: { float: eps },
    stash_type: 1,
  });
}

/** cos and sin of position * theta^(-2i/headDim): [positions, headDim/2]. */
function rotaryRows(
  g: Graph,
  positions: number,
  headDim: number,
  theta: number,
): { cos: string; sin: string } {
  const half = headDim / 2;
  const table = (fn: (angle: number) => number) => () =>
    Float32Array.from({ length: positions * half }, (_, i) =>
      fn(Math.floor(i / half) * theta ** ((-2 * (i % half)) / headDim)),
    );
  return {
    cos: g.values(table(Math.cos), [positions, half]),
    sin: g.values(table(Math.sin), [positions, half]),
  };
}

/** x [rows, in] -> [rows, out] with a weight [out, in], quantised unless `bits` is null. */
export function product(g: Graph, x: string, weight: Tensor, bits: Bits | null): string {
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
