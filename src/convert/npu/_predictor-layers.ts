// The layers of the code predictor for NPUs: standard operators, at most three dimensions, every value in the
// range of half precision. The two graphs share this; each keeps keys and values in its own way.

import type { Checkpoint } from "../../formats/checkpoint.ts";
import type { Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { joined } from "../../io/bytes.ts";
import { type Product, reshape, rotate, slice, swiGlu, transpose } from "../onnx/layers.ts";

/** e to the minus this is 0 in f32. */
const EXP_IS_ZERO_FROM = 104;

/** One pass: its rows, and the memory that their keys and values join. */
export interface Pass {
  rows: number;
  /** cos and sin of the rows' positions, [rows, 1, headDim / 2] */
  rotary: { cos: string; sin: string };
  /**
   * [1, rows * heads / kvHeads, positions]: 0, or {@link PredictorLayers.blocked} where a row must not look.
   * null: every row sees everything.
   */
  mask: string | null;
  /**
   * Adds the rows' keys or values, each [kvHeads, 1, headDim], to the memory and returns all of it, [kvHeads,
   * positions, headDim].
   */
  keep(part: "k" | "v", layer: number, rows: string[]): string;
}

interface LayerWeights {
  attentionNorm: string;
  /** The matrix for all queries, then all keys: [(heads + kvHeads) * headDim, hidden]. */
  qk: string;
  /** [heads + kvHeads, headDim]; those of the queries include the scale of the scores. */
  qkNorms: string;
  v: Tensor;
  o: Tensor;
  mlpNorm: string;
  mlp: Record<"gate" | "up" | "down", Tensor>;
}

/**
 * The layers with their weights, which all passes share. The sum that runs through them is `scale` times the
 * official one, and so are the inputs of the down projections; the norms undo this. If `scale` is a power of
 * two, no bit of a result changes.
 */
export class PredictorLayers {
  /**
   * Added to a score to leave nothing of it, whatever the weights are. It is no larger than that takes, so
   * that coarse number formats keep enough steps for the scores.
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
      // rows are normed to length sqrt(headDim)
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

  /** Makes products with this matrix `scale` times the official ones. */
  private scaling(weight: Tensor): Tensor {
    const values = () => toFloat32(weight).map((value) => value * this.scale);
    this.scaled.set(weight, this.g.values(values, weight.shape));
    return weight;
  }

  /** Scales input rows [rows, hidden] of the checkpoint for {@link pass}. */
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

  /** Puts a scaled row [1, hidden] through the last norm, for the heads. */
  leave(x: string): string {
    return this.norm(x, this.finalNorm, this.scale);
  }

  /**
   * Norms and rotates queries and keys together. Query heads that share a key head are rows of one product.
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
   * x / sqrt(mean(x^2) + eps) * weight over the last axis, where x is `scale` times the official one.
   * Everything is divided by the largest value first: squares of large values would leave the range of half
   * precision, and sums of small squares would vanish in it. That value need not be exact: it cancels.
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
