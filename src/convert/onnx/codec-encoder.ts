// The codec encoder, a Mimi: samples to codes, for cloning in context. It takes whole recordings and has no
// state. Values are [1, channels, time] in convolutional parts and [time, width] in the transformer.

import { type CodecEncoderShape, ENCODER_DOWNSAMPLING, type Weights } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import type { Tensor } from "../../formats/safetensors.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import {
  additiveMask,
  codeVectors,
  layerNorm,
  linear,
  reshape,
  rotaryTables,
  rotate,
  timeMajor,
  transpose,
  transposedBatch,
} from "./layers.ts";

/**
 * Input: `audio` f32 [samples], mono at 24 kHz, not normalised.
 * Output: `codes` i32 [frames, 16], frames = ceil(samples / 1920).
 */
export function codecEncoderGraph(
  shape: CodecEncoderShape,
  weights: Weights,
  shared: Record<string, string>,
): Graph {
  return new CodecEncoderBuilder(shape, weights, shared).build();
}

class CodecEncoderBuilder {
  private readonly g: Graph;

  constructor(
    private readonly shape: CodecEncoderShape,
    private readonly weights: Weights,
    shared: Record<string, string>,
  ) {
    this.g = new Graph({ name: "codec encoder", shared });
  }

  build(): Graph {
    const { g, shape } = this;
    const audio = g.input("audio", "f32", ["samples"]);
    // [25 a second, hidden]
    const features = timeMajor(g, this.convolutions(reshape(g, audio, [1, 1, -1])), shape.hidden);
    const latent = timeMajor(
      g,
      this.downsample(transposedBatch(g, this.transformer(features))),
      shape.hidden,
    ); // [frames, hidden]
    const codes = [
      ...this.quantize(latent, "semantic", 1),
      ...this.quantize(latent, "acoustic", CODES_PER_FRAME - 1),
    ];
    const table = g.op("Cast", [g.op("Concat", codes, { axis: 1 })], { to: 6 });
    g.output("codes", table, "i32", ["frames", CODES_PER_FRAME]);
    return g;
  }

  private take(name: string, size: readonly number[]): Tensor {
    return this.weights.take(`encoder.${name}`, size);
  }

  private convolutions(audio: string): string {
    const { g, shape } = this;
    let channels = shape.filters;
    let layer = 0;
    let x = this.conv(audio, `encoder.layers.${layer++}`, [channels, 1, shape.kernel]);
    for (const stride of shape.strides) {
      x = this.residual(x, `encoder.layers.${layer++}`, channels);
      layer++; // the activation counts as a layer
      x = this.conv(
        g.op("Elu", [x]),
        `encoder.layers.${layer++}`,
        [2 * channels, channels, 2 * stride],
        stride,
      );
      channels *= 2;
    }
    layer++;
    return this.conv(g.op("Elu", [x]), `encoder.layers.${layer}`, [shape.hidden, channels, shape.lastKernel]);
  }

  /**
   * Causal convolution to ceil(length / stride) values. The official code adds as many zeros on the right as
   * the last stride lacks. This always adds stride - 1, with the same result: the surplus zeros complete no
   * further window.
   */
  private conv(
    x: string,
    name: string,
    size: [out: number, input: number, kernel: number],
    stride = 1,
  ): string {
    const { g } = this;
    const inputs = [
      x,
      g.tensor(this.take(`${name}.conv.weight`, size)),
      g.tensor(this.take(`${name}.conv.bias`, [size[0]])),
    ];
    return g.op("Conv", inputs, {
      kernel_shape: [size[2]],
      pads: [size[2] - stride, stride - 1],
      strides: [stride],
    });
  }

  private residual(x: string, name: string, channels: number): string {
    const { g, shape } = this;
    const inner = Math.floor(channels / shape.compress);
    const narrow = this.conv(g.op("Elu", [x]), `${name}.block.1`, [inner, channels, shape.residualKernel]);
    return g.op("Add", [x, this.conv(g.op("Elu", [narrow]), `${name}.block.3`, [channels, inner, 1])]);
  }

  /** Causal attention without a window: every step sees all steps up to itself. */
  private transformer(x: string): string {
    const { g, shape } = this;
    const steps = g.op("Squeeze", [g.op("Shape", [x], { end: 1 }), g.ints([0])]);
    const positions = g.op("Range", [g.ints([0], []), steps, g.ints([1], [])]);
    const rotary = rotaryTables(g, positions, shape.headDim, shape.ropeTheta);
    const mask = additiveMask(
      g,
      g.op("LessOrEqual", [positions, g.op("Unsqueeze", [positions, g.ints([1])])]),
    ); // [steps, steps]
    let h = x;
    for (let layer = 0; layer < shape.layers; layer++)
      h = this.transformerLayer(h, `encoder_transformer.layers.${layer}`, rotary, mask);
    return h;
  }

