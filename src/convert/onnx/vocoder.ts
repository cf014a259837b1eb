// The codec decoder, codes to samples, with every bit of memory as an explicit input and output: convolution contexts, tails of
// transposed convolutions, and the KV window. Any chunking of the same frames gives the same samples.
// Convolutional parts are [1, channels, time], the transformer is [time, width].

import { type Tensor, toFloat32 } from "../../safetensors.ts";
import type { Checkpoint, CodecShape, Weights } from "../checkpoint.ts";
import {
  additiveMask,
  codeVectors,
  layerNorm,
  linear,
  reshape,
  rmsNorm,
  rotaryTables,
  rotate,
  slice,
  swiGlu,
  timeMajor,
  transpose,
  transposedBatch,
} from "./_layers.ts";
import { Graph } from "./graph.ts";

const CODEBOOKS = 16;
const LAYER_NORM_EPS = 1e-6;
const SNAKE_EPS = 1e-9;
const RES_UNIT_KERNEL = 7;
const RES_UNIT_DILATIONS = [1, 3, 9];

/**
 * Inputs: `codes` i32 [frames, 16]; `position` i32 [1], frames decoded so far; `state.*` f32, all zero at the start.
 * Outputs: `samples` f32 [frames * 1920] in [-1, 1]; `next.*`, the state for the following call.
 */
export function vocoderGraph(checkpoint: Checkpoint, shared: Record<string, string>): Graph {
  return new VocoderBuilder(checkpoint.codec, checkpoint.codecWeights, shared).build();
}

class VocoderBuilder {
  private readonly g: Graph;

  constructor(
    private readonly shape: CodecShape,
    private readonly weights: Weights,
    shared: Record<string, string>,
  ) {
    this.g = new Graph({ name: "vocoder", shared });
  }

  build(): Graph {
    const { g, shape } = this;
    const codes = g.input("codes", "i32", ["frames", CODEBOOKS]);
    const position = g.op("Cast", [g.input("position", "i32", [1])], { to: 7 });
    let x = this.causalConv("pre_conv", transposedBatch(g, this.dequantize(codes)), "pre_conv.conv", [shape.latent, shape.codebookDim, 3]);
    x = this.transformer(x, codes, position);
    shape.upsamplingRatios.forEach((ratio, i) => {
      x = this.transposedConv(`upsample.${i}`, x, `upsample.${i}.0.conv`, [shape.latent, shape.latent, ratio], ratio);
      x = this.convNeXt(`upsample.${i}`, x, `upsample.${i}.1`);
    });
    x = this.causalConv("entry", x, "decoder.0.conv", [shape.decoderDim, shape.latent, 7]);
    let channels = shape.decoderDim;
    shape.upsampleRates.forEach((rate, i) => {
      x = this.decoderBlock(`decoder.${i + 1}`, x, channels, rate);
      channels /= 2;
    });
    const last = shape.upsampleRates.length + 1;
    x = this.snake(x, `decoder.${last}`, channels);
    x = this.causalConv("exit", x, `decoder.${last + 1}.conv`, [1, channels, 7]);
    g.output("samples", reshape(g, g.op("Clip", [x, g.float(-1), g.float(1)]), [-1]), "f32", ["samples"]);
    return g;
  }

  private take(name: string, size: readonly number[]): Tensor {
    return this.weights.take(`decoder.${name}`, size);
  }

  /** Reads a state tensor and, through `keep`, says what it becomes. */
  private state(name: string, size: number[]): { value: string; keep: (next: string) => void } {
    const value = this.g.input(`state.${name}`, "f32", size);
    return { value, keep: (next) => this.g.output(`next.${name}`, next, "f32", size) };
  }

  /** Codes to latent vectors [frames, codebookDim]: the first codebook and the sum of the rest, each through its own projection. */
  private dequantize(codes: string): string {
    const { g, shape } = this;
    const width = shape.codebookDim / 2;
    const stacked = new Float32Array(CODEBOOKS * shape.codebookSize * width);
    for (let book = 0; book < CODEBOOKS; book++) stacked.set(this.codebook(book, width), book * shape.codebookSize * width);
    const offsets = g.ints(Array.from({ length: CODEBOOKS }, (_, book) => book * shape.codebookSize));
    const rows = g.op("Add", [g.op("Cast", [codes], { to: 7 }), offsets]);
    const vectors = g.op("Gather", [g.values(stacked, [CODEBOOKS * shape.codebookSize, width]), rows]); // [frames, 16, width]
    const first = reshape(g, slice(g, vectors, 1, 0, 1), [-1, width]);
    const rest = g.op("ReduceSum", [slice(g, vectors, 1, 1), g.ints([1])], { keepdims: 0 });
    const project = (x: string, part: string) =>
      linear(g, x, this.take(`quantizer.${part}.output_proj.weight`, [shape.codebookDim, width, 1]));
    return g.op("Add", [project(first, "rvq_first"), project(rest, "rvq_rest")]);
  }

