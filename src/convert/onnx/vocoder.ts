// The codec decoder on ONNX Runtime, codes to samples. All its memory, the past inputs of convolutions and
// the KV window, is an explicit input and output, so any chunking of the same frames gives the same samples.
// Everything is [time, channels]: a row of a matrix product is a moment, and the results of a transposed
// convolution are already in order of time. Where an NPU does the rest (npu/vocoder.ts), this also gives the
// CPU's graphs: lookups and integers in front, Snakes behind.

import { TtsError } from "../../errors.ts";
import type { Checkpoint, CodecShape, Weights } from "../../formats/checkpoint.ts";
import { END, Graph } from "../../formats/onnx.ts";
import { type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../types.ts";
import { sumOfBooks } from "./_codebooks.ts";
import { type Filter, filter, select, selectionOf } from "./_filter.ts";
import {
  additiveMask,
  codeVectors,
  linear,
  linearOfFew,
  reshape,
  rmsNorm,
  rotaryTables,
  slice,
  timeMajor,
  transpose,
  transposedBatch,
} from "./layers.ts";
import {
  type Attention,
  type ConvSize,
  type Projection,
  type TransposedSize,
  transposedTaps,
  VocoderNetwork,
} from "./vocoder-network.ts";

/**
 * Constants per channel are repeated up to this often, by a power of two, to make rows long: each row costs
 * elementwise operators time.
 */
const LONGEST_REPEAT = 16;
/** Below this width ONNX Runtime's own convolution is as fast. */
const LEAST_FILTER_WIDTH = 64;
/**
 * Added to scores to hide a slot on an NPU. Fixed-point softmax has no minus infinity, and a larger magnitude
 * would leave the scores too few steps.
 */
const NPU_MASKED = -100;

/**
 * Inputs: `codes` i32 [frames, 16]; `position` i32 [1], frames decoded so far; `state.*` f32, all zero at the
 * start. Outputs: `samples` f32 [frames * 1920] in [-1, 1]; `next.*`, the state for the following call.
 */
export function vocoderGraph(checkpoint: Checkpoint): Graph {
  const g = new Graph({ name: "vocoder" });
  return new OrtVocoderBuilder(g, checkpoint.codec, checkpoint.codecWeights, "frames").whole();
}

/** How tensors lie that go to an NPU or come from it. */
export interface NpuLayout {
  /** The last size of each is a multiple of this. */
  rowUnit: number;
  /** Whether signals of few moments are [1, time, channels] there, not [1, channels, time]. */
  timeMajor: boolean;
}

/** `size` or the next larger one that a layout allows as a last size. */
export const wholeRow = (size: number, { rowUnit }: NpuLayout) => Math.ceil(size / rowUnit) * rowUnit;

/** A shape of a signal of few moments. */
export const signalShape = (channels: number, moments: number, { timeMajor }: NpuLayout) =>
  timeMajor ? [1, moments, channels] : [1, channels, moments];

/**
 * The part that an NPU's vocoder cannot do: lookups and integers. Inputs: `codes` i32 [frames, 16];
 * `position` i32 [1]. Outputs: `vectors` f32, a signal of codebookDim channels; `cos` and `sin` f32 [1,
 * frames, headDim / 2] and `mask` f32 [1, frames, window - 1 + frames], rows led by zeros to whole ones.
 */
export function vocoderFrontGraph(checkpoint: Checkpoint, frames: number, layout: NpuLayout): Graph {
  const g = new Graph({ name: "vocoder front" });
  return new OrtVocoderBuilder(g, checkpoint.codec, checkpoint.codecWeights, frames).lookups(frames, layout);
}

/**
 * The part from the first Snake on, where an NPU's vocoder ends before it. Inputs: `x` f32, `scale` times the
 * signal of decoderDim channels; `state.*`. Outputs: `samples` f32 [frames * 1920]; `next.*`.
 */
export function vocoderTailGraph(
  checkpoint: Checkpoint,
  frames: number,
  scale: number,
  layout: NpuLayout,
): Graph {
  const g = new Graph({ name: "vocoder tail" });
  const builder = new OrtVocoderBuilder(g, checkpoint.codec, checkpoint.codecWeights, frames);
  return builder.end(frames, scale, layout);
}

class OrtVocoderBuilder extends VocoderNetwork {
  private readonly codes: string = "";
  /** Frames decoded so far, i32 [1]. It stays an input even where no layer attends and nothing reads it. */
  private position = "";
  /** Number of frames: i64 scalar. */
  private readonly count: string;
  /** 0, 1, 2 ...: i64 [frames, 1] */
  private readonly frames: string;

  constructor(g: Graph, shape: CodecShape, weights: Weights, frames: number | "frames") {
    super(g, shape, weights);
    if (frames === "frames") {
      this.codes = g.input("codes", "i32", ["frames", CODES_PER_FRAME]);
      this.count = g.op("Squeeze", [g.op("Shape", [this.codes], { end: 1 }), g.ints([0])]);
    } else this.count = g.ints([frames], []);
    this.frames = g.op("Unsqueeze", [
      g.op("Range", [g.ints([0], []), this.count, g.ints([1], [])]),
      g.ints([1]),
    ]);
  }

  whole(): Graph {
    const { g } = this;
    this.position = g.input("position", "i32", [1]);
    g.output("samples", this.tail(this.front(this.dequantize(this.codes))), "f32", ["samples"]);
    return g;
  }

  lookups(frames: number, layout: NpuLayout): Graph {
    const { g, past, shape } = this;
    const vectors = this.dequantize(g.input("codes", "i32", [frames, CODES_PER_FRAME]));
    this.position = g.input("position", "i32", [1]);
    const size = signalShape(shape.codebookDim, frames, layout);
    const signal = layout.timeMajor ? reshape(g, vectors, size) : transposedBatch(g, vectors);
    g.output("vectors", signal, "f32", size);
    const { cos, sin, mask } = this.tablesOf(NPU_MASKED);
    const table = (name: string, value: string, width: number) => {
      const whole = wholeRow(width, layout);
      const zeros = () => g.values(new Float32Array(frames * (whole - width)), [frames, whole - width]);
      const row = whole === width ? value : g.op("Concat", [zeros(), value], { axis: 1 });
      g.output(name, reshape(g, row, [1, frames, whole]), "f32", [1, frames, whole]);
    };
    table("cos", cos, shape.headDim / 2);
    table("sin", sin, shape.headDim / 2);
    table("mask", mask, past + frames);
    return g;
  }

  end(frames: number, scale: number, layout: NpuLayout): Graph {
    const { g, shape } = this;
    const [width, moments] = [shape.decoderDim, frames * this.frontPerFrame];
    const signal = g.input("x", "f32", signalShape(width, moments, layout));
    const x = layout.timeMajor ? reshape(g, signal, [moments, width]) : timeMajor(g, signal, width);
    g.output("samples", this.tail(scale === 1 ? x : g.op("Mul", [x, g.float(1 / scale)])), "f32", [
      frames * SAMPLES_PER_FRAME,
    ]);
    return g;
  }

  /**
   * Codes i32 [frames, 16] to latent vectors [frames, codebookDim]: the first book and the sum of the others,
   * each through its own projection.
   */
  private dequantize(codes: string): string {
    const { g, shape } = this;
    const { codebookDim, codebookSize: size } = shape;
    const width = codebookDim / 2;
    const terms = (["rvq_first", "rvq_rest"] as const).flatMap((part) => {
      const [from, count] = part === "rvq_first" ? [0, 1] : [1, CODES_PER_FRAME - 1];
      const vectors = Array.from({ length: count }, (_, layer) => {
        const book = `quantizer.${part}.vq.layers.${layer}._codebook`;
        return codeVectors(
          this.take(`${book}.embedding_sum`, [size, width]),
          this.take(`${book}.cluster_usage`, [size]),
        );
      });
      const sum = sumOfBooks(g, codes, { from, vectors, width });
      return sum === null
        ? []
        : [this.project(sum, this.take(`quantizer.${part}.output_proj.weight`, [codebookDim, width, 1]))];
    });
    if (terms.length === 0) {
      throw new TtsError(
        "CHECKPOINT_INVALID",
        `${this.weights.files[0]}: all codebooks hold only zeros`,
        "the weights are damaged",
      );
    }
    return terms.reduce((sum, term) => g.op("Add", [sum, term]));
  }

  protected raised = (x: string, values: Float32Array) =>
    this.g.op("Add", [x, this.g.values(values, [values.length])]);
  protected toRows = (x: string) => x;
  protected toSignal = (x: string) => x;
  protected product = (x: string, weight: Tensor, bias?: Tensor) =>
    linearOfFew(
      this.g,
      x,
      this.g.tensor(weight, [weight.shape[0], weight.shape[1]]),
      bias === undefined ? undefined : this.g.tensor(bias),
    );
  protected pointwise = (x: string, weight: Tensor, bias: Tensor) => linear(this.g, x, weight, bias);
  protected rmsNorm = (x: string, weight: Tensor, eps: number) => rmsNorm(this.g, x, weight, eps);
  protected gelu = (x: string) => this.g.op("Gelu", [x]);
  protected clipped = (x: string) =>
    reshape(this.g, this.g.op("Clip", [x, this.g.float(-1), this.g.float(1)]), [-1]);

  /** x [time, width] with the last `rows` rows before it in front. */
  private withContext(name: string, x: string, rows: number, width: number): string {
    const { g } = this;
    const state = this.state(name, [rows, width]);
    const padded = g.op("Concat", [state.value, x], { axis: 0 });
    state.keep(slice(g, padded, 0, -rows));
    return padded;
  }

  protected project(x: string, weight: Tensor, bias?: Tensor): string {
    const [outputs, inputs] = weight.shape;
    const copied = selectionOf({
      ...{
        taps: 1,
        dilation: 1,
        inputs,
        outputs,
        bias: bias === undefined ? new Float32Array(outputs) : toFloat32(bias),
      },
      weights: () => {
        const values = toFloat32(weight);
        return (_, input, output) => values[output * inputs + input];
      },
    });
    return copied === null ? this.product(x, weight, bias) : select(this.g, x, copied);
  }

  /** Uses ONNX Runtime's operator, which takes channels first. */
  protected narrowConv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    _perFrame: number,
    dilation = 1,
    group = 1,
  ): string {
    const { g } = this;
    const copied = selectionOf(this.convolution(weight, size, dilation, group));
    if (copied !== null) return select(g, x, copied);
    const padded = this.withContext(name, x, (size[2] - 1) * dilation, size[1] * group);
    if (size[0] === 1) return this.narrowest(padded, weight, size);
    const parameters = [
      g.tensor(this.take(`${weight}.weight`, size)),
      g.tensor(this.take(`${weight}.bias`, [size[0]])),
    ];
    const y = g.op("Conv", [transposedBatch(g, padded), ...parameters], {
      dilations: [dilation],
      group,
      kernel_shape: [size[2]],
    });
    return timeMajor(g, y, size[0]);
  }

  /**
   * A convolution to one channel: the product of all rows with all taps, whose diagonals are summed. ONNX
   * Runtime's own takes more than twice as long.
   */
  private narrowest(padded: string, weight: string, size: ConvSize): string {
    const { g } = this;
    const [, inputs, taps] = size;
    const matrix = g.tensor(this.take(`${weight}.weight`, size), [inputs, taps]);
    const ofTaps = transpose(g, g.op("MatMul", [padded, matrix]), [1, 0]); // [taps, context + time]
    const terms = Array.from({ length: taps }, (_, tap) => {
      const end = tap + 1 - taps || END;
      return g.op("Slice", [ofTaps, g.ints([tap, tap]), g.ints([tap + 1, end]), g.ints([0, 1])]);
    });
    const bias = g.tensor(this.take(`${weight}.bias`, [1]));
    return reshape(
      g,
      [...terms, bias].reduce((sum, term) => g.op("Add", [sum, term])),
      [-1, 1],
    );
  }

  protected conv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation = 1,
  ): string {
    return this.filtered(name, x, this.convolution(weight, size, dilation), perFrame);
  }

  /**
   * Filters the newest rows alone where the filter looks at nothing else; otherwise with the rows before
   * them.
   */
  private filtered(name: string, x: string, what: Filter, perFrame: number): string {
    const copied = selectionOf(what);
    if (copied !== null) return select(this.g, x, copied);
    const context = (what.taps - 1) * what.dilation;
    const padded = context === 0 ? x : this.withContext(name, x, context, what.inputs);
    return filter(this.g, { padded, perFrame, frames: this.frames }, what);
  }

  /** Reads a weight in torch's order, [out, in per group, kernel]. */
  private convolution(weight: string, size: ConvSize, dilation: number, group = 1): Filter {
    const [outputs, inputsOfGroup, taps] = size;
    const outputsOfGroup = outputs / group;
    const tensor = this.take(`${weight}.weight`, size);
    return {
      ...{ taps, dilation, inputs: inputsOfGroup * group, outputs },
      bias: toFloat32(this.take(`${weight}.bias`, [outputs])),
      weights: () => {
        const values = toFloat32(tensor);
        return (tap, input, output) => {
          const inGroup = input - Math.floor(output / outputsOfGroup) * inputsOfGroup;
          return inGroup < 0 || inGroup >= inputsOfGroup
            ? 0
            : values[(output * inputsOfGroup + inGroup) * taps + tap];
        };
      },
    };
  }

  protected unitConv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation: number,
  ): string {
    if (size[0] < LEAST_FILTER_WIDTH) return this.narrowConv(name, x, weight, size, perFrame, dilation);
    return this.conv(name, x, weight, size, perFrame, dilation);
  }

  /**
   * A filter whose rows are `stride` results side by side. The weight is in torch's order, [in, out, kernel];
   * its first taps belong to the newest input.
   */
  protected transposedConv(
    name: string,
    x: string,
    weight: string,
    size: TransposedSize,
    stride: number,
    perFrame: number,
  ): string {
    const [inputs, out, kernel] = size;
    const taps = transposedTaps(weight, size, stride);
    const tensor = this.take(`${weight}.weight`, size);
    const what: Filter = {
      ...{ taps, dilation: 1, inputs, outputs: stride * out },
      bias: repeated(toFloat32(this.take(`${weight}.bias`, [out])), stride),
      weights: () => {
        const values = toFloat32(tensor);
        return (tap, input, column) => {
          const phase = Math.floor(column / out);
          return values[(input * out + column - phase * out) * kernel + (taps - 1 - tap) * stride + phase];
        };
      },
    };
    return reshape(this.g, this.filtered(name, x, what, perFrame), [-1, out]);
  }

  protected snakeOf(
    x: string,
    _name: string,
    alpha: Float32Array,
    scale: Float32Array,
    perFrame: number,
  ): string {
    const { g } = this;
    const repeat = Math.min(LONGEST_REPEAT, perFrame & -perFrame);
    const channels = alpha.length;
    const constant = (values: Float32Array) => g.values(repeated(values, repeat), [repeat * channels]);
    const wide = reshape(g, x, [-1, repeat * channels]);
    const sine = g.op("Sin", [g.op("Mul", [wide, constant(alpha)])]);
    const square = g.op("Mul", [g.op("Mul", [sine, sine]), constant(scale)]);
    return reshape(g, g.op("Add", [wide, square]), [-1, channels]);
  }

  protected attention = () => this.tablesOf(-Infinity);

  private tablesOf(masked: number): Attention {
    const { g, past, shape } = this;
    const position = g.op("Cast", [this.position], { to: 7 });
    const rotary = rotaryTables(
      g,
      reshape(g, g.op("Add", [this.frames, position]), [-1]),
      shape.headDim,
      shape.ropeTheta,
    );
    return { ...rotary, mask: this.windowMask(position, past, masked) };
  }

  /** ONNX Runtime's operators rotate and attend; each takes heads as they come, side by side. */
  protected attend(layer: number, project: Projection, { cos, sin, mask }: Attention): string {
    const { g, past, shape } = this;
    const { heads, headDim } = shape;
    const rows = (part: "q" | "k" | "v") => g.op("Unsqueeze", [project(part), g.ints([0])]);
    const moments = reshape(g, this.frames, [1, -1]);
    const rotated = (part: "q" | "k") => g.ortOp("RotaryEmbedding", [rows(part), moments, cos, sin]);
    const states = ["k", "v"].map((name) => this.state(`layer.${layer}.${name}`, [1, heads, past, headDim]));
    const [mixed, ...windows] = g.ortOps(
      "MultiHeadAttention",
      3,
      [
        ...[rotated("q"), rotated("k"), rows("v"), "", ""],
        g.op("Unsqueeze", [mask, g.ints([0, 1])]),
        ...states.map(({ value }) => value),
      ],
      { num_heads: heads },
    );
    states.forEach(({ keep }, i) => {
      keep(slice(g, windows[i], 2, -past));
    });
    return reshape(g, mixed, [-1, heads * headDim]);
  }

  /**
   * Slot j of [past slots, new frames] is visible to new frame i if i <= j <= i + past and j holds a frame.
   */
  private windowMask(position: string, past: number, masked: number): string {
    const { g, frames: query } = this;
    const slots = g.op("Range", [
      g.ints([0], []),
      g.op("Add", [this.count, g.ints([past], [])]),
      g.ints([1], []),
    ]);
    const recent = g.op("GreaterOrEqual", [slots, query]);
    const causal = g.op("LessOrEqual", [slots, g.op("Add", [query, g.ints([past], [])])]);
    const exists = g.op("GreaterOrEqual", [slots, g.op("Sub", [g.ints([past]), position])]);
    return additiveMask(g, g.op("And", [g.op("And", [recent, causal]), exists]), masked);
  }
}

function repeated(values: Float32Array, times: number): Float32Array {
  return Float32Array.from({ length: times * values.length }, (_, i) => values[i % values.length]);
}
