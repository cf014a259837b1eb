// The layers of a Qwen3 transformer for ONNX Runtime, with the KV cache in and out, and quantised products:
// talker and code predictor are such.

import type { WeightType } from "../../config.ts";
import type { TransformerShape, Weights } from "../../formats/checkpoint.ts";
import type { Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { type Bits, BLOCK_SIZE, quantizeMatrix } from "../quantize.ts";
import { linear, type Product, reshape, rmsNorm, swiGlu } from "./layers.ts";

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

/**
 * Attention of a layer: queries, keys and values f32 [rows of all lanes, heads, headDim], and the keys and
 * values so far -> the mixed values, whose rows are [heads * headDim], and keys and values with the new rows.
 */
export type Attend = (parts: string[], past: string[], layer: number) => string[];

export interface TransformerOptions {
  /** Part of the names of its tensors: "talker.model". */
  prefix: string;
  weights: Weights;
  shape: TransformerShape;
  /** Of the keys, and of the values, of a layer. */
  cacheShape: (number | string)[];
  attend: Attend;
  times: Product;
}

/**
 * Layers and final norm: `x` f32 [lanes, rows, hidden] -> [lanes * rows, hidden]. Adds, per layer L, the
 * inputs `past.k.L` and `past.v.L` f32 of `cacheShape`, and the outputs `present.k.L` and `present.v.L`. Give
 * both the same memory, and new rows are written in place.
 */
export function transformer(g: Graph, x: string, options: TransformerOptions): string {
  const { attend, cacheShape, prefix, shape, times, weights } = options;
  const { hidden, heads, kvHeads, headDim, layers } = shape;
  const norm = (value: string, weight: Tensor) => rmsNorm(g, value, weight, shape.rmsEps);
  let h = reshape(g, x, [-1, hidden]);
  for (let layer = 0; layer < layers; layer++) {
    const take = (part: string, size: number[]) =>
      weights.take(`${prefix}.layers.${layer}.${part}.weight`, size);
    const cache = ["k", "v"].map((part) => g.input(`past.${part}.${layer}`, "f32", cacheShape));
    const normed = norm(h, take("input_layernorm", [hidden]));
    const project = (part: "q" | "k" | "v", count: number) => {
      const all = times(normed, take(`self_attn.${part}_proj`, [count * headDim, hidden]));
      return reshape(g, all, [-1, count, headDim]);
    };
    const query = norm(project("q", heads), take("self_attn.q_norm", [headDim]));
    const key = norm(project("k", kvHeads), take("self_attn.k_norm", [headDim]));
    const [mixed, ...present] = attend([query, key, project("v", kvHeads)], cache, layer);
    present.forEach((value, i) => {
      g.output(`present.${"kv"[i]}.${layer}`, value, "f32", cacheShape);
    });
    const attended = reshape(g, mixed, [-1, heads * headDim]);
    h = g.op("Add", [h, times(attended, take("self_attn.o_proj", [hidden, heads * headDim]))]);
    const mlp = {
      gate: take("mlp.gate_proj", [shape.intermediate, hidden]),
      up: take("mlp.up_proj", [shape.intermediate, hidden]),
      down: take("mlp.down_proj", [hidden, shape.intermediate]),
    };
    h = g.op("Add", [h, swiGlu(g, norm(h, take("post_attention_layernorm", [hidden])), mlp, times)]);
  }
  return norm(h, weights.take(`${prefix}.norm.weight`, [hidden]));
}

/** cos and sin of position * theta^(-2i/headDim): [positions, headDim/2]. */
export function rotaryRows(
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