  private codebook(book: number, width: number): Float32Array {
    const prefix = book === 0 ? "quantizer.rvq_first.vq.layers.0" : `quantizer.rvq_rest.vq.layers.${book - 1}`;
    const size = this.shape.codebookSize;
    const sum = this.take(`${prefix}._codebook.embedding_sum`, [size, width]);
    return codeVectors(sum, this.take(`${prefix}._codebook.cluster_usage`, [size]));
  }

  /** Causal convolution: the last (kernel - 1) * dilation inputs of the previous call stand in front. */
  private causalConv(
    name: string,
    x: string,
    weight: string,
    size: [out: number, inPerGroup: number, kernel: number],
    dilation = 1,
    group = 1,
  ): string {
    const { g } = this;
    const context = (size[2] - 1) * dilation;
    const state = this.state(name, [1, size[1] * group, context]);
    const padded = g.op("Concat", [state.value, x], { axis: 2 });
    state.keep(slice(g, padded, 2, -context));
    const inputs = [padded, g.tensor(this.take(`${weight}.weight`, size)), g.tensor(this.take(`${weight}.bias`, [size[0]]))];
    return g.op("Conv", inputs, { dilations: [dilation], group, kernel_shape: [size[2]] });
  }

  /**
   * Causal transposed convolution as a matrix product and an interleave: an input gives `kernel` outputs of which the first `stride` are
   * its own and the others are added to those of the next input. The state is that tail, without bias.
   */
  private transposedConv(
    name: string,
    x: string,
    weight: string,
    size: [inputs: number, out: number, kernel: number],
    stride: number,
  ): string {
    const { g } = this;
    const [inputs, out, kernel] = size;
    const matrix = g.tensor(this.take(`${weight}.weight`, size), [inputs, out * kernel]);
    const columns = transpose(g, reshape(g, x, [inputs, -1]), [1, 0]); // [time, inputs]
    const taps = reshape(g, g.op("MatMul", [columns, matrix]), [-1, out, kernel]);
    let own = taps;
    if (kernel > stride) {
      if (kernel !== 2 * stride) throw new RangeError(`${weight}: kernel ${kernel} is not twice the stride ${stride}`);
      const state = this.state(name, [1, out, stride]);
      const shifted = g.op("Concat", [state.value, slice(g, taps, 2, stride)], { axis: 0 });
      state.keep(slice(g, shifted, 0, -1));
      own = g.op("Add", [slice(g, taps, 2, 0, stride), slice(g, shifted, 0, 0, -1)]);
    }
    const bias = g.tensor(this.take(`${weight}.bias`, [out]), [1, out, 1]);
    return g.op("Add", [reshape(g, transpose(g, own, [1, 0, 2]), [1, out, -1]), bias]);
  }

  private convNeXt(name: string, x: string, prefix: string): string {
    const { g } = this;
    const width = this.shape.latent;
    const mixed = this.causalConv(`${name}.depthwise`, x, `${prefix}.dwconv.conv`, [width, 1, 7], 1, width);
    const norm = [this.take(`${prefix}.norm.weight`, [width]), this.take(`${prefix}.norm.bias`, [width])] as const;
    const normed = layerNorm(g, timeMajor(g, mixed, width), ...norm, LAYER_NORM_EPS);
    const wide = linear(
      g,
      normed,
      this.take(`${prefix}.pwconv1.weight`, [4 * width, width]),
      this.take(`${prefix}.pwconv1.bias`, [4 * width]),
    );
    const narrow = [this.take(`${prefix}.pwconv2.weight`, [width, 4 * width]), this.take(`${prefix}.pwconv2.bias`, [width])] as const;
    const scaled = g.op("Mul", [linear(g, g.op("Gelu", [wide]), ...narrow), g.tensor(this.take(`${prefix}.gamma`, [width]))]);
    return g.op("Add", [x, transposedBatch(g, scaled)]);
  }

  /** x + sin^2(x e^alpha) / (e^beta + 1e-9), per channel; the exponentials are taken here once. */
  private snake(x: string, prefix: string, channels: number): string {
    const { g } = this;
    const fold = (part: string, f: (value: number) => number) => {
      return g.values(Float32Array.from(toFloat32(this.take(`${prefix}.${part}`, [channels])), f), [1, channels, 1]);
    };
    const sine = g.op("Sin", [g.op("Mul", [x, fold("alpha", Math.exp)])]);
    const square = g.op("Mul", [g.op("Mul", [sine, sine]), fold("beta", (beta) => 1 / (Math.exp(beta) + SNAKE_EPS))]);
    return g.op("Add", [x, square]);
  }

  private decoderBlock(prefix: string, x: string, channels: number, rate: number): string {
    const out = channels / 2;
    const snaked = this.snake(x, `${prefix}.block.0`, channels);
    let y = this.transposedConv(`${prefix}.tail`, snaked, `${prefix}.block.1.conv`, [channels, out, 2 * rate], rate);
    RES_UNIT_DILATIONS.forEach((dilation, i) => {
      const unit = `${prefix}.block.${i + 2}`;
      const first = this.snake(y, `${unit}.act1`, out);
      const mixed = this.causalConv(`${prefix}.unit.${i}`, first, `${unit}.conv1.conv`, [out, out, RES_UNIT_KERNEL], dilation);
      y = this.g.op("Add", [y, this.pointwise(this.snake(mixed, `${unit}.act2`, out), `${unit}.conv2.conv`, out)]);
    });
    return y;
  }

