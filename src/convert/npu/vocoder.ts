// The codec decoder for NPUs: fixed shapes, only f32, at most three dimensions, no integers while it runs,
// and only operators that RK3588 or AX650 list. It is the same network as onnx/vocoder.ts; vocoderFrontGraph
// does lookups and integers in front of it.
//
// - A signal is [1, channels, time]. Concat puts contexts in front, which are states.
// - An RK3588 reshapes tensors on its CPU whose last size is no multiple of 8. So states have whole rows of
//   which a layer reads the end, and signals of few moments go in and out as rows of channels.
// - Transposed convolutions are convolutions that give all results of a moment as channels, which are then
//   put side by side in time. This serves every stride: with strides 5 and 3 RK3588's own operator pads on
//   the CPU. With 8 and 4 it takes eight and four times the cycles, and a reshuffle only moves the signal.
// - RMSNorm is what each toolkit makes one operator of, as is Gelu, which is written as torch exports it.
// - sin^2 is one operator and a product where the NPU computes sines; otherwise see _folded-sine.ts.

import { TtsError } from "../../errors.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { isZero, type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import type { NpuTarget, RknnChip } from "../../npu-vendors.ts";
import { SAMPLES_PER_FRAME } from "../../types.ts";
import { linear, reshape, slice, transpose } from "../onnx/layers.ts";
import { signalShape, wholeRow } from "../onnx/vocoder.ts";
import {
  type Attention,
  type ConvSize,
  type Projection,
  type TransposedSize,
  transposedTaps,
  VocoderNetwork,
} from "../onnx/vocoder-network.ts";
import { foldedSine } from "./_folded-sine.ts";
import { beyondLimits } from "./_limits.ts";
import { type Result, sideBySide } from "./_side-by-side.ts";
import type { GraphStyle } from "./_toolkit.ts";
import { operatorsOf, TOOLKITS } from "./_toolkits.ts";

/** What the graph takes from measured ranges of the signal, see {@link rangesOf}. */
export interface VocoderRanges {
  /**
   * Factors of the signal: behind the entry, and in each decoder block. They are powers of two, so that
   * nothing is rounded.
   */
  scales: readonly number[];
  /** Snake -> exponent of two of the half turns that its angle may have in either direction. */
  folds: Readonly<Record<string, number>>;
}

export interface NpuVocoderOptions {
  /** Frames of a run. */
  frames: number;
  target: NpuTarget;
  /** The Rockchip chip; null or absent for another target. */
  chip?: RknnChip | null;
  /** Where the graph ends: with the samples, or before the first Snake. */
  end: "samples" | "front";
  ranges: VocoderRanges;
}

/** A larger signal leaves float16 too little room: it ends at 65504. */
export const LARGEST_SIGNAL = 3e4;
/** Angles of other texts may be this many times the measured ones. */
const ANGLE_MARGIN = 4;
const MOST_FOLDS = 12;
/** Prefixes of a measuring graph's outputs. */
const PEAK = { angle: "angle.", signal: "signal." } as const;

/**
 * The graph for measuring: it scales nothing, and each Snake reports its largest angle and the largest value
 * around it.
 */
export function vocoderPeaksGraph(checkpoint: Checkpoint, frames: number, target: NpuTarget): Graph {
  const ranges = { scales: checkpoint.codec.upsampleRates.map(() => 1).concat(1), folds: {} };
  const style = { ...TOOLKITS[target].style, hasSine: true };
  return new NpuVocoderBuilder(checkpoint, { frames, style, end: "samples", ranges }, true).build();
}

/**
 * The ranges from the largest values that {@link vocoderPeaksGraph} gave over a real run, by output name.
 * @param blocks number of decoder blocks
 */
export function rangesOf(peaks: Readonly<Record<string, number>>, blocks: number): VocoderRanges {
  const scales = Array.from({ length: blocks + 1 }, (_, level) => {
    const largest = Object.entries(peaks).flatMap(([name, peak]) =>
      name.startsWith(`${PEAK.signal}${level + 1}.`) ? [peak] : [],
    );
    return 2 ** -Math.max(0, Math.ceil(Math.log2(Math.max(0, ...largest) / LARGEST_SIGNAL)));
  });
  const angles = Object.entries(peaks).filter(([name]) => name.startsWith(PEAK.angle));
  const folds = angles.map(([name, peak]) => {
    return [
      name.slice(PEAK.angle.length),
      Math.min(MOST_FOLDS, Math.max(0, Math.ceil(Math.log2((ANGLE_MARGIN * peak) / Math.PI)))),
    ];
  });
  return { scales, folds: Object.fromEntries(folds) };
}

