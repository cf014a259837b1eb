// The codec decoder as a network: the order of its layers, their sizes and their memory. Derived classes
// decide how a layer is computed and how its signal is laid out: onnx/vocoder.ts for ONNX Runtime,
// npu/vocoder.ts for NPUs. A block whose weights add exactly nothing to its input is left out together with
// its memory: not a bit of the sound changes. One that adds the same at every moment is replaced by that.

import type { CodecShape, Weights } from "../../formats/checkpoint.ts";
import type { Graph } from "../../formats/onnx.ts";
import { isZero, type Tensor, toFloat32 } from "../../formats/safetensors.ts";
import { NEXT, STATE } from "../../types.ts";
import {
  type Constant,
  type Snake,
  throughGelu,
  throughLayerNorm,
  throughSnake,
  throughWeight,
} from "./_constants.ts";
import { layerNorm, swiGlu } from "./layers.ts";

const LAYER_NORM_EPS = 1e-6;
const SNAKE_EPS = 1e-9;
const RES_UNIT_KERNEL = 7;
const RES_UNIT_DILATIONS = [1, 3, 9];

/**
 * What attention needs besides the frames: rotary tables of half a head's width, and the mask that is added
 * to the scores.
 */
export interface Attention {
  cos: string;
  sin: string;
  mask: string;
}

/** Makes the queries, keys or values of all heads side by side, [time, heads * headDim]. */
export type Projection = (part: "q" | "k" | "v") => string;

export type ConvSize = readonly [out: number, inPerGroup: number, kernel: number];
export type TransposedSize = readonly [inputs: number, out: number, kernel: number];

/** Taps of each result of a transposed convolution: the input and, where there are two, the one before it. */
export function transposedTaps(weight: string, [, , kernel]: TransposedSize, stride: number): number {
  const taps = kernel / stride;
  if (taps === 1 || taps === 2) return taps;
  throw new RangeError(`${weight}: kernel ${kernel} is not once or twice the stride ${stride}`);
}

/**
 * "Rows" are always [time, width]. Convolutions pass on a "signal", whose layout the derived class chooses.
 * `perFrame` is the number of moments in a frame.
 */
export abstract class VocoderNetwork {
  /** Made by the first layer that attends. */
  private tables: Attention | null = null;

  constructor(
    protected readonly g: Graph,
    protected readonly shape: CodecShape,
    protected readonly weights: Weights,
  ) {}

