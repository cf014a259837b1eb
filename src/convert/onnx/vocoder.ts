// The codec decoder on ONNX Runtime, codes to samples, with every bit of memory as an explicit input and output: what convolutions look back
// to, and the KV window. Any chunking of the same frames gives the same samples.
// Everything is [time, channels]: so a row of a matrix product is a moment, and a transposed convolution's results lie in time as they come.
// Also what stays on the CPU where an NPU does the rest (vocoder-npu.ts): lookups and integers in front, Snakes behind.

import { type Tensor, toFloat32 } from "../../safetensors.ts";
import { SAMPLES_PER_FRAME } from "../../types.ts";
import type { Checkpoint, CodecShape, Weights } from "../checkpoint.ts";
import { filter } from "./_filter.ts";
import { additiveMask, linear, reshape, rmsNorm, rotaryTables, rotate, slice, timeMajor, transposedBatch } from "./_layers.ts";
import { type Attention, CODEBOOKS, type ConvSize, type TransposedSize, transposedTaps, VocoderNetwork } from "./_vocoder-network.ts";
import { Graph } from "./graph.ts";

/** Constants per channel are repeated, by a power of two, so that rows become long: elementwise operators pay for each row. */
const LONGEST_REPEAT = 16;
/** Below, ONNX Runtime's own convolution is as fast. */
const LEAST_FILTER_WIDTH = 64;
/** What hides a slot from an NPU. Minus infinity is no number for fixed-point softmax, and a larger one would leave the scores too few steps. */
const NPU_MASKED = -100;

/**
 * Inputs: `codes` i32 [frames, 16]; `position` i32 [1], frames decoded so far; `state.*` f32, all zero at the start.
 * Outputs: `samples` f32 [frames * 1920] in [-1, 1]; `next.*`, the state for the following call.
 */
export function vocoderGraph(checkpoint: Checkpoint, shared: Record<string, string>): Graph {
  const g = new Graph({ name: "vocoder", shared });
  return new OrtVocoderBuilder(g, checkpoint.codec, checkpoint.codecWeights, "frames").whole();
}

/**
 * What an NPU's vocoder cannot do: lookups and integers.
 * Inputs: `codes` i32 [frames, 16]; `position` i32 [1].
 * Outputs: `vectors` f32 [1, codebookDim, frames]; `cos` and `sin` f32 [1, frames, headDim / 2]; `mask` f32 [1, frames, window - 1 + frames].
 */
export function vocoderFrontGraph(checkpoint: Checkpoint, frames: number): Graph {
  const g = new Graph({ name: "vocoder front" });
  return new OrtVocoderBuilder(g, checkpoint.codec, checkpoint.codecWeights, frames).lookups(frames);
}

/**
 * What follows the first Snake, where an NPU's vocoder ends before it.
 * Inputs: `x` f32 [1, decoderDim, frames * 4], `scale` times the signal; `state.*`. Outputs: `samples` f32 [frames * 1920]; `next.*`.
 */
export function vocoderTailGraph(checkpoint: Checkpoint, frames: number, scale: number): Graph {
  const g = new Graph({ name: "vocoder tail" });
  return new OrtVocoderBuilder(g, checkpoint.codec, checkpoint.codecWeights, frames).end(frames, scale);
}

class OrtVocoderBuilder extends VocoderNetwork {
  private readonly codes: string = "";
  /** Number of frames: i64 scalar. */
  private readonly count: string;
  /** 0, 1, 2 ...: i64 [frames, 1] */
  private readonly frames: string;

  constructor(g: Graph, shape: CodecShape, weights: Weights, frames: number | "frames") {
    super(g, shape, weights);
    if (frames === "frames") {
      this.codes = g.input("codes", "i32", ["frames", CODEBOOKS]);
      this.count = g.op("Squeeze", [g.op("Shape", [this.codes], { end: 1 }), g.ints([0])]);
    } else this.count = g.ints([frames], []);
    this.frames = g.op("Unsqueeze", [g.op("Range", [g.ints([0], []), this.count, g.ints([1], [])]), g.ints([1])]);
  }

  whole(): Graph {
    const { g } = this;
    g.output("samples", this.tail(this.front(this.dequantize(this.codes))), "f32", ["samples"]);
    return g;
  }

  lookups(frames: number): Graph {
    const { g, past, shape } = this;
    const vectors = this.dequantize(g.input("codes", "i32", [frames, CODEBOOKS]));
    g.output("vectors", transposedBatch(g, vectors), "f32", [1, shape.codebookDim, frames]);
    const { cos, sin, mask } = this.attention(NPU_MASKED);
    const half = shape.headDim / 2;
    g.output("cos", reshape(g, cos, [1, frames, half]), "f32", [1, frames, half]);
    g.output("sin", reshape(g, sin, [1, frames, half]), "f32", [1, frames, half]);
    g.output("mask", reshape(g, mask, [1, frames, past + frames]), "f32", [1, frames, past + frames]);
    return g;
  }

  end(frames: number, scale: number): Graph {
    const { g, shape } = this;
    const x = timeMajor(g, g.input("x", "f32", [1, shape.decoderDim, frames * this.frontPerFrame]), shape.decoderDim);
    g.output("samples", this.tail(scale === 1 ? x : g.op("Mul", [x, g.float(1 / scale)])), "f32", [frames * SAMPLES_PER_FRAME]);
    return g;
  }

