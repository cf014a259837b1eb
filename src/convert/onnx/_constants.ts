// Signals that are the same at every moment, because weights before them are all zero: their values are
// computed at conversion. A toolkit that folds them itself removes states with them, or fails.

import { isZero, type Tensor, toFloat32 } from "../../formats/safetensors.ts";

/** One value per channel; null for a signal that changes. */
export type Constant = Float32Array | null;

/** The parameters of x + sin^2(x alpha) scale, per channel. */
export interface Snake {
  alpha: Float32Array;
  scale: Float32Array;
}

/** Through the weight [out, in, ...] of a convolution or a product. One of zeros leaves only the bias. */
export function throughWeight(x: Constant, weight: Tensor, bias: Tensor): Constant {
  if (isZero(weight)) return toFloat32(bias);
  if (x === null) return null;
  const values = toFloat32(weight);
  return toFloat32(bias).map((start, out) =>
    x.reduce((sum, value, input) => sum + value * values[out * x.length + input], start),
  );
}

export function throughSnake(x: Constant, { alpha, scale }: Snake): Constant {
  return x?.map((value, channel) => value + Math.sin(value * alpha[channel]) ** 2 * scale[channel]) ?? null;
}

export function throughLayerNorm(x: Constant, weight: Tensor, bias: Tensor, eps: number): Constant {
  if (isZero(weight)) return toFloat32(bias);
  if (x === null) return null;
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const [factors, offsets] = [toFloat32(weight), toFloat32(bias)];
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + eps)) * factors[i] + offsets[i]);
}

/** x Phi(x), with Abramowitz and Stegun's 7.1.26 for the error function: right to 1.5e-7. */
export function throughGelu(x: Constant): Constant {
  return x?.map((value) => (value * (1 + erf(value / Math.SQRT2))) / 2) ?? null;
}

function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const powers = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
  const sum = powers.reduce((rest, coefficient) => rest * t + coefficient, 0) * t;
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}