  /** Causal convolution of a signal. */
  protected abstract conv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation?: number,
  ): string;
  /**
   * The same for few channels, or for channels that do not mix; these have size[1] 1 and `group` as their
   * number.
   */
  protected abstract narrowConv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation?: number,
    group?: number,
  ): string;
  /** The dilated convolution of a residual unit. */
  protected abstract unitConv(
    name: string,
    x: string,
    weight: string,
    size: ConvSize,
    perFrame: number,
    dilation: number,
  ): string;
  /**
   * Rows through one matrix, [out, in], between parts of different widths. Weights written by hand often only
   * copy here.
   */
  protected abstract project(x: string, weight: Tensor, bias?: Tensor): string;
  /** Rows through a matrix, [out, in], at a low rate. */
  protected abstract product(x: string, weight: Tensor, bias?: Tensor): string;
  /** A convolution of kernel 1. */
  protected abstract pointwise(x: string, weight: Tensor, bias: Tensor): string;
  /**
   * Causal transposed convolution to `stride` times as many moments; the kernel is once or twice the stride.
   */
  protected abstract transposedConv(
    name: string,
    x: string,
    weight: string,
    size: TransposedSize,
    stride: number,
    perFrame: number,
  ): string;
  /** x + sin^2(x alpha) scale, per channel. */
  protected abstract snakeOf(
    x: string,
    name: string,
    alpha: Float32Array,
    scale: Float32Array,
    perFrame: number,
  ): string;
  /** Adds one value per channel to a signal. */
  protected abstract raised(x: string, values: Float32Array): string;
  protected abstract toRows(x: string, width: number, perFrame: number): string;
  protected abstract toSignal(x: string, width: number, perFrame: number): string;
  protected abstract rmsNorm(x: string, weight: Tensor, eps: number): string;
  /**
   * Rows through attention, [time, heads * headDim]. The memory is `layer.N.k` and `layer.N.v`, the window
   * before the rows. If `uniform`, all scores are 0: queries or keys are.
   */
  protected abstract attend(
    layer: number,
    project: Projection,
    attention: Attention,
    uniform: boolean,
  ): string;
  protected abstract gelu(x: string): string;
  /** Called once, by the first layer that attends. */
  protected abstract attention(): Attention;
  /** Clips the result of the last convolution to samples. */
  protected abstract clipped(x: string): string;

  protected take(name: string, size: readonly number[]): Tensor {
    return this.weights.take(`decoder.${name}`, size);
  }

  /** Declares a state tensor: `value` reads it, `keep` sets what it becomes. */
  protected state(name: string, size: number[]): { value: string; keep: (next: string) => void } {
    const value = this.g.input(STATE + name, "f32", size);
    return { value, keep: (next) => this.g.output(NEXT + name, next, "f32", size) };
  }

  /** From latent vectors, as a signal, to what the first Snake reads: all layers at a low rate. */
  protected front(vectors: string): string {
    const { shape } = this;
    let x = this.conv("pre_conv", vectors, "pre_conv.conv", [shape.latent, shape.codebookDim, 3], 1);
    x = this.toSignal(this.transformer(this.toRows(x, shape.latent, 1)), shape.latent, 1);
    let perFrame = 1;
    shape.upsamplingRatios.forEach((ratio, i) => {
      x = this.transposedConv(
        `upsample.${i}`,
        x,
        `upsample.${i}.0.conv`,
        [shape.latent, shape.latent, ratio],
        ratio,
        perFrame,
      );
      perFrame *= ratio;
      x = this.convNeXt(`upsample.${i}`, x, `upsample.${i}.1`, perFrame);
    });
    return this.conv("entry", x, "decoder.0.conv", [shape.decoderDim, shape.latent, 7], perFrame);
  }

  /** Moments of a frame between front and tail. */
  protected get frontPerFrame(): number {
    return this.shape.upsamplingRatios.reduce((product, ratio) => product * ratio, 1);
  }

  /** From what the first Snake reads to samples in [-1, 1]. */
  protected tail(signal: string): string {
    const { shape } = this;
    let [x, perFrame, channels] = [signal, this.frontPerFrame, shape.decoderDim];
    shape.upsampleRates.forEach((rate, i) => {
      x = this.decoderBlock(i + 1, x, channels, perFrame, rate);
      channels /= 2;
      perFrame *= rate;
    });
    const last = shape.upsampleRates.length + 1;
    x = this.snake(x, `decoder.${last}`, channels, perFrame);
    return this.clipped(this.narrowConv("exit", x, `decoder.${last + 1}.conv`, [1, channels, 7], perFrame));
  }

  private convNeXt(name: string, x: string, prefix: string, perFrame: number): string {
    const { g } = this;
    const width = this.shape.latent;
    const gamma = this.take(`${prefix}.gamma`, [width]);
    const narrow = [
      this.take(`${prefix}.pwconv2.weight`, [width, 4 * width]),
      this.take(`${prefix}.pwconv2.bias`, [width]),
    ] as const;
    if (isZero(gamma) || narrow.every(isZero)) return x;
    const norm = [
      this.take(`${prefix}.norm.weight`, [width]),
      this.take(`${prefix}.norm.bias`, [width]),
    ] as const;
    const widening = [
      this.take(`${prefix}.pwconv1.weight`, [4 * width, width]),
      this.take(`${prefix}.pwconv1.bias`, [4 * width]),
    ] as const;
    const depthwise = `${prefix}.dwconv.conv`;
    const normed = throughLayerNorm(this.constantOf(depthwise, [width, 1, 7]), ...norm, LAYER_NORM_EPS);
    const added = throughWeight(throughGelu(throughWeight(normed, ...widening)), ...narrow);
    if (added !== null) {
      const factors = toFloat32(gamma);
      return this.raised(
        x,
        added.map((value, i) => value * factors[i]),
      );
    }
    const mixed = this.narrowConv(`${name}.depthwise`, x, depthwise, [width, 1, 7], perFrame, 1, width);
    const rows = layerNorm(g, this.toRows(mixed, width, perFrame), ...norm, LAYER_NORM_EPS);
    const wide = this.product(rows, ...widening);
    const scaled = g.op("Mul", [this.product(this.gelu(wide), ...narrow), g.tensor(gamma)]);
    return g.op("Add", [x, this.toSignal(scaled, width, perFrame)]);
  }

  /** What a convolution of these weights gives whatever goes in; null if that matters. */
  private constantOf(weight: string, size: ConvSize): Constant {
    return throughWeight(null, this.take(`${weight}.weight`, size), this.take(`${weight}.bias`, [size[0]]));
  }

  /** x + sin^2(x e^alpha) / (e^beta + 1e-9), per channel; the exponentials are taken here, at conversion. */
  private snake(x: string, prefix: string, channels: number, perFrame: number): string {
    const { alpha, scale } = this.snakeParameters(prefix, channels);
    if ([alpha, scale].some((values) => values.every((value) => value === 0))) return x;
    return this.snakeOf(x, prefix, alpha, scale, perFrame);
  }

  private snakeParameters(prefix: string, channels: number): Snake {
    const parameter = (part: string, f: (value: number) => number) =>
      Float32Array.from(toFloat32(this.take(`${prefix}.${part}`, [channels])), f);
    const scale = parameter("beta", (beta) => 1 / (Math.exp(beta) + SNAKE_EPS));
    return { alpha: parameter("alpha", Math.exp), scale };
  }

  /** Gives `rate` times as many moments of half as many channels. */
  private decoderBlock(block: number, x: string, channels: number, perFrame: number, rate: number): string {
    const { g } = this;
    const prefix = `decoder.${block}`;
    const out = channels / 2;
    const rows = perFrame * rate;
    const snaked = this.snake(x, `${prefix}.block.0`, channels, perFrame);
    let y = this.transposedConv(
      `${prefix}.input`,
      snaked,
      `${prefix}.block.1.conv`,
      [channels, out, 2 * rate],
      rate,
      perFrame,
    );
    RES_UNIT_DILATIONS.forEach((dilation, i) => {
      const unit = `${prefix}.block.${i + 2}`;
      const last = [
        this.take(`${unit}.conv2.conv.weight`, [out, out, 1]),
        this.take(`${unit}.conv2.conv.bias`, [out]),
      ] as const;
      if (last.every(isZero)) return;
      const size = [out, out, RES_UNIT_KERNEL] as const;
      const constant = this.constantOf(`${unit}.conv1.conv`, size);
      const act2 = this.snakeParameters(`${unit}.act2`, out);
      const added = throughWeight(throughSnake(constant, act2), ...last);
      if (added !== null) {
        y = this.raised(y, added);
        return;
      }
      const first = this.snake(y, `${unit}.act1`, out, rows);
      const mixed = this.unitConv(`${prefix}.unit.${i}`, first, `${unit}.conv1.conv`, size, rows, dilation);
      const second = this.snake(mixed, `${unit}.act2`, out, rows);
      y = g.op("Add", [y, this.pointwise(second, ...last)]);
    });
    return y;
  }

  /**
   * Rows to rows with sliding-window attention; the window includes the query itself. Slots older than the
   * first frame are masked.
   */
  private transformer(x: string): string {
    const { shape } = this;
    const prefix = "pre_transformer";
    const inputBias = this.take(`${prefix}.input_proj.bias`, [shape.hidden]);
    let h = this.project(
      x,
      this.take(`${prefix}.input_proj.weight`, [shape.hidden, shape.latent]),
      inputBias,
    );
    for (let layer = 0; layer < shape.layers; layer++)
      h = this.feedForward(this.selfAttention(h, layer), layer);
    const normed = this.rmsNorm(h, this.take(`${prefix}.norm.weight`, [shape.hidden]), shape.rmsEps);
    const outputBias = this.take(`${prefix}.output_proj.bias`, [shape.latent]);
    return this.project(
      normed,
      this.take(`${prefix}.output_proj.weight`, [shape.latent, shape.hidden]),
      outputBias,
    );
  }

  /** How many frames a frame looks back. */
  protected get past(): number {
    return this.shape.slidingWindow - 1;
  }

  private layerWeight(layer: number, part: string, size: number[]): Tensor {
    return this.take(`pre_transformer.layers.${layer}.${part}`, size);
  }

  private selfAttention(x: string, layer: number): string {
    const { g, shape } = this;
    const { hidden, heads, headDim } = shape;
    const width = heads * headDim;
    const take = (part: string, size: number[]) => this.layerWeight(layer, part, size);
    const matrix = (part: "q" | "k" | "v") => take(`self_attn.${part}_proj.weight`, [width, hidden]);
    const output = take("self_attn.o_proj.weight", [hidden, width]);
    const scale = take("self_attn_layer_scale.scale", [hidden]);
    const norm = take("input_layernorm.weight", [hidden]);
    if ([norm, matrix("v"), output, scale].some(isZero)) return x;
    this.tables ??= this.attention();
    const normed = this.rmsNorm(x, norm, shape.rmsEps);
    const uniform = [matrix("q"), matrix("k")].some(isZero);
    const mixed = this.attend(layer, (part) => this.product(normed, matrix(part)), this.tables, uniform);
    const attended = this.product(mixed, output);
    return g.op("Add", [x, g.op("Mul", [attended, g.tensor(scale)])]);
  }

  private feedForward(x: string, layer: number): string {
    const { g, shape } = this;
    const { hidden, intermediate } = shape;
    const take = (part: string, size: number[]) => this.layerWeight(layer, part, size);
    const mlp = {
      gate: take("mlp.gate_proj.weight", [intermediate, hidden]),
      up: take("mlp.up_proj.weight", [intermediate, hidden]),
      down: take("mlp.down_proj.weight", [hidden, intermediate]),
    };
    const scale = take("mlp_layer_scale.scale", [hidden]);
    const norm = take("post_attention_layernorm.weight", [hidden]);
    if ([...Object.values(mlp), norm, scale].some(isZero)) return x;
    const normed = this.rmsNorm(x, norm, shape.rmsEps);
    const fed = swiGlu(g, normed, mlp, (value, weight) => this.product(value, weight));
    return g.op("Add", [x, g.op("Mul", [fed, g.tensor(scale)])]);
  }
}
