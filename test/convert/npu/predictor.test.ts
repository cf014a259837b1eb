// The code predictor's graphs for NPUs on ONNX Runtime: they give the official codes and logits, use only
// what a vendor's compiler takes, and keep values in the range of half precision.

import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { PREDICTORS } from "../../../src/backends/predictor/index.ts";
import type { Draw } from "../../../src/backends/stage.ts";
import { TALKERS } from "../../../src/backends/talker/index.ts";
import { PartChain } from "../../../src/convert/npu/_chain.ts";
import { predictorFrameGraph, predictorStepGraph } from "../../../src/convert/npu/predictor.ts";
import { Message } from "../../../src/formats/_protobuf.ts";
import type { Checkpoint } from "../../../src/formats/checkpoint.ts";
import { type Tensor, toFloat32 } from "../../../src/formats/safetensors.ts";
import { Embedder } from "../../../src/stages/embed.ts";
import { CODES_PER_FRAME } from "../../../src/types.ts";
import {
  bundleOf,
  goldenCases,
  goldenFile,
  openOptions,
  sharedFloats,
  starterCases,
  starterRun,
} from "../../_support.ts";
import { type OnnxModel, readOnnx } from "../_onnx-model.ts";
import {
  byFrame,
  byStep,
  checkpointOf,
  closeAll,
  framePath,
  GROUPS,
  indexOfLargest,
  type Make,
  open,
  opened,
  outsideOf,
  pathOf,
  someFrame,
  stepPath,
} from "./_predictor.ts";

afterAll(closeAll);

/** Relative to the largest logit of a row. */
const MAX_LOGIT_ERROR = 1e-4;
/**
 * The largest activation that is reported of official models. `IN_RANGE` is below the 65504 of half
 * precision, to leave room for models that go further.
 */
const OFFICIAL_PEAK = 1.5e5;
const IN_RANGE = 30_000;
/** The longest dimension that the NPUs of this project take. */
const MAX_DIMENSION = 8_191;
/** From the vendor's list for AX650 (Pulsar2 7.0). */
const OPERATORS = {
  step: "Abs Add Concat Div Expand Gemm Identity MatMul Max Mul ReduceMax ReduceMean Reshape Sigmoid Slice Softmax Split Sqrt Sub Transpose",
  frame:
    "Abs Add ArgMax Cast Concat Div Gather Gemm GreaterOrEqual Identity MatMul Max Mul ReduceMax ReduceMean ReduceSum Reshape Sigmoid Slice Softmax Split Sqrt Sub TopK Transpose Where",
};

const modelOf = (path: string): OnnxModel => readOnnx(readFileSync(path));

/** Their results are not f32: booleans and whole numbers. */
const NOT_FLOAT = ["GreaterOrEqual", "ArgMax"];

/** A graph that has every f32 value as an output. */
class Observed extends PartChain {
  private readonly peaks = new Map<string, number>();

  constructor(path: string) {
    loadOnnxRuntime();
    const { nodes, outputs } = modelOf(path);
    const values = nodes.filter(({ type }) => !NOT_FLOAT.includes(type)).map((node) => node.outputs[0]);
    const added = new Set(values).difference(new Set(outputs.map(({ name }) => name)));
    // Protobuf merges a field that comes again: the second graph field adds outputs to the model's graph.
    const graph = new Message();
    for (const name of added) graph.message(12, new Message().string(1, name));
    const open = `${path}-observed`;
    writeFileSync(open, Buffer.concat([readFileSync(path), new Message().message(7, graph).encode()]));
    super([open], 1);
    opened.push(this);
  }

  override run(): void {
    super.run();
    for (const name of this.outputs) {
      const largest = this.floats(name).reduce(
        (max, value) => Math.max(max, Number.isFinite(value) ? Math.abs(value) : Infinity),
        0,
      );
      this.peaks.set(name, Math.max(largest, this.peaks.get(name) ?? 0));
    }
  }

  /** The largest magnitude so far of all values whose names begin with `prefix`. */
  largest(prefix: string): number {
    return Math.max(...[...this.peaks].map(([name, peak]) => (name.startsWith(prefix) ? peak : 0)));
  }

