// The vocoder's graphs for NPUs, run by ONNX Runtime: each variant gives the samples of the usual graph,
// chunk after chunk with its state, and keeps to the operators and sizes of its NPU. The tiny checkpoint is a
// calm copy, for the reason that test/conformance/vocoder.ts gives.

import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { VOCODERS } from "../../../src/backends/vocoder/index.ts";
import { PartChain } from "../../../src/convert/npu/_chain.ts";
import { TOOLKITS } from "../../../src/convert/npu/_toolkits.ts";
import {
  LARGEST_SIGNAL,
  type NpuVocoderOptions,
  rangesOf,
  type VocoderRanges,
  vocoderNpuGraph,
  vocoderPeaksGraph,
} from "../../../src/convert/npu/vocoder.ts";
import { vocoderFrontGraph, vocoderTailGraph } from "../../../src/convert/onnx/vocoder.ts";
import type { Bundle } from "../../../src/formats/bundle.ts";
import { type Checkpoint, openCheckpoint, type Weights } from "../../../src/formats/checkpoint.ts";
import type { Graph } from "../../../src/formats/onnx.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../../src/types.ts";
import {
  bundleOf,
  checkpointOf,
  type Edit,
  GoldenFile,
  Largest,
  maxDifference,
  openOptions,
  scratchFolder,
} from "../../_support.ts";
import { calm, editedBundle } from "../../conformance/vocoder.ts";
import { readOnnx } from "../_onnx-model.ts";

/** Largest error, as a share of the peak. */
const MAX_ERROR = 1e-4;
/** More frames than the window holds, in whole chunks of 4. */
const FRAMES = 76;

const largest = new Largest("vocoder for NPUs");
afterAll(() => largest.print());

interface Subject {
  checkpoint: Checkpoint;
  codes: Int32Array;
  /** The usual graph's samples. */
  samples: Float32Array;
  peak: number;
  peaks: Record<string, number>;
  ranges: VocoderRanges;
}

const peakOf = (samples: Float32Array) =>
  samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);

let saved = 0;
function save(graph: Graph): string {
  const path = join(scratchFolder(), `vocoder-npu-${saved++}.onnx`);
  graph.savePortable(path);
  return path;
}

/** Decodes all codes in chunks from the start. `each` is called after every chunk. */
function speak(
  chain: PartChain,
  codes: Int32Array,
  frames: number,
  each: () => void = () => {},
): Float32Array {
  const samples = new Float32Array((codes.length / CODES_PER_FRAME) * SAMPLES_PER_FRAME);
  chain.reset();
  for (let frame = 0; frame < codes.length / CODES_PER_FRAME; frame += frames) {
    chain.ints("codes").set(codes.subarray(frame * CODES_PER_FRAME, (frame + frames) * CODES_PER_FRAME));
    chain.ints("position")[0] = frame;
    chain.run();
    samples.set(chain.floats("samples"), frame * SAMPLES_PER_FRAME);
    each();
  }
  return samples;
}

function openChain({ checkpoint }: Subject, options: NpuVocoderOptions): PartChain {
  loadOnnxRuntime();
  const { end, frames, ranges, target } = options;
  const { style } = TOOLKITS[target];
  const graphs = [vocoderFrontGraph(checkpoint, frames, style), vocoderNpuGraph(checkpoint, options)];
  if (end === "front") graphs.push(vocoderTailGraph(checkpoint, frames, ranges.scales[0], style));
  return new PartChain(graphs.map(save), 1);
}

/** Whole chunks, enough to compare variants with each other. */
const FEW_FRAMES = 16;

function run(subject: Subject, options: NpuVocoderOptions, frames = FRAMES): Float32Array {
  const chain = openChain(subject, options);
  const samples = speak(chain, subject.codes.subarray(0, frames * CODES_PER_FRAME), options.frames);
  chain.close();
  return samples;
}

