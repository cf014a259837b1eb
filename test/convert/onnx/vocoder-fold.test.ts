// Conversion leaves out only blocks that add nothing. The sound equals, to the bit, that of weights which are
// too small to be heard but not 0, so that the whole graph is made.

import { afterAll, describe, expect, test } from "bun:test";
import { VOCODERS } from "../../../src/backends/vocoder/index.ts";
import { vocoderNpuGraph } from "../../../src/convert/npu/vocoder.ts";
import { vocoderGraph } from "../../../src/convert/onnx/vocoder.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../../src/types.ts";
import {
  convertFolder,
  copyOfCheckpoint,
  type Edit,
  editDecoder,
  GoldenFile,
  openOptions,
  STARTER,
} from "../../_support.ts";

/** So small that adding it changes no sum. */
const INAUDIBLE = 1e-40;
const ranges = { scales: [1, 1, 1, 1, 1], folds: {} };
const closing: (() => void)[] = [];
afterAll(() => {
  for (const close of closing) close();
});

let copies = 0;
/** The folder of an edited copy of tiny-custom whose sound is not clipped. */
function edited(edit: Edit): string {
  const folder = copyOfCheckpoint("tiny-custom", `fold-${copies++}`);
  editDecoder(folder, (tensor, value) =>
    edit(tensor, tensor.startsWith("decoder.decoder.6.conv.") ? value * 2 ** -16 : value),
  );
  return folder;
}

function soundOf(folder: string): Float32Array {
  const codes = new GoldenFile("tiny-custom/golden/vocoder.safetensors").ints("codes_90");
  const vocoder = VOCODERS.find(({ name }) => name === "ort")!.open(
    openOptions(convertFolder(folder, `fold-bundle-${copies++}`)),
  );
  closing.push(() => vocoder.close());
  const samples = new Float32Array((codes.length / CODES_PER_FRAME) * SAMPLES_PER_FRAME);
  vocoder.reset(0);
  vocoder.decode(0, codes, codes.length / CODES_PER_FRAME, samples);
  return samples;
}

function operators(folder: string, target: "cpu" | "rknn"): string[] {
  const checkpoint = openCheckpoint(folder);
  closing.push(() => checkpoint.close());
  const graph =
    target === "cpu"
      ? vocoderGraph(checkpoint)
      : vocoderNpuGraph(checkpoint, { frames: 4, target, end: "samples", ranges });
  return graph.nodes.map(({ outputs, type }) => (/^next\./.test(outputs[0]) ? outputs[0] : type));
}

const count = (all: readonly string[], wanted: string) => all.filter((one) => one === wanted).length;

describe("blocks that add nothing are left out with their memory", () => {
  const whole = edited((_, value) => value);
  test.each<[string, RegExp, Record<string, number>]>([
    [
      "a residual unit",
      /^decoder\.decoder\.2\.block\.3\.conv2\.conv\./,
      { Sin: -2, "next.decoder.2.unit.1": -1 },
    ],
    [
      "a ConvNeXt block by its scale",
      /^decoder\.upsample\.0\.1\.gamma$/,
      { Gelu: -1, "next.upsample.0.depthwise": -1 },
    ],
    [
      "a ConvNeXt block by its last matrix",
      /^decoder\.upsample\.1\.1\.pwconv2\./,
      { Gelu: -1, "next.upsample.1.depthwise": -1 },
    ],
    [
      "attention by its scale",
      /layers\.0\.self_attn_layer_scale\.scale$/,
      { MultiHeadAttention: -1, "next.layer.0.k": -1, "next.layer.0.v": -1 },
    ],
    [
      "attention by its values",
      /layers\.1\.self_attn\.v_proj\.weight$/,
      { MultiHeadAttention: -1, "next.layer.1.k": -1, "next.layer.1.v": -1 },
    ],
    ["attention by its output", /layers\.1\.self_attn\.o_proj\.weight$/, { MultiHeadAttention: -1 }],
    ["a feed-forward by its gate", /layers\.0\.mlp\.gate_proj\.weight$/, { Sigmoid: -1 }],
    ["a feed-forward by its scale", /layers\.1\.mlp_layer_scale\.scale$/, { Sigmoid: -1 }],
  ])("%s", (_title, tensors, changes) => {
    const folder = edited((tensor, value) => (tensors.test(tensor) ? 0 : value));
    const unfolded = edited((tensor, value) => (tensors.test(tensor) ? INAUDIBLE : value));
    const [left, full, untouched] = [folder, unfolded, whole].map((path) => operators(path, "cpu"));
    expect(full).toEqual(untouched);
    for (const [operator, change] of Object.entries(changes)) {
      expect({ operator, count: count(left, operator) }).toEqual({
        operator,
        count: count(full, operator) + change,
      });
    }
    expect(soundOf(folder)).toEqual(soundOf(unfolded));
    const [onNpu, fullOnNpu] = [folder, unfolded].map((path) => operators(path, "rknn"));
    expect(onNpu.length).toBeLessThan(fullOnNpu.length);
    expect(onNpu.filter((name) => name.startsWith("next."))).toEqual(
      left.filter((name) => name.startsWith("next.")),
    );
  });

  test("codebooks that are all 0 are an error, not silence", () => {
    const folder = edited((tensor, value) => (tensor.endsWith(".embedding_sum") ? 0 : value));
    expect(() => operators(folder, "cpu")).toThrow(/all codebooks hold only zeros/);
  });
});

describe("the starter voice", () => {
  test("keeps memory only for the layers that mix moments", () => {
    const memory = operators(STARTER, "cpu").filter((name) => name.startsWith("next."));
    expect(memory).toEqual(["next.entry", "next.decoder.1.input"]);
  });

  test("keeps every part of the network that has an effect", () => {
    const left = operators(STARTER, "cpu");
    expect([
      count(left, "Gelu"),
      count(left, "Sin"),
      count(left, "MultiHeadAttention"),
      count(left, "Sigmoid"),
    ]).toEqual([1, 5, 0, 0]);
  });
});
