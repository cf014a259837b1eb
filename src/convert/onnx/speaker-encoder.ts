// The speaker encoder, an ECAPA-TDNN: log-mel frames to one vector that tells who speaks. Values are [1,
// channels, time].

import type { SpeakerEncoderShape, Weights } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { reshape, transpose } from "./layers.ts";

const MEL_BANDS = 128;
const TIME = 2;
/** Smaller variances are raised to this. */
const MIN_VARIANCE = 1e-12;

/**
 * Input: `mel` f32 [frames, 128]; at least 5 frames, because the dilated convolutions reflect their edges.
 * Output: `x_vector` f32 [width].
 */
export function speakerEncoderGraph(
  shape: SpeakerEncoderShape,
  weights: Weights,
  shared: Record<string, string>,
): Graph {
  return new SpeakerEncoderBuilder(shape, weights, shared).build();
}

class SpeakerEncoderBuilder {
  private readonly g: Graph;

  constructor(
    private readonly shape: SpeakerEncoderShape,
    private readonly weights: Weights,
    shared: Record<string, string>,
  ) {
    this.g = new Graph({ name: "speaker encoder", shared });
  }

  build(): Graph {
    const { g, shape } = this;
    const { channels, dilations, kernels } = shape;
    const [entry, wide] = [channels[0], channels[4]];
    const mel = g.op("Unsqueeze", [
      transpose(g, g.input("mel", "f32", ["frames", MEL_BANDS]), [1, 0]),
      g.ints([0]),
    ]);
    let x = this.tdnn(mel, "blocks.0", [entry, MEL_BANDS, kernels[0]], dilations[0]);
    const blocks = [1, 2, 3].map((block) => {
      x = this.block(x, `blocks.${block}`, kernels[block], dilations[block]);
      return x;
    });
    const all = this.tdnn(
      g.op("Concat", blocks, { axis: 1 }),
      "mfa",
      [wide, 3 * entry, kernels[4]],
      dilations[4],
    );
    const vector = this.conv(this.pool(all, wide), "fc", [shape.width, 2 * wide, 1]);
    g.output("x_vector", reshape(g, vector, [-1]), "f32", [shape.width]);
    return g;
  }

  /** The result is as long as the input: the edges are mirrored. */
  private conv(
    x: string,
    name: string,
    size: [out: number, input: number, kernel: number],
    dilation = 1,
  ): string {
    const { g, weights } = this;
    const added = (size[2] - 1) * dilation;
    const left = Math.floor(added / 2);
    const padded =
      added === 0 ? x : g.op("Pad", [x, g.ints([0, 0, left, 0, 0, added - left])], { mode: "reflect" });
    const parameters = [
      weights.take(`speaker_encoder.${name}.weight`, size),
      weights.take(`speaker_encoder.${name}.bias`, [size[0]]),
    ] as const;
    return g.op("Conv", [padded, ...parameters.map((tensor) => g.tensor(tensor))], {
      dilations: [dilation],
      kernel_shape: [size[2]],
    });
  }

  private tdnn(
    x: string,
    name: string,
    size: [out: number, input: number, kernel: number],
    dilation = 1,
  ): string {
    return this.g.op("Relu", [this.conv(x, `${name}.conv`, size, dilation)]);
  }

  private block(x: string, name: string, kernel: number, dilation: number): string {
    const { g } = this;
    const channels = this.shape.channels[0];
    const mixed = this.res2net(
      this.tdnn(x, `${name}.tdnn1`, [channels, channels, 1]),
      `${name}.res2net_block`,
      kernel,
      dilation,
    );
    const out = this.tdnn(mixed, `${name}.tdnn2`, [channels, channels, 1]);
    return g.op("Add", [g.op("Mul", [out, this.gate(out, `${name}.se_block`, channels)]), x]);
  }

  /**
   * Splits the channels into parts: the first passes unchanged, the second is convolved, and each further one
   * is convolved with the result before it added.
   */
  private res2net(x: string, name: string, kernel: number, dilation: number): string {
    const { g, shape } = this;
    const width = shape.channels[0] / shape.scale;
    if (shape.scale === 1) return x;
    const [first, ...parts] = g.ops("Split", shape.scale, [x], { axis: 1, num_outputs: shape.scale });
    const outs = [first];
    parts.forEach((part, i) => {
      const input = i === 0 ? part : g.op("Add", [part, outs[i]]);
      outs.push(this.tdnn(input, `${name}.blocks.${i}`, [width, width, kernel], dilation));
    });
    return g.op("Concat", outs, { axis: 1 });
  }

  /** Squeeze and excitation: one factor per channel, from its mean over time. */
  private gate(x: string, name: string, channels: number): string {
    const { g, shape } = this;
    const squeezed = g.op("Relu", [this.conv(this.mean(x), `${name}.conv1`, [shape.squeeze, channels, 1])]);
    return g.op("Sigmoid", [this.conv(squeezed, `${name}.conv2`, [channels, shape.squeeze, 1])]);
  }

  /**
   * Attentive statistics: weighted mean and deviation over time, [1, 2 * channels, 1], with weights per
   * channel.
   */
  private pool(x: string, channels: number): string {
    const { g, shape } = this;
    const mean = this.mean(x);
    const deviation = this.deviation(this.mean(this.squaredFrom(x, mean)));
    const size = g.op("Shape", [x]);
    const context = g.op("Concat", [x, g.op("Expand", [mean, size]), g.op("Expand", [deviation, size])], {
      axis: 1,
    });
    const hidden = g.op("Tanh", [this.tdnn(context, "asp.tdnn", [shape.attention, 3 * channels, 1])]);
    const attention = g.op("Softmax", [this.conv(hidden, "asp.conv", [channels, shape.attention, 1])], {
      axis: TIME,
    });
    const weighted = (value: string) =>
      g.op("ReduceSum", [g.op("Mul", [attention, value]), g.ints([TIME])], { keepdims: 1 });
    const center = weighted(x);
    return g.op("Concat", [center, this.deviation(weighted(this.squaredFrom(x, center)))], { axis: 1 });
  }

  private mean(x: string): string {
    return this.g.op("ReduceMean", [x, this.g.ints([TIME])], { keepdims: 1 });
  }

  private squaredFrom(x: string, center: string): string {
    const distance = this.g.op("Sub", [x, center]);
    return this.g.op("Mul", [distance, distance]);
  }

  private deviation(variance: string): string {
    return this.g.op("Sqrt", [this.g.op("Max", [variance, this.g.float(MIN_VARIANCE)])]);
  }
}