  /** Kernel 1: no state. */
  private pointwise(x: string, weight: string, channels: number): string {
    const { g } = this;
    const inputs = [x, g.tensor(this.take(`${weight}.weight`, [channels, channels, 1])), g.tensor(this.take(`${weight}.bias`, [channels]))];
    return g.op("Conv", inputs, { kernel_shape: [1] });
  }

  /** Sliding-window attention; the window counts the query itself. Slots older than the first frame are masked. */
  private transformer(x: string, codes: string, position: string): string {
    const { g, shape } = this;
    const past = shape.slidingWindow - 1;
    const frames = g.op("Squeeze", [g.op("Shape", [codes], { end: 1 }), g.ints([0])]);
    const range = g.op("Range", [g.ints([0], []), frames, g.ints([1], [])]);
    const rotary = rotaryTables(g, g.op("Add", [range, position]), shape.headDim, shape.ropeTheta);
    const mask = this.windowMask(range, frames, position, past);
    const prefix = "pre_transformer";
    const inputBias = this.take(`${prefix}.input_proj.bias`, [shape.hidden]);
    let h = linear(g, timeMajor(g, x, shape.latent), this.take(`${prefix}.input_proj.weight`, [shape.hidden, shape.latent]), inputBias);
    for (let layer = 0; layer < shape.layers; layer++) h = this.transformerLayer(h, layer, rotary, mask, past);
    const normed = rmsNorm(g, h, this.take(`${prefix}.norm.weight`, [shape.hidden]), shape.rmsEps);
    const outputBias = this.take(`${prefix}.output_proj.bias`, [shape.latent]);
    return transposedBatch(g, linear(g, normed, this.take(`${prefix}.output_proj.weight`, [shape.latent, shape.hidden]), outputBias));
  }

  /** Slot j of [past slots, new frames] is visible to new frame i iff i <= j <= i + past and j holds a frame at all. */
  private windowMask(range: string, frames: string, position: string, past: number): string {
    const { g } = this;
    const slots = g.op("Range", [g.ints([0], []), g.op("Add", [frames, g.ints([past], [])]), g.ints([1], [])]);
    const query = g.op("Unsqueeze", [range, g.ints([1])]);
    const recent = g.op("GreaterOrEqual", [slots, query]);
    const causal = g.op("LessOrEqual", [slots, g.op("Add", [query, g.ints([past], [])])]);
    const exists = g.op("GreaterOrEqual", [slots, g.op("Sub", [g.ints([past]), position])]);
    return additiveMask(g, g.op("And", [g.op("And", [recent, causal]), exists]));
  }

  private transformerLayer(x: string, layer: number, rotary: { cos: string; sin: string }, mask: string, past: number): string {
    const { g, shape } = this;
    const { hidden, heads, headDim } = shape;
    const width = heads * headDim;
    const take = (part: string, size: number[]) => this.take(`pre_transformer.layers.${layer}.${part}`, size);
    const normed = rmsNorm(g, x, take("input_layernorm.weight", [hidden]), shape.rmsEps);
    /** [time, heads * dim] -> [heads, time, dim] */
    const project = (part: string) => {
      return transpose(
        g,
        reshape(g, linear(g, normed, take(`self_attn.${part}_proj.weight`, [width, hidden])), [-1, heads, headDim]),
        [1, 0, 2],
      );
    };
    const window = (name: string, added: string) => {
      const state = this.state(`layer.${layer}.${name}`, [heads, past, headDim]);
      const all = g.op("Concat", [state.value, added], { axis: 1 });
      state.keep(slice(g, all, 1, -past));
      return all;
    };
    const q = g.op("Mul", [rotate(g, project("q"), rotary), g.float(1 / Math.sqrt(headDim))]);
    const keys = window("k", rotate(g, project("k"), rotary));
    const values = window("v", project("v"));
    const scores = g.op("Add", [g.op("MatMul", [q, transpose(g, keys, [0, 2, 1])]), mask]);
    const mixed = g.op("MatMul", [g.op("Softmax", [scores], { axis: -1 }), values]);
    const attended = linear(g, reshape(g, transpose(g, mixed, [1, 0, 2]), [-1, width]), take("self_attn.o_proj.weight", [hidden, width]));
    const h = g.op("Add", [x, g.op("Mul", [attended, g.tensor(take("self_attn_layer_scale.scale", [hidden]))])]);
    const before = rmsNorm(g, h, take("post_attention_layernorm.weight", [hidden]), shape.rmsEps);
    const gate = take("mlp.gate_proj.weight", [shape.intermediate, hidden]);
    const up = take("mlp.up_proj.weight", [shape.intermediate, hidden]);
    const fed = swiGlu(g, before, gate, up, take("mlp.down_proj.weight", [hidden, shape.intermediate]));
    return g.op("Add", [h, g.op("Mul", [fed, g.tensor(take("mlp_layer_scale.scale", [hidden]))])]);
  }
}