  shapes(): number[][] {
    return [...this.infos(0, "inputs"), ...this.infos(0, "outputs")].map(({ shape }) => shape);
  }
}

/** Frames of a checkpoint: the talker's hidden state, and in `codes` all 16 official codes of each. */
interface Frames {
  checkpoint: string;
  hidden: Float32Array;
  codes: Int32Array;
}

function goldenFrames(): [name: string, frames: () => Frames][] {
  const tiny = goldenCases().map((goldenCase): [string, () => Frames] => {
    const frames = () => ({
      hidden: goldenFile(goldenCase).floats("hidden"),
      codes: goldenFile(goldenCase).ints("codes"),
    });
    return [goldenCase.name, () => ({ checkpoint: goldenCase.checkpoint, ...frames() })];
  });
  const starter = starterCases().slice(0, 1);
  return [
    ...tiny,
    ...starter.map((entry): [string, () => Frames] => [entry.name, () => starterFrames(entry)]),
  ];
}

/** The golden files of the starter voice have codes only, so its talker computes the hidden states. */
function starterFrames(entry: ReturnType<typeof starterCases>[number]): Frames {
  const { bundle, golden, prompt, voice } = starterRun(entry);
  const talker = TALKERS[0].open(openOptions(bundle));
  const embedder = new Embedder(bundle);
  const width = talker.hidden;
  const codes = golden.ints("codes");
  const [input, logits] = [sharedFloats(width), sharedFloats(talker.codecVocabulary)];
  const hidden = sharedFloats((width * codes.length) / CODES_PER_FRAME);
  const row = sharedFloats(width);
  talker.prefill(0, embedder.prompt(prompt.rows, voice), 0, prompt.rows.length, row, logits);
  for (let frame = 0; frame < codes.length / CODES_PER_FRAME; frame++) {
    hidden.set(row, frame * width);
    embedder.feedback(codes, frame * CODES_PER_FRAME, input, 0);
    embedder.addText(prompt.trailing[frame] ?? bundle.manifest.prompt.text.ttsPad, input, 0);
    talker.step(Int32Array.of(0), 1, input, row, logits);
  }
  embedder.close();
  talker.close();
  return { checkpoint: "starter", hidden, codes };
}

/** Logits of the backend on ONNX Runtime, along the likeliest codes. */
function reference(checkpoint: string): (hidden: Float32Array, code0: number) => Float32Array[] {
  const predictor = PREDICTORS.find(({ name }) => name === "ort")!.open(openOptions(bundleOf(checkpoint)));
  opened.push(predictor);
  return (hidden, code0) => {
    const logits: Float32Array[] = [];
    const draw: Draw = (_row, _group, values) => {
      logits.push(values.slice());
      return indexOfLargest(values);
    };
    predictor.predict(1, hidden, new Int32Array(CODES_PER_FRAME).fill(code0, 0, 1), draw);
    return logits;
  };
}

/** Largest difference relative to the row's largest logit. */
function logitError(ours: Float32Array[], theirs: Float32Array[]): number {
  const errors = ours.map((values, group) => {
    const peak = Math.max(...theirs[group].map(Math.abs));
    return Math.max(...values.map((value, i) => Math.abs(value - theirs[group][i]))) / peak;
  });
  return Math.max(...errors);
}

describe.each(goldenFrames())("%s", (_name, framesOf) => {
  test("by steps and by frames: the official codes, and the logits of the graph for the CPU", () => {
    const { checkpoint, codes, hidden } = framesOf();
    const rows = outsideOf(checkpoint);
    const [step, frame, exact] = [
      open(stepPath(checkpoint)),
      open(framePath(checkpoint)),
      reference(checkpoint),
    ];
    const width = bundleOf(checkpoint).manifest.shape.hidden;
    let worst = 0;
    for (let at = 0; at < codes.length / CODES_PER_FRAME; at++) {
      const official = Array.from(codes.subarray(at * CODES_PER_FRAME, (at + 1) * CODES_PER_FRAME));
      const input = hidden.slice(at * width, (at + 1) * width);
      const [stepwise, whole] = [
        byStep(step, rows, input, official[0]),
        byFrame(frame, rows, input, official[0]),
      ];
      expect([at, stepwise.codes]).toEqual([at, official]);
      expect([at, whole.codes]).toEqual([at, official]);
      const logits = exact(input, official[0]);
      worst = Math.max(worst, logitError(stepwise.logits, logits), logitError(whole.logits, logits));
    }
    expect(worst).toBeLessThanOrEqual(MAX_LOGIT_ERROR);
  });
});

