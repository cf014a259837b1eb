// Building blocks that more than one graph uses: norms, matrix products, rotary positions, attention pieces,
// codebooks.

import { END, type Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";

const MIN_CLUSTER_USAGE = 1e-5;

/** x [..., C] -> x / sqrt(mean(x^2) + eps) * weight, over the last axis, as one operator. */
export function rmsNorm(g: Graph, x: string, weight: Tensor, eps: number): string {
  return g.op("SimplifiedLayerNormalization", [x, g.tensor(weight)], {
    axis: -1,
    epsilon: { float: eps },
    stash_type: 1,
  });
}

/** x [..., C] -> (x - mean) / sqrt(variance + eps) * weight + bias, over the last axis. */
export function layerNorm(g: Graph, x: string, weight: Tensor, bias: Tensor, eps: number): string {
  return g.op("LayerNormalization", [x, g.tensor(weight), g.tensor(bias)], {
    axis: -1,
    epsilon: { float: eps },
  });
}

/** x [rows, in] -> [rows, out] with a weight in torch order, [out, in], which is not copied. */
export function linear(g: Graph, x: string, weight: Tensor, bias?: Tensor): string {
  const inputs = [x, g.tensor(weight, [weight.shape[0], weight.shape[1]])];
  return g.op("Gemm", bias === undefined ? inputs : [...inputs, g.tensor(bias)], { transB: 1 });
}

/**
 * The same for few rows. ONNX Runtime reads a weight that is the left operand where it lies in the file; one
 * that is the right operand it rearranges in memory of its own at each start. `weight` is [out, in].
 */
export function linearOfFew(g: Graph, x: string, weight: string, bias?: string): string {
  const rows = transpose(g, g.op("MatMul", [weight, transpose(g, x, [1, 0])]), [1, 0]);
  return bias === undefined ? rows : g.op("Add", [rows, bias]);
}

/** SwiGLU: down(silu(gate x) * up x). */
export function swiGlu(
  g: Graph,
  x: string,
  { gate, up, down }: Record<"gate" | "up" | "down", Tensor>,
  times: Product,
): string {
  const gated = times(x, gate);
  const silu = g.op("Mul", [gated, g.op("Sigmoid", [gated])]);
  return times(g.op("Mul", [silu, times(x, up)]), down);
}

/** x [rows, in] and a weight [out, in] -> [rows, out] */
export type Product = (x: string, weight: Tensor) => string;

/** cos and sin of position * theta^(-2i/headDim): positions i64 [n] -> two values [n, headDim/2]. */
export function rotaryTables(
  g: Graph,
  positions: string,
  headDim: number,
  theta: number,
): { cos: string; sin: string } {
  const frequencies = Float32Array.from({ length: headDim / 2 }, (_, i) => 1 / theta ** ((2 * i) / headDim));
  const column = g.op("Unsqueeze", [g.op("Cast", [positions], { to: 1 }), g.ints([1])]);
  const angles = g.op("Mul", [column, g.values(frequencies, [1, headDim / 2])]);
  return { cos: g.op("Cos", [angles]), sin: g.op("Sin", [angles]) };
}

/** NeoX rotation: dimension i pairs with i + half. Tables must broadcast against half of x's last axis. */
export function rotate(g: Graph, x: string, { cos, sin }: { cos: string; sin: string }): string {
  const [low, high] = g.ops("Split", 2, [x], { axis: -1, num_outputs: 2 });
  const first = g.op("Sub", [g.op("Mul", [low, cos]), g.op("Mul", [high, sin])]);
  const second = g.op("Add", [g.op("Mul", [high, cos]), g.op("Mul", [low, sin])]);
  return g.op("Concat", [first, second], { axis: -1 });
}

/** 0 where `visible` (bool) holds, `hidden` elsewhere. */
export function additiveMask(g: Graph, visible: string, hidden = -Infinity): string {
  return g.op("Where", [visible, g.float(0), g.float(hidden)]);
}

export const transpose = (g: Graph, x: string, perm: number[]) => g.op("Transpose", [x], { perm });
export const reshape = (g: Graph, x: string, shape: number[]) => g.op("Reshape", [x, g.ints(shape)]);

/** The part of `x` on one axis from `from` to below `to`; a negative `from` counts from the end. */
export function slice(g: Graph, x: string, axis: number, from: number, to = END): string {
  return g.op("Slice", [x, g.ints([from]), g.ints([to]), g.ints([axis])]);
}

/** [1, width, time] -> [time, width] */
export const timeMajor = (g: Graph, x: string, width: number) =>
  transpose(g, reshape(g, x, [width, -1]), [1, 0]);
/** [time, width] -> [1, width, time] */
export const transposedBatch = (g: Graph, x: string) =>
  g.op("Unsqueeze", [transpose(g, x, [1, 0]), g.ints([0])]);

/**
 * The vectors of a codebook, f32 [codes, width], from what training stores: `sum` [codes, width] and `usage`
 * [codes].
 */
export function codeVectors(sum: Tensor, usage: Tensor): Float32Array {
  const counts = toFloat32(usage);
  const width = sum.shape[1];
  return Float32Array.from(
    toFloat32(sum),
    (value, i) => value / Math.max(counts[Math.floor(i / width)], MIN_CLUSTER_USAGE),
  );
}