/** The largest values of a run, by output name. */
function measure(checkpoint: Checkpoint, codes: Int32Array): Record<string, number> {
  loadOnnxRuntime();
  const chain = new PartChain(
    [vocoderFrontGraph(checkpoint, 4, TOOLKITS.rknn.style), vocoderPeaksGraph(checkpoint, 4, "rknn")].map(
      save,
    ),
    1,
  );
  const names = chain.outputs.filter((name) => chain.floats(name).length === 1);
  const peaks: Record<string, number> = {};
  speak(chain, codes, 4, () => {
    for (const name of names) peaks[name] = Math.max(peaks[name] ?? 0, chain.floats(name)[0]);
  });
  chain.close();
  return peaks;
}

function newSubject(bundle: Bundle, all: readonly Int32Array[]): Subject {
  const codes = Int32Array.from(all.flatMap((some) => Array.from(some))).subarray(
    0,
    FRAMES * CODES_PER_FRAME,
  );
  const vocoder = VOCODERS.find((backend) => backend.name === "ort")!.open(openOptions(bundle));
  const samples = new Float32Array(FRAMES * SAMPLES_PER_FRAME);
  vocoder.reset(0);
  vocoder.decode(0, codes, FRAMES, samples);
  vocoder.close();
  const checkpoint = openCheckpoint(checkpointOf(bundle));
  const peaks = measure(checkpoint, codes);
  return {
    checkpoint,
    codes,
    samples,
    peak: peakOf(samples),
    peaks,
    ranges: rangesOf(peaks, checkpoint.codec.upsampleRates.length),
  };
}

/** What a voice made by hand or pruned may hold: blocks that do nothing, or the same at every moment. */
const NOTHING: readonly [tensor: RegExp, nothing: number, next: number][] = [
  [/^decoder\.decoder\.1\.block\.2\.conv1\.conv\.weight$/, 0, 1e-30],
  [/^decoder\.decoder\.2\.block\.3\.conv2\.conv\.weight$/, 0, 1e-30],
  [/^decoder\.decoder\.3\.block\.0\.beta$/, 900, 80],
  [/^decoder\.decoder\.4\.block\.2\.act1\.alpha$/, -900, -80],
  [/^decoder\.upsample\.0\.1\.dwconv\.conv\.weight$/, 0, 1e-30],
  [/^decoder\.upsample\.1\.1\.pwconv1\.weight$/, 0, 1e-30],
  [/^decoder\.pre_transformer\.layers\.0\.self_attn\.q_proj\.weight$/, 0, 1e-30],
  [/^decoder\.pre_transformer\.layers\.1\.post_attention_layernorm\.weight$/, 0, 1e-30],
];
const zeros: Edit = (name, value) => NOTHING.find(([tensor]) => tensor.test(name))?.[1] ?? calm(name, value);
const nearlyZeros: Edit = (name, value) =>
  NOTHING.find(([tensor]) => tensor.test(name))?.[2] ?? calm(name, value);
const tinyCodes = () => new GoldenFile("tiny-custom/golden/vocoder.safetensors").ints("codes_330");

const subjects = new Map<string, Subject>();
const MAKE: Record<string, () => Subject> = {
  starter: () => {
    const codes = ["starter-01", "starter-06", "starter-00"].map((name) =>
      new GoldenFile(`starter/${name}.safetensors`).ints("codes"),
    );
    return newSubject(bundleOf("starter"), codes);
  },
  "calm tiny": () => newSubject(editedBundle("tiny-custom", calm), [tinyCodes()]),
  "tiny with zeros": () => newSubject(editedBundle("tiny-custom", zeros), [tinyCodes()]),
};
function subjectOf(name: string): Subject {
  const subject = subjects.get(name) ?? MAKE[name]();
  subjects.set(name, subject);
  return subject;
}