/**
 * Inputs: what vocoderFrontGraph gives; `state.*`, all zero at the start. Outputs: `samples` f32 [1, 1,
 * frames * 1920] in [-1, 1], or `x` f32 [1, decoderDim, frames * 4] if it ends before the first Snake;
 * `next.*`.
 * @throws TtsError MODEL_UNSUITABLE when something in it is beyond the NPU's limits
 */
export function vocoderNpuGraph(checkpoint: Checkpoint, options: NpuVocoderOptions): Graph {
  const operators = operatorsOf(options.target, options.chip);
  const style = { ...TOOLKITS[options.target].style, hasSine: operators.includes("Sin") };
  const graph = new NpuVocoderBuilder(checkpoint, { ...options, style }).build();
  const beyond = beyondLimits(graph, operators);
  if (beyond === null) return graph;
  const what = `${checkpoint.directory}: its vocoder is beyond what ${options.target} can do: ${beyond}`;
  throw new TtsError(
    "MODEL_UNSUITABLE",
    what,
    options.frames === 1 ? "leave the vocoder on the CPU" : "give fewer {frames}",
  );
}

class NpuVocoderBuilder extends VocoderNetwork {
  private readonly frames: number;
  /** Factors of the front and of each level after it. */
  private readonly scales: readonly number[];
  /** 0 in the front, 1 behind the entry, then the number of the decoder block plus 1. */
  private level = 0;

  constructor(
    { codec, codecWeights }: Checkpoint,
    private readonly options: Omit<NpuVocoderOptions, "target"> & { style: GraphStyle },
    private readonly measures = false,
  ) {
    super(new Graph({ name: "vocoder" }), codec, codecWeights);
    this.frames = options.frames;
    this.scales = [1, ...options.ranges.scales];
  }

  build(): Graph {
    const { frames, g, shape } = this;
    const { end, style } = this.options;
    const signal = (channels: number, moments: number) => signalShape(channels, moments, style);
    const turned = (x: string) => (style.timeMajor ? transpose(g, x, [0, 2, 1]) : x);
    const x = this.front(turned(g.input("vectors", "f32", signal(shape.codebookDim, frames))));
    if (end === "samples") g.output("samples", this.tail(x), "f32", [1, 1, frames * SAMPLES_PER_FRAME]);
    else g.output("x", turned(x), "f32", signal(shape.decoderDim, frames * this.frontPerFrame));
    return g;
  }

  protected attention(): Attention {
    const { frames, g, past, shape } = this;
    const table = (name: string, width: number) => {
      const whole = wholeRow(width, this.options.style);
      const given = g.input(name, "f32", [1, frames, whole]);
      return whole === width ? given : slice(g, given, 2, whole - width);
    };
    const half = shape.headDim / 2;
    const made = new Map<string, string>();
    /** Declared when it is first read: the toolkit removes inputs that nobody reads. */
    const once = (name: string, width: number) => {
      const value = made.get(name) ?? table(name, width);
      made.set(name, value);
      return value;
    };
    return {
      get cos() {
        return once("cos", half);
      },
      get sin() {
        return once("sin", half);
      },
      get mask() {
        return once("mask", past + frames);
      },
    };
  }

  protected raised(x: string, values: Float32Array): string {
    const scale = this.scales[this.level];
    const constant = this.g.values(
      values.map((value) => value * scale),
      [1, values.length, 1],
    );
    return this.g.op("Add", [x, constant]);
  }

  protected toRows(x: string, width: number, perFrame: number): string {
    return transpose(this.g, reshape(this.g, x, [width, this.frames * perFrame]), [1, 0]);
  }

  protected toSignal(x: string, width: number, perFrame: number): string {
    return reshape(this.g, transpose(this.g, x, [1, 0]), [1, width, this.frames * perFrame]);
  }

  protected rmsNorm(x: string, weight: Tensor, eps: number): string {
    const { g } = this;
    const [width] = weight.shape;
    assertNotZero(weight);
    if (this.options.style.fusesRmsNorm) {
      const mean = g.op("ReduceMean", [g.op("Pow", [x, g.float(2)]), g.ints([-1])], { keepdims: 1 });
      const root = g.op("Sqrt", [g.op("Add", [mean, g.float(eps)])]);
      return g.op("Mul", [g.op("Div", [x, root]), g.tensor(weight)]);
    }
    const both = g.op("Concat", [x, g.op("Mul", [x, g.float(-1)])], { axis: -1 });
    const weights = () =>
      Float32Array.from({ length: 2 * width }, (_, i) => (i < width ? toFloat32(weight)[i] : 0));
    const zeros = g.values(new Float32Array(2 * width), [2 * width]);
    const parameters = [g.values(weights, [2 * width]), zeros];
    return slice(
      g,
      g.op("LayerNormalization", [both, ...parameters], { axis: -1, epsilon: { float: eps } }),
      1,
      0,
      width,
    );
  }

