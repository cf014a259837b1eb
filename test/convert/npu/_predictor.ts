// Shared by the tests of the code predictor's graphs for NPUs: the graphs, saved and opened once, and the
// code that runs them.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { PartChain } from "../../../src/convert/npu/_chain.ts";
import { predictorFrameGraph, predictorStepGraph } from "../../../src/convert/npu/predictor.ts";
import { type Checkpoint, openCheckpoint } from "../../../src/formats/checkpoint.ts";
import type { Graph } from "../../../src/formats/onnx.ts";
import { matVec, TABLE, Tables } from "../../../src/formats/tables.ts";
import { CODES_PER_FRAME } from "../../../src/types.ts";
import { bundleOf, checkpointFolder, scratchFolder } from "../../_support.ts";

export const GROUPS = CODES_PER_FRAME - 1;

const checkpoints = new Map<string, Checkpoint>();
export function checkpointOf(name: string): Checkpoint {
  const checkpoint = checkpoints.get(name) ?? openCheckpoint(checkpointFolder(name));
  checkpoints.set(name, checkpoint);
  return checkpoint;
}

export const opened: { close(): void }[] = [];
const models = new Map<string, PartChain>();
const saved = new Map<string, string>();
export type Make = (checkpoint: Checkpoint, shared: Record<string, string>, scale?: number) => Graph;

/** Saves a graph at first use. */
export function pathOf(name: string, make: () => Graph): string {
  const folder = join(scratchFolder(), "predictor-npu");
  mkdirSync(folder, { recursive: true });
  const path = saved.get(name) ?? join(folder, `${name}.onnx`);
  if (!saved.has(name)) make().savePortable(path);
  saved.set(name, path);
  return path;
}

/** Opens a graph at first use. */
export function open(path: string): PartChain {
  loadOnnxRuntime();
  const model = models.get(path) ?? new PartChain([path], 1);
  models.set(path, model);
  return model;
}

export const stepPath = (checkpoint: string) =>
  pathOf(`step-${checkpoint}`, () => predictorStepGraph(checkpointOf(checkpoint), {}));
export const framePath = (checkpoint: string) =>
  pathOf(`frame-${checkpoint}`, () => predictorFrameGraph(checkpointOf(checkpoint), {}));

/** For afterAll. Another test file in the same process opens them anew. */
export function closeAll(): void {
  for (const one of [...opened, ...models.values(), ...checkpoints.values()]) one.close();
  opened.length = 0;
  for (const cache of [models, checkpoints, outsides]) cache.clear();
}

/**
 * The work of a backend outside the graphs, done from the bundle: it turns the talker's hidden state and
 * codes into input rows and applies the heads.
 */
class Outside {
  readonly width: number;
  private readonly tables: Tables;
  private readonly shape: ReturnType<typeof bundleOf>["manifest"]["shape"];

  constructor(checkpoint: string) {
    const bundle = bundleOf(checkpoint);
    this.shape = bundle.manifest.shape;
    this.width = this.shape.predictorHidden;
    this.tables = Tables.open(bundle);
    opened.push(this.tables);
  }

  hidden(hidden: Float32Array): Float32Array {
    const { tables, width, shape } = this;
    if (!tables.has(TABLE.projectionWeight)) return hidden.slice();
    const row = new Float32Array(width);
    const weight = tables.matrix(TABLE.projectionWeight, [width, shape.hidden]);
    matVec(weight, hidden, 0, shape.hidden, row, 0, width, tables.matrix(TABLE.projectionBias, [width]));
    return row;
  }

  code(group: number, code: number): Float32Array {
    const row = new Float32Array(this.width);
    const { codecVocabulary, codes } = this.shape;
    const projected = this.tables.has(TABLE.projectionWeight);
    const name = projected ? TABLE.predictorInput(group) : TABLE.code(group);
    this.tables
      .table(name, group === 0 && !projected ? codecVocabulary : codes, this.width)
      .copyRow(code, row, 0);
    return row;
  }

  logits(group: number, hidden: Float32Array): Float32Array {
    const logits = new Float32Array(this.shape.codes);
    const { bytes } = this.tables.head(group, logits.length, this.width);
    matVec(new Float32Array(bytes.buffer, bytes.byteOffset), hidden, 0, this.width, logits, 0, logits.length);
    return logits;
  }
}

const outsides = new Map<string, Outside>();
export function outsideOf(checkpoint: string): Outside {
  const outside = outsides.get(checkpoint) ?? new Outside(checkpoint);
  outsides.set(checkpoint, outside);
  return outside;
}

export const indexOfLargest = (values: Float32Array) =>
  values.indexOf(values.reduce((a, b) => Math.max(a, b)));

/**
 * The likeliest codes of a frame, by steps: [codes, logits of each group]. `spoil` may overwrite inputs that
 * a step must not read.
 */
export function byStep(
  model: PartChain,
  rows: Outside,
  hidden: Float32Array,
  code0: number,
  spoil?: (group: number) => void,
) {
  const [drawn, logits]: [number[], Float32Array[]] = [[code0], []];
  for (let group = 1; group <= GROUPS; group++) {
    model.floats("position").fill(0);
    if (group === 1) {
      model.floats("x").set(rows.hidden(hidden));
      model.floats("position").set([1]);
    }
    model.floats("x").set(rows.code(group - 1, drawn[group - 1]), rows.width);
    model.floats("position").set([1], CODES_PER_FRAME + group);
    spoil?.(group);
    model.run();
    const values = rows.logits(group, model.floats("hidden"));
    logits.push(values);
    drawn.push(indexOfLargest(values));
  }
  return { codes: drawn, logits };
}

/** The whole frame at once; the likeliest codes without settings. */
export function byFrame(
  model: PartChain,
  rows: Outside,
  hidden: Float32Array,
  code0: number,
  { temperature = 1, topK = 0, noise = null as Float32Array | null } = {},
) {
  model.floats("x").set([...rows.hidden(hidden), ...rows.code(0, code0)]);
  if (noise === null) model.floats("noise").fill(0);
  else model.floats("noise").set(noise);
  model.floats("sharpness").set([1 / temperature]);
  const limit = model.floats("limit").fill(0);
  limit[topK === 0 ? limit.length - 1 : topK - 1] = 1;
  model.run();
  const logits = model.floats("logits");
  const size = logits.length / GROUPS;
  return {
    codes: [code0, ...model.floats("codes")],
    logits: Array.from({ length: GROUPS }, (_, i) => logits.slice(i * size, (i + 1) * size)),
  };
}

/** Any frame of a checkpoint. */
export function someFrame(checkpoint: string): { hidden: Float32Array; code0: number } {
  const { hidden: length } = bundleOf(checkpoint).manifest.shape;
  return { hidden: Float32Array.from({ length }, (_, i) => 2 * Math.sin(i * 1.3 + 1)), code0: 17 };
}