const VARIANTS = [1, 2, 4].flatMap((frames): Omit<NpuVocoderOptions, "ranges">[] => [
  { frames, target: "rknn", end: "samples" },
  { frames, target: "axcl", end: "samples" },
  { frames, target: "rknn", end: "front" },
]);
/** Models that leave blocks out do so whatever the number of frames a run. */
const LONGEST_VARIANTS = VARIANTS.filter(({ frames }) => frames === 4);
const titled = (variants: typeof VARIANTS) =>
  variants.map(
    (variant) => [`${variant.target} to the ${variant.end}, ${variant.frames} a run`, variant] as const,
  );

describe.each(Object.keys(MAKE))("%s", (name) => {
  test("is loud to the end and not clipped", () => {
    const { peak, samples } = subjectOf(name);
    expect(peak).toBeLessThan(1);
    expect(peakOf(samples.subarray(-10 * SAMPLES_PER_FRAME))).toBeGreaterThan(0.02);
  });

  test.each(titled(name === "calm tiny" ? VARIANTS : LONGEST_VARIANTS))(
    "%s gives the samples of the usual graph",
    (_title, variant) => {
      const subject = subjectOf(name);
      const error =
        maxDifference(run(subject, { ...variant, ranges: subject.ranges }), subject.samples) / subject.peak;
      expect(largest.note(`${name} ${variant.target} ${variant.end}`, error)).toBeLessThanOrEqual(MAX_ERROR);
    },
  );

  test("one wrong code is noticed", () => {
    const subject = subjectOf(name);
    const codes = subject.codes.slice();
    codes[5] = (codes[5] + 1) % subject.checkpoint.codes;
    const samples = run(
      { ...subject, codes },
      { frames: 4, target: "rknn", end: "samples", ranges: subject.ranges },
      FEW_FRAMES,
    );
    expect(
      maxDifference(samples, subject.samples.subarray(0, samples.length)) / subject.peak,
    ).toBeGreaterThan(10 * MAX_ERROR);
  });

  test("angles beyond those that were measured do no harm", () => {
    expect(withoutFolds(subjectOf(name)).every((sample) => Math.abs(sample) <= 1)).toBe(true);
  });
});

/** As if only the smallest angles had been measured. */
function withoutFolds(subject: Subject): Float32Array {
  const folds = Object.fromEntries(Object.keys(subject.ranges.folds).map((snake) => [snake, 0]));
  return run(subject, { frames: 4, target: "rknn", end: "samples", ranges: { ...subject.ranges, folds } });
}

test("angles beyond those that were measured change the sound of loud Snakes", () => {
  const subject = subjectOf("calm tiny"); // the starter's Snakes add e^-16 at most
  expect(maxDifference(withoutFolds(subject), subject.samples) / subject.peak).toBeGreaterThan(MAX_ERROR);
});

describe("what is exactly constant", () => {
  test("sounds as if it were not folded", () => {
    const { peak, samples } = subjectOf("tiny with zeros");
    const unfolded = newSubject(editedBundle("tiny-custom", nearlyZeros), [tinyCodes()]).samples;
    expect(maxDifference(samples, unfolded) / peak).toBeLessThan(MAX_ERROR);
    expect(maxDifference(samples, subjectOf("calm tiny").samples) / peak).toBeGreaterThan(10 * MAX_ERROR);
  });

  test("has no state, which a toolkit would remove, and reads nothing in vain", () => {
    const { checkpoint, ranges } = subjectOf("tiny with zeros");
    const graph = vocoderNpuGraph(checkpoint, { frames: 4, target: "rknn", end: "samples", ranges });
    const { inputs, nodes } = readOnnx(readFileSync(save(graph)));
    const names = inputs.map(({ name }) => name);
    expect(names).not.toContain("state.layer.0.k");
    for (const gone of [
      "decoder.1.unit.0",
      "decoder.2.unit.1",
      "upsample.0.depthwise",
      "upsample.1.depthwise",
    ])
      expect(names).not.toContain(`state.${gone}`);
    expect(names).toContain("state.decoder.1.unit.1");
    const read = new Set(nodes.flatMap((node) => node.inputs));
    expect(names.filter((name) => !read.has(name))).toEqual([]);
  });

  test.each(["pre_conv.conv", "decoder.0.conv", "decoder.2.block.1.conv"])(
    "leaves no sound to make when it is all: %s",
    (layer) => {
      const { checkpoint, ranges } = subjectOf("calm tiny");
      const take: Weights["take"] = (name, shape) => {
        const tensor = checkpoint.codecWeights.take(name, shape);
        const isGone = name === `decoder.${layer}.weight`;
        return isGone ? { ...tensor, bytes: new Uint8Array(tensor.bytes.length) } : tensor;
      };
      const dead = { ...checkpoint, codecWeights: { take } as Weights };
      expect(() => vocoderNpuGraph(dead, { frames: 4, target: "rknn", end: "samples", ranges })).toThrow(
        expect.objectContaining({ code: "MODEL_UNSUITABLE", message: expect.stringContaining(layer) }),
      );
    },
  );
});