  protected attend(layer: number, project: Projection, tables: Attention, uniform: boolean): string {
    const { g, past, shape } = this;
    const { heads, headDim } = shape;
    /** [time, heads * dim] -> [heads, time, dim] */
    const split = (part: "q" | "k" | "v") =>
      transpose(g, reshape(g, project(part), [-1, heads, headDim]), [1, 0, 2]);
    const window = (name: string, added: string) => {
      const state = this.state(`layer.${layer}.${name}`, [heads, past, headDim]);
      const all = g.op("Concat", [state.value, added], { axis: 1 });
      state.keep(slice(g, all, 1, -past));
      return all;
    };
    const scoresOf = () => {
      const q = g.op("Mul", [this.rotate(split("q"), tables), g.float(1 / Math.sqrt(headDim))]);
      const keys = window("k", this.rotate(split("k"), tables));
      return g.op("Add", [g.op("MatMul", [q, transpose(g, keys, [0, 2, 1])]), tables.mask]);
    };
    const scores = uniform ? tables.mask : scoresOf();
    const values = window("v", split("v"));
    const mixed = g.op("MatMul", [g.op("Softmax", [scores], { axis: -1 }), values]);
    return reshape(g, transpose(g, mixed, [1, 0, 2]), [-1, heads * headDim]);
  }

  /** NeoX rotation by slices: Split in this opset has no num_outputs. */
  private rotate(x: string, { cos, sin }: Attention): string {
    const { g } = this;
    const half = this.shape.headDim / 2;
    const [low, high] = [slice(g, x, 2, 0, half), slice(g, x, 2, half, 2 * half)];
    const first = g.op("Sub", [g.op("Mul", [low, cos]), g.op("Mul", [high, sin])]);
    return g.op("Concat", [first, g.op("Add", [g.op("Mul", [high, cos]), g.op("Mul", [low, sin])])], {
      axis: 2,
    });
  }

  protected gelu(x: string): string {
    const { g } = this;
    const erf = g.op("Erf", [g.op("Div", [x, g.float(Math.SQRT2)])]);
    return g.op("Mul", [g.op("Mul", [x, g.op("Add", [erf, g.float(1)])]), g.float(0.5)]);
  }

  protected clipped(x: string): string {
    return this.g.op("Clip", [x, this.g.float(-1), this.g.float(1)]);
  }