  protected toRows = (x: string) => x;
  protected toSignal = (x: string) => x;
  protected pointwise = (x: string, weight: Tensor, bias: Tensor) => linear(this.g, x, weight, bias);
  protected rmsNorm = (x: string, weight: Tensor, eps: number) => rmsNorm(this.g, x, weight, eps);
  protected rotate = (x: string, attention: Attention) => rotate(this.g, x, attention);
  protected gelu = (x: string) => this.g.op("Gelu", [x]);
  protected clipped = (x: string) => reshape(this.g, this.g.op("Clip", [x, this.g.float(-1), this.g.float(1)]), [-1]);

  /** x [time, width] behind the last `rows` rows of what came before it. */
  private withContext(name: string, x: string, rows: number, width: number): string {
    const { g } = this;
    const state = this.state(name, [rows, width]);
    const padded = g.op("Concat", [state.value, x], { axis: 0 });
    state.keep(slice(g, padded, 0, -rows));
    return padded;
  }

  /** By ONNX Runtime's operator, which wants channels first. */
  protected narrowConv(name: string, x: string, weight: string, size: ConvSize, _perFrame: number, dilation = 1, group = 1): string {
    const { g } = this;
    const padded = this.withContext(name, x, (size[2] - 1) * dilation, size[1] * group);
    const parameters = [g.tensor(this.take(`${weight}.weight`, size)), g.tensor(this.take(`${weight}.bias`, [size[0]]))];
    const y = g.op("Conv", [transposedBatch(g, padded), ...parameters], { dilations: [dilation], group, kernel_shape: [size[2]] });
    return timeMajor(g, y, size[0]);
  }

  protected conv(name: string, x: string, weight: string, size: ConvSize, perFrame: number, dilation = 1): string {
    const [outputs, inputs, taps] = size;
    const tensor = this.take(`${weight}.weight`, size);
    const bias = toFloat32(this.take(`${weight}.bias`, [outputs]));
    const matrices = () => matricesOf(toFloat32(tensor), size);
    const padded = this.withContext(name, x, (taps - 1) * dilation, inputs);
    return filter(this.g, { padded, perFrame, frames: this.frames }, { taps, dilation, inputs, outputs, matrices, bias });
  }

  protected unitConv(name: string, x: string, weight: string, size: ConvSize, perFrame: number, dilation: number): string {
    if (size[0] < LEAST_FILTER_WIDTH) return this.narrowConv(name, x, weight, size, perFrame, dilation);
    return this.conv(name, x, weight, size, perFrame, dilation);
  }

  /** A filter whose rows are `stride` results side by side. */
  protected transposedConv(name: string, x: string, weight: string, size: TransposedSize, stride: number, perFrame: number): string {
    const [inputs, out] = size;
    const taps = transposedTaps(weight, size, stride);
    const tensor = this.take(`${weight}.weight`, size);
    const bias = repeated(toFloat32(this.take(`${weight}.bias`, [out])), stride);
    const matrices = () => transposedMatricesOf(toFloat32(tensor), size, stride);
    const padded = taps === 1 ? x : this.withContext(name, x, 1, inputs);
    const rows = { padded, perFrame, frames: this.frames };
    return reshape(this.g, filter(this.g, rows, { taps, dilation: 1, inputs, outputs: stride * out, matrices, bias }), [-1, out]);
  }

  protected snakeOf(x: string, _name: string, alpha: Float32Array, scale: Float32Array, perFrame: number): string {
    const { g } = this;
    const repeat = Math.min(LONGEST_REPEAT, perFrame & -perFrame);
    const channels = alpha.length;
    const constant = (values: Float32Array) => g.values(repeated(values, repeat), [repeat * channels]);
    const wide = reshape(g, x, [-1, repeat * channels]);
    const sine = g.op("Sin", [g.op("Mul", [wide, constant(alpha)])]);
    const square = g.op("Mul", [g.op("Mul", [sine, sine]), constant(scale)]);
    return reshape(g, g.op("Add", [wide, square]), [-1, channels]);
  }

  protected attention(masked = -Infinity): Attention {
    const { g, past, shape } = this;
    const position = g.op("Cast", [g.input("position", "i32", [1])], { to: 7 });
    const rotary = rotaryTables(g, reshape(g, g.op("Add", [this.frames, position]), [-1]), shape.headDim, shape.ropeTheta);
    return { ...rotary, mask: this.windowMask(position, past, masked) };
  }

  /** Slot j of [past slots, new frames] is visible to new frame i iff i <= j <= i + past and j holds a frame at all. */
  private windowMask(position: string, past: number, masked: number): string {
    const { g, frames: query } = this;
    const slots = g.op("Range", [g.ints([0], []), g.op("Add", [this.count, g.ints([past], [])]), g.ints([1], [])]);
    const recent = g.op("GreaterOrEqual", [slots, query]);
    const causal = g.op("LessOrEqual", [slots, g.op("Add", [query, g.ints([past], [])])]);
    const exists = g.op("GreaterOrEqual", [slots, g.op("Sub", [g.ints([past]), position])]);
    return additiveMask(g, g.op("And", [g.op("And", [recent, causal]), exists]), masked);
  }
}

function repeated(values: Float32Array, times: number): Float32Array {
  return Float32Array.from({ length: times * values.length }, (_, i) => values[i % values.length]);
}

/** Taps of a convolution, [out, in, kernel], as the matrices of a filter, [kernel, in, out]. */
function matricesOf(taps: Float32Array, [out, inputs, kernel]: ConvSize): Float32Array {
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
function transposedMatricesOf(taps: Float32Array, [inputs, out, kernel]: TransposedSize, stride: number): Float32Array {
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
