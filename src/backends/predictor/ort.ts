// The code predictor on ONNX Runtime: one graph for the layers, one for the heads. Keys and values are
// appended in place, because the layers get the same memory as past and as present; every shape of a call has
// its tensors prepared.

import {
  loadOnnxRuntime,
  OrtSession,
  OrtTensor,
  PreparedRun,
  type TensorData,
} from "../../../ffi/onnxruntime.ts";
import { bundlePath } from "../../formats/bundle.ts";
import { PREDICTOR_POSITIONS } from "../../types.ts";
import type { OpenOptions } from "../stage.ts";
import { FIRST_ROWS, type PredictorLayers, stepwiseBackend } from "./stepwise.ts";

export const predictorOrt = stepwiseBackend(
  "ort",
  "predictorOnnx",
  (options, passRows) => new OrtLayers(options, passRows),
);

class OrtLayers implements PredictorLayers {
  readonly input: Float32Array;
  readonly logits: Float32Array;
  private readonly layers: OrtSession;
  private readonly heads: OrtSession;
  private readonly width: number;
  private readonly codes: number;
  /** Keys and values of each layer, f32 [1, lanes * kvHeads, 17, headDim]. */
  private readonly caches: { name: string; data: Float32Array }[];
  private readonly cacheShape: (lanes: number) => number[];
  /** The position after the last row; a number larger by one; the group of the head. */
  private readonly last = words(1);
  private readonly positions = words(1);
  private readonly group = words(1);
  /** f32 [lanes * rows, hidden] of the last pass, and its rows. */
  private readonly states: Float32Array;
  private readonly stateRows: Float32Array[];
  /** f32 [lanes, hidden], and its rows: what the heads take. */
  private readonly chosen: Float32Array;
  private readonly chosenRows: Float32Array[];
  /** [count - 1][rows - 1] */
  private readonly passes: PreparedRun[][] = [];
  /** [count - 1] */
  private readonly products: PreparedRun[] = [];
  private rows = 0;
  private readonly opened: { close(): void }[] = [];

  constructor(
    { bundle, config, lanes }: OpenOptions,
    private readonly passRows: number,
  ) {
    loadOnnxRuntime(config.libraries.onnxruntime);
    const { codes, predictorHidden: width, predictorKvHeads, predictorLayers } = bundle.manifest.shape;
    [this.width, this.codes] = [width, codes];
    try {
      const { steadyThreads: threads } = config;
      this.layers = this.keep(OrtSession.open(bundlePath(bundle, "predictorOnnx"), { threads }));
      this.heads = this.keep(OrtSession.open(bundlePath(bundle, "predictorHeads"), { threads }));
      const headDim = this.checkLayers(predictorLayers);
      this.checkHeads();
      const size = predictorKvHeads * PREDICTOR_POSITIONS * headDim;
      this.caches = cacheNames(predictorLayers).map((name) => ({ name, data: shared(lanes * size) }));
      this.cacheShape = (count) => [1, count * predictorKvHeads, PREDICTOR_POSITIONS, headDim];
    } catch (error) {
      this.close();
      throw error;
    }
    const rows = Math.max(FIRST_ROWS * lanes, passRows);
    this.input = shared(rows * width);
    this.states = shared(rows * width);
    this.chosen = shared(lanes * width);
    this.logits = shared(lanes * codes);
    this.stateRows = rowsOf(this.states, width);
    this.chosenRows = rowsOf(this.chosen, width);
  }

  private keep<T extends { close(): void }>(part: T): T {
    this.opened.push(part);
    return part;
  }

  private checkHeads(): void {
    this.heads.expect("inputs", "hidden", "f32", [-1, this.width]);
    this.heads.expect("inputs", "group", "i32", [1]);
    this.heads.expect("outputs", "logits", "f32", [-1, this.codes]);
  }

  /** @returns the width of a key */
  private checkLayers(count: number): number {
    const { layers, width } = this;
    layers.expect("inputs", "x", "f32", [-1, -1, width]);
    layers.expect("inputs", "last", "i32", [1]);
    layers.expect("inputs", "positions", "i32", [1]);
    layers.expect("outputs", "states", "f32", [-1, width]);
    const past = layers.expect("inputs", "past.k.0", "f32", [1, -1, PREDICTOR_POSITIONS, -1]);
    const headDim = Math.min(Math.max(past.shape[3], 1), 1_024);
    for (const name of cacheNames(count))
      for (const [side, time] of [
        ["inputs", "past"],
        ["outputs", "present"],
      ] as const)
        layers.expect(side, `${time}.${name}`, "f32", [1, -1, PREDICTOR_POSITIONS, headDim]);
    return headDim;
  }

  begin(count: number): void {
    if (this.products[count - 1] === undefined) this.prepare(count);
  }

  pass(count: number, rows: number, from: number): void {
    this.rows = rows;
    // attention has a spare row, which comes after them
    this.last[0] = from + rows;
    this.positions[0] = from + rows + 1;
    this.passes[count - 1][rows - 1].run();
  }

  head(count: number, row: number, group: number): void {
    this.group[0] = group;
    for (let lane = 0; lane < count; lane++)
      this.chosenRows[lane].set(this.stateRows[lane * this.rows + row]);
    this.products[count - 1].run();
  }

  private prepare(count: number): void {
    const most = count === 1 ? this.passRows : FIRST_ROWS;
    this.passes[count - 1] = Array.from({ length: most }, (_, i) => this.preparePass(count, i + 1));
    const inputs = {
      hidden: this.tensor(this.chosen, [count, this.width]),
      group: this.tensor(this.group, [1]),
    };
    const outputs = { logits: this.tensor(this.logits, [count, this.codes]) };
    this.products[count - 1] = new PreparedRun(this.heads, inputs, outputs);
  }

  private preparePass(count: number, rows: number): PreparedRun {
    const { width } = this;
    const inputs: Record<string, OrtTensor> = {
      x: this.tensor(this.input, [count, rows, width]),
      last: this.tensor(this.last, [1]),
      positions: this.tensor(this.positions, [1]),
    };
    const outputs: Record<string, OrtTensor> = {
      states: this.tensor(this.states, [count * rows, width]),
    };
    for (const { name, data } of this.caches) {
      const tensor = this.tensor(data, this.cacheShape(count));
      inputs[`past.${name}`] = tensor;
      outputs[`present.${name}`] = tensor;
    }
    return new PreparedRun(this.layers, inputs, outputs);
  }

  private tensor(data: TensorData, shape: number[]): OrtTensor {
    return this.keep(new OrtTensor(data, shape));
  }

  /** Closes in reverse order of opening: each object uses those before it. */
  close(): void {
    while (this.opened.length > 0) this.opened.pop()!.close();
  }
}

const cacheNames = (layers: number) =>
  Array.from({ length: layers }, (_, layer) => [`k.${layer}`, `v.${layer}`]).flat();
const shared = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
const words = (length: number) => new Int32Array(new SharedArrayBuffer(4 * length));
const rowsOf = (matrix: Float32Array, width: number) =>
  Array.from({ length: matrix.length / width }, (_, row) => matrix.subarray(row * width, (row + 1) * width));
