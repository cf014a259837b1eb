// The layers of the code predictor for NPUs: standard operators, at most three dimensions, every value in the
// range of half precision. What the two graphs share; where keys and values are kept is theirs.

import type { Checkpoint } from "../../formats/checkpoint.ts";
import type { Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { type Product, reshape, rotate, slice, swiGlu, transpose } from "../onnx/layers.ts";

/** e to the minus this is 0 in f32. */
const EXP_IS_ZERO_FROM = 104;

/** The rows of one pass, and the memory that they are added to. */
export interface Pass {
  rows: number;
  /** cos and sin of the rows' positions, [rows, 1, headDim / 2] */
  rotary: { cos: string; sin: string };
  /**
   * [1, rows * heads / kvHeads, positions]: 0, or {@link PredictorLayers.blocked} where a row must not look.
   * null: it sees everything.
   */
  mask: string | null;
  /**
   * Puts the rows' keys or values, each [kvHeads, 1, headDim], into the memory and gives all of it, [kvHeads,
   * positions, headDim].
   */
  keep(part: "k" | "v", layer: number, rows: string[]): string;
}

interface LayerWeights {
  attentionNorm: string;
  /** Of all queries, then of all keys: [(heads + kvHeads) * headDim, hidden]. */
  qk: string;
  /** [heads + kvHeads, headDim]; those of queries have the scale of the scores in them. */
  qkNorms: string;
  v: Tensor;
  o: Tensor;
  mlpNorm: string;
  mlp: Record<"gate" | "up" | "down", Tensor>;
}

/**
 * The layers with their weights, which all passes share. The sum that runs through them is `scale` times the
 * official one, and so are the inputs of the down projections; norms undo it. Where `scale` is a power of two
 * that changes no bit of a result.
 */
export class PredictorLayers {
  /**
   * Leaves nothing of a score, whatever the weights are, and is no further off than that takes: coarse
   * numbers keep steps for the scores.
   */
  readonly blocked: number;
  private readonly layers: LayerWeights[];
  private readonly finalNorm: string;
  private readonly shape: Checkpoint["predictor"];
  private readonly scaled = new Map<Tensor, string>();
  private readonly times: Product = (x, weight) =>
    this.g.op("Gemm", [x, this.scaled.get(weight) ?? this.g.tensor(weight)], { transB: 1 });

  constructor(
    private readonly g: Graph,
    { weights, predictor }: Checkpoint,
    private readonly scale: number,
  ) {
    this.shape = predictor;
    const { headDim, heads, hidden, intermediate, kvHeads } = predictor;
    let largestScore = 0;
    this.layers = Array.from({ length: predictor.layers }, (_, layer) => {
      const take = (part: string, size: number[]) =>
        weights.take(`talker.code_predictor.model.layers.${layer}.${part}.weight`, size);
      const [q, k] = ["q", "k"].map((part) => ({
        matrix: take(`self_attn.${part}_proj`, [(part === "q" ? heads : kvHeads) * headDim, hidden]),
        norm: toFloat32(take(`self_attn.${part}_norm`, [headDim])),
      }));
      const queryNorm = q.norm.map((value) => value / Math.sqrt(headDim));
      // of rows normed to length sqrt(headDim)
      largestScore = Math.max(largestScore, largest(queryNorm) * largest(k.norm) * headDim);
      const rows = heads + kvHeads;
      return {
        attentionNorm: g.tensor(take("input_layernorm", [hidden])),
        qk: g.values(() => joined([toFloat32(q.matrix), toFloat32(k.matrix)]), [rows * headDim, hidden]),
        qkNorms: g.values(joined([...Array(heads).fill(queryNorm), ...Array(kvHeads).fill(k.norm)]), [
          rows,
          headDim,
        ]),
        v: take("self_attn.v_proj", [kvHeads * headDim, hidden]),
        o: this.scaling(take("self_attn.o_proj", [hidden, heads * headDim])),
        mlpNorm: g.tensor(take("post_attention_layernorm", [hidden])),
        mlp: {
          gate: take("mlp.gate_proj", [intermediate, hidden]),
          up: this.scaling(take("mlp.up_proj", [intermediate, hidden])),
          down: take("mlp.down_proj", [hidden, intermediate]),
        },
      };
    });
    this.finalNorm = g.tensor(weights.take("talker.code_predictor.model.norm.weight", [hidden]));
    this.blocked = -Math.ceil(2 * largestScore + EXP_IS_ZERO_FROM);
  }

  /** Products with this matrix shall be `scale` times the official ones. */
  private scaling(weight: Tensor): Tensor {
    const values = () => toFloat32(weight).map((value) => value * this.scale);
    this.scaled.set(weight, this.g.values(values, weight.shape));
    return weight;
  }

  /** Input rows [rows, hidden] as they are in the checkpoint -> what {@link pass} takes. */
  enter(x: string): string {
    return this.g.op("Mul", [x, this.g.float(this.scale)]);
  }

  /** [rows, hidden] -> [rows, hidden], both scaled */
  pass(x: string, pass: Pass): string {
    const { g, layers, times } = this;
    return layers.reduce((h, weights, layer) => {
      const mixed = this.attend(this.norm(h, weights.attentionNorm, this.scale), weights, layer, pass);
      const attended = g.op("Add", [h, times(mixed, weights.o)]);
      return g.op("Add", [
        attended,
        swiGlu(g, this.norm(attended, weights.mlpNorm, this.scale), weights.mlp, times),
      ]);
    }, x);
  }

  /** A scaled row [1, hidden] through the last norm: what heads take. */
  leave(x: string): string {
    return this.norm(x, this.finalNorm, this.scale);
  }

  /**
   * Queries and keys are normed and rotated together; query heads that share a key head are rows of one
   * product.
   */
  private attend(
    x: string,
    { qk, qkNorms, v }: LayerWeights,
    layer: number,
    { rows, rotary, mask, keep }: Pass,
  ): string {
    const { g, times } = this;
    const { headDim, heads, kvHeads } = this.shape;
    const split = (value: string, axis: number) =>
      rows === 1 ? [value] : g.ops("Split", rows, [value], { axis, num_outputs: rows });
    const parts = (value: string, shape: number[]) => split(value, 0).map((row) => reshape(g, row, shape));
    const join = (values: string[], axis: number) =>
      rows === 1 ? values[0] : g.op("Concat", values, { axis });
    const projected = reshape(g, g.op("Gemm", [x, qk], { transB: 1 }), [rows, heads + kvHeads, headDim]);
    const rotated = rotate(g, this.norm(projected, qkNorms, 1), rotary);
    const keys = keep("k", layer, parts(slice(g, rotated, 1, heads), [kvHeads, 1, headDim]));
    const values = keep("v", layer, parts(times(x, v), [kvHeads, 1, headDim]));
    const queries = join(parts(slice(g, rotated, 1, 0, heads), [kvHeads, heads / kvHeads, headDim]), 1);
    const scores = g.op("MatMul", [queries, transpose(g, keys, [0, 2, 1])]);
    const shares = g.op("Softmax", [mask === null ? scores : g.op("Add", [scores, mask])], { axis: -1 });
    const mixed = g.op("MatMul", [shares, values]); // [kvHeads, rows * heads / kvHeads, headDim]
    return join(
      split(mixed, 1).map((row) => reshape(g, row, [1, heads * headDim])),
      0,
    );
  }

  /**
   * x / sqrt(mean(x^2) + eps) * weight over the last axis, of an x that is `scale` times the official one.
   * Everything is divided by the largest value first: squares of what is large would leave the range of half
   * precision, sums of squares of what is small would vanish in it. How exactly that value is found does not
   * matter: it cancels.
   */
  private norm(x: string, weight: string, scale: number): string {
    const { g } = this;
    const least = Math.sqrt(this.shape.rmsEps) * scale;
    const size = g.op("Max", [
      g.op("ReduceMax", [g.op("Abs", [x]), g.ints([-1])], { keepdims: 1 }),
      g.float(least),
    ]);
    const [y, eps] = [g.op("Div", [x, size]), g.op("Div", [g.float(least), size])];
    const mean = g.op("ReduceMean", [g.op("Mul", [y, y]), g.ints([-1])], { keepdims: 1 });
    const length = g.op("Sqrt", [g.op("Add", [mean, g.op("Mul", [eps, eps])])]);
    return g.op("Mul", [g.op("Div", [y, length]), weight]);
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const largest = (values: Float32Array) => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);

/**
 * cos and sin of position * theta^(-2i/headDim) for positions `from` ... below `to`: two values shaped
 * `shape`.
 */
export function rotaryOf(
  g: Graph,
  { headDim, ropeTheta }: Checkpoint["predictor"],
  from: number,
  to: number,
  shape: readonly number[],
): Pass["rotary"] {
  const half = headDim / 2;
  const angles = Float64Array.from(
    { length: (to - from) * half },
    (_, i) => (from + Math.floor(i / half)) * ropeTheta ** ((-2 * (i % half)) / headDim),
  );
  return {
    cos: g.values(Float32Array.from(angles, Math.cos), shape),
    sin: g.values(Float32Array.from(angles, Math.sin), shape),
  };
}