describe("a signal that is scaled", () => {
  const scales = [2 ** -2, 2 ** -5, 1, 2 ** -1, 2 ** -7];

  test.each([
    ["axcl", "samples"],
    ["rknn", "samples"],
    ["rknn", "front"],
  ] as const)("gives the same samples to the bit: %s to the %s", (target, end) => {
    const subject = subjectOf("starter");
    const options = { frames: 2, target, end };
    const plain = run(subject, { ...options, ranges: subject.ranges }, FEW_FRAMES);
    expect(
      maxDifference(run(subject, { ...options, ranges: { ...subject.ranges, scales } }, FEW_FRAMES), plain),
    ).toBe(0);
  });

  test("is scaled in the state too", () => {
    const subject = subjectOf("calm tiny"); // the starter has no residual units
    const states = [subject.ranges.scales, scales].map((chosen) => {
      const chain = openChain(subject, {
        frames: 2,
        target: "axcl",
        end: "samples",
        ranges: { ...subject.ranges, scales: chosen },
      });
      speak(chain, subject.codes.subarray(0, FEW_FRAMES * CODES_PER_FRAME), 2);
      const found = [1, 2, 3, 4].map((block) => chain.floats(`state.decoder.${block}.unit.1`).slice());
      chain.close();
      return found;
    });
    states[0].forEach((plain, i) => {
      expect(peakOf(plain)).toBeGreaterThan(0);
      expect(states[1][i]).toEqual(plain.map((value) => value * scales[i + 1]));
    });
  });

  test("is brought below what half precision holds, by powers of two", () => {
    const peaks = {
      "signal.1.decoder.1.block.0": 10,
      "signal.2.decoder.1.block.2.act1": LARGEST_SIGNAL,
      "signal.2.decoder.1.block.2.act2": 4.1 * LARGEST_SIGNAL,
      "angle.decoder.1.block.0": 0.1,
      "angle.decoder.1.block.2.act1": 100,
      "angle.decoder.1.block.2.act2": 1e30,
    };
    expect(rangesOf(peaks, 1)).toEqual({
      scales: [1, 2 ** -3],
      folds: { "decoder.1.block.0": 0, "decoder.1.block.2.act1": 7, "decoder.1.block.2.act2": 12 },
    });
  });

  test("is not scaled where nothing was measured, or only zeros", () => {
    expect(rangesOf({ "signal.1.decoder.1.block.0": 0, "angle.decoder.1.block.0": 0 }, 1)).toEqual({
      scales: [1, 1],
      folds: { "decoder.1.block.0": 0 },
    });
  });

  test.each([
    ["starter", 5],
    ["calm tiny", 29],
  ])("is not needed by %s, which has %d Snakes", (name, snakes) => {
    const { peaks, ranges } = subjectOf(name);
    const signals = Object.entries(peaks).flatMap(([key, peak]) => (key.startsWith("signal.") ? [peak] : []));
    expect(signals.length).toBe(snakes);
    expect(largest.note(`signal of ${name}`, Math.max(...signals))).toBeLessThan(LARGEST_SIGNAL);
    expect(ranges.scales).toEqual([1, 1, 1, 1, 1]);
  });
});