  private transformerLayer(
    x: string,
    name: string,
    rotary: { cos: string; sin: string },
    mask: string,
  ): string {
    const { g, shape } = this;
    const { headDim, heads, hidden, intermediate } = shape;
    const width = heads * headDim;
    const take = (part: string, size: number[]) => this.take(`${name}.${part}`, size);
    const norm = (value: string, part: string) =>
      layerNorm(g, value, take(`${part}.weight`, [hidden]), take(`${part}.bias`, [hidden]), shape.normEps);
    const addScaled = (to: string, value: string, part: string) =>
      g.op("Add", [to, g.op("Mul", [value, g.tensor(take(`${part}.scale`, [hidden]))])]);
    const normed = norm(x, "input_layernorm");
    /** [steps, heads * dim] -> [heads, steps, dim] */
    const project = (part: string) => {
      const rows = linear(g, normed, take(`self_attn.${part}_proj.weight`, [width, hidden]));
      return transpose(g, reshape(g, rows, [-1, heads, headDim]), [1, 0, 2]);
    };
    const q = g.op("Mul", [rotate(g, project("q"), rotary), g.float(1 / Math.sqrt(headDim))]);
    const keys = transpose(g, rotate(g, project("k"), rotary), [0, 2, 1]);
    const scores = g.op("Add", [g.op("MatMul", [q, keys]), mask]); // [heads, steps, steps]
    const mixed = g.op("MatMul", [g.op("Softmax", [scores], { axis: -1 }), project("v")]);
    const attended = linear(
      g,
      reshape(g, transpose(g, mixed, [1, 0, 2]), [-1, width]),
      take("self_attn.o_proj.weight", [hidden, width]),
    );
    const h = addScaled(x, attended, "self_attn_layer_scale");
    const wide = linear(
      g,
      norm(h, "post_attention_layernorm"),
      take("mlp.fc1.weight", [intermediate, hidden]),
    );
    return addScaled(
      h,
      linear(g, g.op("Gelu", [wide]), take("mlp.fc2.weight", [hidden, intermediate])),
      "mlp_layer_scale",
    );
  }

  /**
   * Halves the rate. The edges repeat the outermost value; on the right it adds stride - 1, as {@link conv}
   * does.
   */
  private downsample(x: string): string {
    const { g, shape } = this;
    const [stride, kernel] = [ENCODER_DOWNSAMPLING, 2 * ENCODER_DOWNSAMPLING];
    const padded = g.op("Pad", [x, g.ints([0, 0, kernel - stride, 0, 0, stride - 1])], { mode: "edge" });
    const weight = g.tensor(this.take("downsample.conv.weight", [shape.hidden, shape.hidden, kernel]));
    return g.op("Conv", [padded, weight], { kernel_shape: [kernel], strides: [stride] });
  }

  /**
   * Residual quantization: each codebook gives its vector nearest to what the books before it left, the first
   * of equals.
   */
  private quantize(latent: string, kind: "semantic" | "acoustic", books: number): string[] {
    const { g, shape } = this;
    const { codebookDim: width, codebookSize: size, hidden } = shape;
    const prefix = `quantizer.${kind}_residual_vector_quantizer`;
    // [frames, width]
    let rest = linear(g, latent, this.take(`${prefix}.input_proj.weight`, [width, hidden, 1]));
    return Array.from({ length: books }, (_, layer) => {
      const book = `${prefix}.layers.${layer}.codebook`;
      const vectors = codeVectors(
        this.take(`${book}.embed_sum`, [size, width]),
        this.take(`${book}.cluster_usage`, [size]),
      );
      const table = g.values(vectors, [size, width]);
      // |v - r|^2 without |r|^2, which is the same for every v
      const distances = g.op("Gemm", [rest, table, g.values(squaredNorms(vectors, width), [size])], {
        alpha: { float: -2 },
        transB: 1,
      });
      const codes = g.op("ArgMin", [distances], { axis: 1, keepdims: 1 }); // i64 [frames, 1]
      if (layer < books - 1) rest = g.op("Sub", [rest, g.op("Gather", [table, reshape(g, codes, [-1])])]);
      return codes;
    });
  }
}

function squaredNorms(vectors: Float32Array, width: number): Float32Array {
  return Float32Array.from({ length: vectors.length / width }, (_, row) => {
    let sum = 0;
    for (let i = row * width; i < (row + 1) * width; i++) sum += vectors[i] * vectors[i];
    return sum;
  });
}