/** Bytes that say whether two results are the same to the bit. */
const bits = (logits: Float32Array[]) =>
  Buffer.concat(logits.map((values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength)));

test("a step reads neither a row without a position nor what an earlier frame left", () => {
  const [model, rows] = [open(stepPath("tiny-base")), outsideOf("tiny-base")];
  const { hidden, code0 } = someFrame("tiny-base");
  const { headDim } = checkpointOf("tiny-base").predictor;
  const clean = byStep(model, rows, hidden, code0);
  const spoiled = byStep(model, rows, hidden, code0, (group) => {
    if (group > 1) model.floats("x").set(new Float32Array(rows.width).fill(-300));
    const taken = group === 1 ? 0 : group; // positions that this frame has filled
    for (const { name } of model.infos(0, "inputs").filter((info) => info.name.startsWith("state."))) {
      const state = model.floats(name);
      const junk = name.includes(".k.") ? 1 : 1e4; // keys are normed
      for (let at = 0; at < state.length; at++)
        if (Math.floor(at / headDim) % CODES_PER_FRAME >= taken) state[at] = junk;
    }
  });
  expect(bits(spoiled.logits).equals(bits(clean.logits))).toBe(true);
});

/** The checkpoint with its predictor's matrices of these names made larger. */
function amplified(checkpoint: Checkpoint, factors: Record<string, number>): Checkpoint {
  const take = (name: string, shape: readonly number[]): Tensor => {
    const tensor = checkpoint.weights.take(name, shape);
    const factor = name.includes("code_predictor")
      ? (Object.entries(factors).find(([part]) => name.includes(part))?.[1] ?? 1)
      : 1;
    if (factor === 1) return tensor;
    const values = toFloat32(tensor).map((value) => value * factor);
    return {
      ...tensor,
      name: `${name} x ${factor}`,
      dtype: "F32",
      bytes: new Uint8Array(values.buffer),
      file: "amplified",
    };
  };
  return {
    ...checkpoint,
    weights: { take, has: (name: string) => checkpoint.weights.has(name) } as Checkpoint["weights"],
  };
}

/** A checkpoint of the official shape; its matrices are never read. */
function fullSize(): Checkpoint {
  const predictor = {
    hidden: 1_024,
    intermediate: 3_072,
    layers: 5,
    heads: 16,
    kvHeads: 8,
    headDim: 128,
    ropeTheta: 1e6,
    rmsEps: 1e-6,
  };
  const take = (name: string, shape: readonly number[]) => {
    return {
      name,
      dtype: "F32",
      shape,
      bytes: new Uint8Array(shape.length === 1 ? 4 * shape[0] : 0),
      file: "",
      offset: 0,
    };
  };
  return {
    codes: 2_048,
    predictor,
    talker: { hidden: 2_048 },
    weights: { take, has: () => true },
  } as unknown as Checkpoint;
}

/**
 * Factors that raise the largest values of the tiny checkpoints to those of official models: the sums of
 * layers, and the inputs of down projections.
 */
const LARGE = { o_proj: 20_000, up_proj: 25_000, down_proj: 1.5 };

/** How many nodes have results that are not f32. */
const WHOLE_NUMBERS = { step: 0, frame: 2 * GROUPS };

const GRAPHS: [kind: "step" | "frame", make: Make][] = [
  ["step", predictorStepGraph],
  ["frame", predictorFrameGraph],
];