  protected conv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation = 1,
  ): string {
    return this.narrowConv(name, x, weight, size, perFrame, dilation);
  }

  protected unitConv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation: number,
  ): string {
    return this.narrowConv(name, x, weight, size, perFrame, dilation);
  }

  protected narrowConv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation = 1,
    group = 1,
  ): string {
    const padded = this.withContext(name, x, (size[2] - 1) * dilation, size[1] * group, perFrame);
    const from = this.scales[this.level];
    if (name === "entry") this.level++;
    const to = name === "exit" ? 1 : this.scales[this.level];
    const taps = this.scaled(this.needed(`${weight}.weight`, size), to / from);
    const bias = this.scaled(this.take(`${weight}.bias`, [size[0]]), to);
    return this.g.op("Conv", [padded, taps, bias], {
      dilations: [dilation],
      group,
      kernel_shape: [size[2]],
      pads: [0, 0],
      strides: [1],
    });
  }

  protected project(x: string, weight: Tensor, bias?: Tensor): string {
    assertNotZero(weight);
    return linear(this.g, x, weight, bias);
  }

  protected product(x: string, weight: Tensor, bias?: Tensor): string {
    return linear(this.g, x, weight, bias);
  }

  protected pointwise(x: string, weight: Tensor, bias: Tensor): string {
    const parameters = [this.scaled(weight, 1), this.scaled(bias, this.scales[this.level])];
    return this.g.op("Conv", [x, ...parameters], { kernel_shape: [1], pads: [0, 0], strides: [1] });
  }

  /** A convolution gives all results of a moment as channels, which then go behind each other in time. */
  protected transposedConv(
    name: string,
    x: string,
    weight: string,
    size: TransposedSize,
    stride: number,
    perFrame: number,
  ): string {
    const { g } = this;
    const { rowUnit } = this.options.style;
    const [inputs, out] = size;
    const taps = transposedTaps(weight, size, stride);
    const padded = taps === 1 ? x : this.withContext(name, x, 1, inputs, perFrame);
    const from = this.scales[this.level];
    if (this.level > 0) this.level++;
    const to = this.scales[this.level];
    const tensor = this.needed(`${weight}.weight`, size);
    const bias = toFloat32(this.take(`${weight}.bias`, [out]));
    const convolve = (results: readonly Result[]) => {
      const parameters = [
        g.values(
          () => sideBySide(toFloat32(tensor), size, results, stride, to / from),
          [results.length, inputs, taps],
        ),
        g.values(
          Float32Array.from(results, ({ channel }) => bias[channel] * to),
          [results.length],
        ),
      ];
      return g.op("Conv", [padded, ...parameters], { kernel_shape: [taps], pads: [0, 0], strides: [1] });
    };
    const [channels, phases] = [upTo(out), upTo(stride)];
    const byPhase = phases.map((phase) => channels.map((channel) => ({ channel, phase })));
    const moments = this.frames * perFrame;
    if (moments % rowUnit === 0) {
      const byChannel = channels.flatMap((channel) => phases.map((phase) => ({ channel, phase })));
      const inTime = transpose(g, reshape(g, convolve(byChannel), [out, stride, moments]), [0, 2, 1]);
      return reshape(g, inTime, [1, out, moments * stride]);
    }
    if (moments === 1) return g.op("Concat", byPhase.map(convolve), { axis: 2 });
    const rows = this.toRows(convolve(byPhase.flat()), out * stride, perFrame);
    return this.toSignal(reshape(g, rows, [moments * stride, out]), out, perFrame * stride);
  }

  /** x [1, width, moments] with the last `count` moments before it in front. */
  private withContext(name: string, x: string, count: number, width: number, perFrame: number): string {
    const { g } = this;
    const moments = this.frames * perFrame;
    const kept = wholeRow(count, this.options.style);
    const state = this.state(name, [1, width, kept]);
    const before = kept === count ? state.value : slice(g, state.value, 2, kept - count);
    const padded = g.op("Concat", [before, x], { axis: 2 });
    const all = kept <= moments ? x : kept === count ? padded : g.op("Concat", [state.value, x], { axis: 2 });
    state.keep(kept === moments ? x : slice(g, all, 2, -kept));
    return padded;
  }

  /** A weight that all sound goes through. */
  private needed(name: string, size: readonly number[]): Tensor {
    const tensor = this.take(name, size);
    assertNotZero(tensor);
    return tensor;
  }

  private scaled(tensor: Tensor, factor: number): string {
    if (factor === 1) return this.g.tensor(tensor);
    return this.g.values(() => toFloat32(tensor).map((value) => value * factor), tensor.shape);
  }

  protected snakeOf(
    x: string,
    name: string,
    alpha: Float32Array,
    scale: Float32Array,
    _perFrame: number,
  ): string {
    const { g } = this;
    const size = this.scales[this.level];
    const constant = (values: Float32Array, factor: number) =>
      g.values(
        values.map((value) => value * factor),
        [1, values.length, 1],
      );
    const angle = (unit: number) => g.op("Mul", [x, constant(alpha, 1 / (size * unit))]);
    let square: string;
    if (this.options.style.hasSine) {
      const sine = g.op("Sin", [angle(1)]);
      square = g.op("Mul", [sine, sine]);
    } else
      square = foldedSine(g, g.op("Abs", [angle(Math.PI)]), this.options.ranges.folds[name] ?? MOST_FOLDS);
    const y = g.op("Add", [x, g.op("Mul", [square, constant(scale, size)])]);
    if (this.measures) {
      this.measure(`${PEAK.angle}${name}`, angle(1));
      this.measure(`${PEAK.signal}${this.level}.${name}`, g.op("Concat", [x, y], { axis: 1 }));
    }
    return y;
  }

  private measure(name: string, x: string): void {
    this.g.output(name, this.g.op("ReduceMax", [this.g.op("Abs", [x])], { keepdims: 0 }), "f32", []);
  }
}

/** @throws TtsError MODEL_UNSUITABLE */
function assertNotZero(weight: Tensor): void {
  if (!isZero(weight)) return;
  throw new TtsError(
    "MODEL_UNSUITABLE",
    `${weight.file}: its vocoder gives the same sound for all codes: ${weight.name} is all zeros`,
    "leave the vocoder on the CPU",
  );
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
