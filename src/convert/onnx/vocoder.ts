// The codec decoder, codes to samples, with every bit of memory as an explicit input and output: what convolutions look back to, and the
// KV window. Any chunking of the same frames gives the same samples.
// Everything is [time, channels]: so a row of a matrix product is a moment, and a transposed convolution's results lie in time as they come.

import { type Tensor, toFloat32 } from "../../safetensors.ts";
import type { Checkpoint, CodecShape, Weights } from "../checkpoint.ts";
import { filter } from "./_filter.ts";
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
/** Constants per channel are repeated, by a power of two, so that rows become long: elementwise operators pay for each row. */
const LONGEST_REPEAT = 16;
/** Below, ONNX Runtime's own convolution is as fast. */
const LEAST_FILTER_WIDTH = 64;
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
  private readonly codes: string;
  /** Number of frames: i64 scalar. */
  private readonly count: string;
  /** 0, 1, 2 ...: i64 [frames, 1] */
  private readonly frames: string;

  constructor(
    private readonly shape: CodecShape,
    private readonly weights: Weights,
    shared: Record<string, string>,
  ) {
    const g = new Graph({ name: "vocoder", shared });
    this.g = g;
    this.codes = g.input("codes", "i32", ["frames", CODEBOOKS]);
    this.count = g.op("Squeeze", [g.op("Shape", [this.codes], { end: 1 }), g.ints([0])]);
    this.frames = g.op("Unsqueeze", [g.op("Range", [g.ints([0], []), this.count, g.ints([1], [])]), g.ints([1])]);
  }

  build(): Graph {
    const { g, shape } = this;
    let x = this.filterConv("pre_conv", this.dequantize(), "pre_conv.conv", [shape.latent, shape.codebookDim, 3], 1);
    x = this.transformer(x);
    let perFrame = 1; // rows
    shape.upsamplingRatios.forEach((ratio, i) => {
      x = this.transposedConv(`upsample.${i}`, x, `upsample.${i}.0.conv`, [shape.latent, shape.latent, ratio], ratio, perFrame);
      perFrame *= ratio;
      x = this.convNeXt(`upsample.${i}`, x, `upsample.${i}.1`);
    });
    x = this.filterConv("entry", x, "decoder.0.conv", [shape.decoderDim, shape.latent, 7], perFrame);
    let channels = shape.decoderDim;
    shape.upsampleRates.forEach((rate, i) => {
      x = this.decoderBlock(`decoder.${i + 1}`, x, channels, perFrame, rate);
      channels /= 2;
      perFrame *= rate;
    });
    const last = shape.upsampleRates.length + 1;
    x = this.snake(x, `decoder.${last}`, channels, perFrame);
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
  private dequantize(): string {
    const { g, shape } = this;
    const width = shape.codebookDim / 2;
    const stacked = new Float32Array(CODEBOOKS * shape.codebookSize * width);
    for (let book = 0; book < CODEBOOKS; book++) stacked.set(this.codebook(book, width), book * shape.codebookSize * width);
    const offsets = g.ints(Array.from({ length: CODEBOOKS }, (_, book) => book * shape.codebookSize));
    const rows = g.op("Add", [g.op("Cast", [this.codes], { to: 7 }), offsets]);
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

  /** x [time, width] behind the last `rows` rows of what came before it. */
  private withContext(name: string, x: string, rows: number, width: number): string {
    const { g } = this;
    const state = this.state(name, [rows, width]);
    const padded = g.op("Concat", [state.value, x], { axis: 0 });
    state.keep(slice(g, padded, 0, -rows));
    return padded;
  }

  /** Causal convolution by ONNX Runtime's operator, which wants channels first: for few channels, and where they do not mix. */
  private causalConv(
    name: string,
    x: string,
    weight: string,
    size: [out: number, inPerGroup: number, kernel: number],
    dilation = 1,
    group = 1,
  ): string {
    const { g } = this;
    const padded = this.withContext(name, x, (size[2] - 1) * dilation, size[1] * group);
    const parameters = [g.tensor(this.take(`${weight}.weight`, size)), g.tensor(this.take(`${weight}.bias`, [size[0]]))];
    const y = g.op("Conv", [transposedBatch(g, padded), ...parameters], { dilations: [dilation], group, kernel_shape: [size[2]] });
    return timeMajor(g, y, size[0]);
  }

  /** Causal convolution, [frames * perFrame, in] to [frames * perFrame, out]. */
  private filterConv(
    name: string,
    x: string,
    weight: string,
    size: [out: number, inputs: number, kernel: number],
    perFrame: number,
    dilation = 1,
  ): string {
    const [outputs, inputs, taps] = size;
    const tensor = this.take(`${weight}.weight`, size);
    const bias = toFloat32(this.take(`${weight}.bias`, [outputs]));
    const matrices = () => matricesOf(toFloat32(tensor), size);
    const padded = this.withContext(name, x, (taps - 1) * dilation, inputs);
    return filter(this.g, { padded, perFrame, frames: this.frames }, { taps, dilation, inputs, outputs, matrices, bias });
  }

  /**
   * Causal transposed convolution, [frames * perFrame, in] to [frames * perFrame * stride, out]: a filter whose rows are `stride` results
   * side by side. Its taps are the input and, where the kernel is longer than the stride, the one before it.
   */
  private transposedConv(
    name: string,
    x: string,
    weight: string,
    size: [inputs: number, out: number, kernel: number],
    stride: number,
    perFrame: number,
  ): string {
    const [inputs, out, kernel] = size;
    const taps = kernel / stride;
    if (taps !== 1 && taps !== 2) throw new RangeError(`${weight}: kernel ${kernel} is not once or twice the stride ${stride}`);
    const tensor = this.take(`${weight}.weight`, size);
    const bias = repeated(toFloat32(this.take(`${weight}.bias`, [out])), stride);
    const matrices = () => transposedMatricesOf(toFloat32(tensor), size, stride);
    const padded = taps === 1 ? x : this.withContext(name, x, 1, inputs);
    const rows = { padded, perFrame, frames: this.frames };
    return reshape(this.g, filter(this.g, rows, { taps, dilation: 1, inputs, outputs: stride * out, matrices, bias }), [-1, out]);
  }

  private convNeXt(name: string, x: string, prefix: string): string {
    const { g } = this;
    const width = this.shape.latent;
    const mixed = this.causalConv(`${name}.depthwise`, x, `${prefix}.dwconv.conv`, [width, 1, 7], 1, width);
    const norm = [this.take(`${prefix}.norm.weight`, [width]), this.take(`${prefix}.norm.bias`, [width])] as const;
    const wide = linear(
      g,
      layerNorm(g, mixed, ...norm, LAYER_NORM_EPS),
      this.take(`${prefix}.pwconv1.weight`, [4 * width, width]),
      this.take(`${prefix}.pwconv1.bias`, [4 * width]),
    );
    const narrow = [this.take(`${prefix}.pwconv2.weight`, [width, 4 * width]), this.take(`${prefix}.pwconv2.bias`, [width])] as const;
    const scaled = g.op("Mul", [linear(g, g.op("Gelu", [wide]), ...narrow), g.tensor(this.take(`${prefix}.gamma`, [width]))]);
    return g.op("Add", [x, scaled]);
  }

  /** x + sin^2(x e^alpha) / (e^beta + 1e-9), per channel; the exponentials are taken here once. x [frames * perFrame, channels] */
  private snake(x: string, prefix: string, channels: number, perFrame: number): string {
    const { g } = this;
    const repeat = Math.min(LONGEST_REPEAT, perFrame & -perFrame);
    const fold = (part: string, f: (value: number) => number) => {
      const values = Float32Array.from(toFloat32(this.take(`${prefix}.${part}`, [channels])), f);
      return g.values(repeated(values, repeat), [repeat * channels]);
    };
    const wide = reshape(g, x, [-1, repeat * channels]);
    const sine = g.op("Sin", [g.op("Mul", [wide, fold("alpha", Math.exp)])]);
    const square = g.op("Mul", [g.op("Mul", [sine, sine]), fold("beta", (beta) => 1 / (Math.exp(beta) + SNAKE_EPS))]);
    return reshape(g, g.op("Add", [wide, square]), [-1, channels]);
  }

  /** [frames * perFrame, channels] to [frames * perFrame * rate, channels / 2] */
  private decoderBlock(prefix: string, x: string, channels: number, perFrame: number, rate: number): string {
    const { g } = this;
    const out = channels / 2;
    const rows = perFrame * rate;
    const snaked = this.snake(x, `${prefix}.block.0`, channels, perFrame);
    let y = this.transposedConv(`${prefix}.input`, snaked, `${prefix}.block.1.conv`, [channels, out, 2 * rate], rate, perFrame);
    RES_UNIT_DILATIONS.forEach((dilation, i) => {
      const unit = `${prefix}.block.${i + 2}`;
      const first = this.snake(y, `${unit}.act1`, out, rows);
      const mixed = this.unitConv(`${prefix}.unit.${i}`, first, `${unit}.conv1.conv`, out, rows, dilation);
      const second = this.snake(mixed, `${unit}.act2`, out, rows);
      const pointwise = [this.take(`${unit}.conv2.conv.weight`, [out, out, 1]), this.take(`${unit}.conv2.conv.bias`, [out])] as const;
      y = g.op("Add", [y, linear(g, second, ...pointwise)]);
    });
    return y;
  }

  /** The dilated convolution of a residual unit. */
  private unitConv(name: string, x: string, weight: string, channels: number, perFrame: number, dilation: number): string {
    const size: [number, number, number] = [channels, channels, RES_UNIT_KERNEL];
    if (channels < LEAST_FILTER_WIDTH) return this.causalConv(name, x, weight, size, dilation);
    return this.filterConv(name, x, weight, size, perFrame, dilation);
  }

  /** Sliding-window attention; the window counts the query itself. Slots older than the first frame are masked. */
  private transformer(x: string): string {
    const { g, shape } = this;
    const past = shape.slidingWindow - 1;
    const position = g.op("Cast", [g.input("position", "i32", [1])], { to: 7 });
    const rotary = rotaryTables(g, reshape(g, g.op("Add", [this.frames, position]), [-1]), shape.headDim, shape.ropeTheta);
    const mask = this.windowMask(position, past);
    const prefix = "pre_transformer";
    const inputBias = this.take(`${prefix}.input_proj.bias`, [shape.hidden]);
    let h = linear(g, x, this.take(`${prefix}.input_proj.weight`, [shape.hidden, shape.latent]), inputBias);
    for (let layer = 0; layer < shape.layers; layer++) h = this.transformerLayer(h, layer, rotary, mask, past);
    const normed = rmsNorm(g, h, this.take(`${prefix}.norm.weight`, [shape.hidden]), shape.rmsEps);
    const outputBias = this.take(`${prefix}.output_proj.bias`, [shape.latent]);
    return linear(g, normed, this.take(`${prefix}.output_proj.weight`, [shape.latent, shape.hidden]), outputBias);
  }

  /** Slot j of [past slots, new frames] is visible to new frame i iff i <= j <= i + past and j holds a frame at all. */
  private windowMask(position: string, past: number): string {
    const { g, frames: query } = this;
    const slots = g.op("Range", [g.ints([0], []), g.op("Add", [this.count, g.ints([past], [])]), g.ints([1], [])]);
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
    const mlp = {
      gate: take("mlp.gate_proj.weight", [shape.intermediate, hidden]),
      up: take("mlp.up_proj.weight", [shape.intermediate, hidden]),
      down: take("mlp.down_proj.weight", [hidden, shape.intermediate]),
    };
    const fed = swiGlu(g, before, mlp, (value, weight) => linear(g, value, weight));
    return g.op("Add", [h, g.op("Mul", [fed, g.tensor(take("mlp_layer_scale.scale", [hidden]))])]);
  }
}

function repeated(values: Float32Array, times: number): Float32Array {
  return Float32Array.from({ length: times * values.length }, (_, i) => values[i % values.length]);
}

/** Taps of a convolution, [out, in, kernel], as the matrices of a filter, [kernel, in, out]. */
function matricesOf(taps: Float32Array, [out, inputs, kernel]: readonly [number, number, number]): Float32Array {
  const matrices = new Float32Array(taps.length);
  let at = 0;
  for (let tap = 0; tap < kernel; tap++) {
    for (let input = 0; input < inputs; input++) {
      for (let o = 0; o < out; o++) matrices[at++] = taps[(o * inputs + input) * kernel + tap];
    }
  }
  return matrices;
}

/** The same of a transposed one, [in, out, kernel]: [kernel / stride, in, stride, out]. Its first taps belong to the newest input. */
function transposedMatricesOf(taps: Float32Array, [inputs, out, kernel]: readonly [number, number, number], stride: number): Float32Array {
  const matrices = new Float32Array(taps.length);
  let at = 0;
  for (let first = kernel - stride; first >= 0; first -= stride) {
    for (let input = 0; input < inputs; input++) {
      for (let tap = first; tap < first + stride; tap++) {
        for (let o = 0; o < out; o++) matrices[at++] = taps[(input * out + o) * kernel + tap];
      }
    }
  }
  return matrices;
}