describe.each(GRAPHS)("the graph of a %s", (kind, make) => {
  const path = kind === "step" ? stepPath : framePath;
  const runOf = (model: PartChain, checkpoint: string) => {
    const { hidden, code0 } = someFrame(checkpoint);
    const rows = outsideOf(checkpoint);
    return kind === "step" ? byStep(model, rows, hidden, code0) : byFrame(model, rows, hidden, code0);
  };

  test.each(["tiny-custom", "tiny-base", "starter"])(
    "%s: operators of the vendor's list, fixed small shapes, f32",
    (checkpoint) => {
      const file = modelOf(path(checkpoint));
      expect(
        new Set(file.nodes.map(({ type }) => type)).difference(new Set(OPERATORS[kind].split(" "))),
      ).toEqual(new Set());
      expect(new Set(file.nodes.map(({ domain }) => domain))).toEqual(new Set([""]));
      const values = new Observed(path(checkpoint)).shapes();
      expect(values.length).toBeGreaterThan(file.nodes.length - WHOLE_NUMBERS[kind]);
      const shapes = [...values, ...[...file.constants.values()].map(({ shape }) => shape)];
      expect(
        shapes.filter((shape) => shape.length > 3 || shape.some((size) => size < 1 || size > MAX_DIMENSION)),
      ).toEqual([]);
    },
  );

  test("whole numbers serve only as operator parameters and as drawn codes", () => {
    const { nodes } = modelOf(path("tiny-base"));
    const users = (name: string) =>
      nodes.filter(({ inputs }) => inputs.includes(name)).map(({ type }) => type);
    const drawn = nodes
      .filter(({ type }) => type === "ArgMax")
      .map(({ outputs }) => users(outputs[0]).toSorted());
    expect(drawn).toEqual(kind === "step" ? [] : [...Array(GROUPS - 1).fill(["Cast", "Gather"]), ["Cast"]]);
    expect(nodes.filter(({ type }) => type === "TopK").flatMap(({ outputs }) => users(outputs[1]))).toEqual(
      [],
    );
  });

  test("at full size, too, weights keep to the limits", () => {
    const shapes = [...make(fullSize(), {}).shapes.values()];
    expect(shapes).toContainEqual([3_072, 1_024]);
    expect(
      shapes.filter((shape) => shape.length > 3 || shape.some((size) => !(Number(size) <= MAX_DIMENSION))),
    ).toEqual([]);
  });

  test.each(["tiny-custom", "tiny-base"])(
    "%s: scaling the values down changes no bit of the result",
    (checkpoint) => {
      const plain = open(pathOf(`${kind}-${checkpoint}-plain`, () => make(checkpointOf(checkpoint), {}, 1)));
      const [scaled, unscaled] = [runOf(open(path(checkpoint)), checkpoint), runOf(plain, checkpoint)];
      expect(bits(scaled.logits).equals(bits(unscaled.logits))).toBe(true);
    },
  );

  test.each(["tiny-custom", "tiny-base"])(
    "%s: values as large as those of official models stay in the range of half precision",
    (checkpoint) => {
      const large = amplified(checkpointOf(checkpoint), LARGE);
      const peaks = (scale?: number) => {
        const file = pathOf(`${kind}-${checkpoint}-large-${scale}`, () => make(large, {}, scale));
        const model = new Observed(file);
        const { logits } = runOf(model, checkpoint);
        return {
          largest: model.largest(""),
          sums: model.largest("Add_"),
          products: model.largest("Mul_"),
          logits,
        };
      };
      const [scaled, plain] = [peaks(), peaks(1)];
      expect(Math.min(plain.sums, plain.products)).toBeGreaterThan(OFFICIAL_PEAK);
      expect(scaled.sums).toBeGreaterThan(OFFICIAL_PEAK / 20); // it is the same model
      expect(scaled.largest).toBeLessThan(IN_RANGE);
      expect(bits(scaled.logits).equals(bits(plain.logits))).toBe(true);
    },
  );
});

test("a frame's weights are stored once, however often they are used", () => {
  const sizes = [stepPath, framePath].map((path) => {
    const { constants } = modelOf(path("tiny-base"));
    return [...constants.values()].reduce(
      (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
      0,
    );
  });
  const { codes, predictor, talker } = checkpointOf("tiny-base");
  const headsAndTables = GROUPS * codes * predictor.hidden + (GROUPS - 1) * codes * talker.hidden;
  const projection = (predictor.hidden + 1) * talker.hidden;
  // tables of positions, masks
  expect(sizes[1] - sizes[0] - headsAndTables - projection).toBeWithin(-1_000, 1_000);
});
