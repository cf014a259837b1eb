// The layers of the code predictor on an NPU, one step per run, and the heads on ONNX Runtime. The graphs are
// predictorStepGraph (src/convert/npu/predictor.ts) and predictorHeadsGraph (src/convert/onnx/predictor.ts).

import type { NpuModel, NpuRuntime } from "../../../ffi/npu/model.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import type { PredictorLayers } from "../predictor/stepwise.ts";
import type { OpenOptions } from "../stage.ts";
import { statesOf } from "./_folder.ts";
import { openOrtPart } from "./_ort-part.ts";
import { type PartFile, tensorOf } from "./_predictor-files.ts";

/** The first step of a frame takes two rows; the others only use the second one. */
const ROWS = 2;

export class CardLayers implements PredictorLayers {
  readonly input: Float32Array;
  readonly logits: Float32Array;
  private readonly models: NpuModel[] = [];
  private readonly layers: NpuModel;
  private readonly heads: NpuModel;
  private readonly group = new Int32Array(new SharedArrayBuffer(4));
  /** f32 [2, width]; f32 [2, 16], a 1 at the position of each row */
  private readonly x: Float32Array;
  private readonly position: Float32Array;
  /** f32 [width] of each lane, of the last pass */
  private readonly states: Float32Array[];
  /** f32 [1, width]: what the layers give, and what the heads take */
  private readonly hidden: { from: Float32Array; to: Float32Array };
  /** f32 [1, codes] */
  private readonly scores: Float32Array;

  constructor(
    { step, heads }: { step: PartFile; heads: PartFile },
    { bundle, config, lanes }: OpenOptions,
    openModel: NpuRuntime["openModel"],
  ) {
    const { codes, predictorHidden: width } = bundle.manifest.shape;
    this.input = new Float32Array(lanes * ROWS * width);
    this.logits = new Float32Array(lanes * codes);
    this.states = Array.from({ length: lanes }, () => new Float32Array(width));
    try {
      this.layers = this.keep(openModel({ path: step.path, lanes, states: statesOf(step.part) }));
      const options = { path: heads.path, lanes: 1, states: [] };
      this.heads = this.keep(
        openOrtPart(heads.part, options, { group: this.group }, config.libraries.onnxruntime),
      );
      this.x = tensorOf(this.layers, "inputs", "x", ROWS * width, step.path);
      this.position = tensorOf(this.layers, "inputs", "position", ROWS * CODES_PER_FRAME, step.path);
      const from = tensorOf(this.layers, "outputs", "hidden", width, step.path);
      this.hidden = { from, to: tensorOf(this.heads, "inputs", "hidden", width, heads.path) };
      this.scores = tensorOf(this.heads, "outputs", "logits", codes, heads.path);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private keep(model: NpuModel): NpuModel {
    this.models.push(model);
    return model;
  }

  /** Does nothing: no step reads what an earlier frame left in the window. */
  begin(): void {}

  pass(count: number, rows: number, from: number): void {
    const width = this.x.length / ROWS;
    this.position.fill(0);
    if (rows === ROWS) this.position[from] = 1;
    this.position[CODES_PER_FRAME + from + rows - 1] = 1;
    for (let lane = 0; lane < count; lane++) {
      const [to, first] = [(ROWS - rows) * width, lane * rows * width];
      for (let i = 0; i < rows * width; i++) this.x[to + i] = this.input[first + i];
      this.layers.run(lane);
      this.layers.keep();
      this.states[lane].set(this.hidden.from);
    }
  }

  /** Of the last row alone: the graph for the layers gives no other state. */
  head(count: number, _row: number, group: number): void {
    this.group[0] = group;
    for (let lane = 0; lane < count; lane++) {
      this.hidden.to.set(this.states[lane]);
      this.heads.run(0);
      this.logits.set(this.scores, lane * this.scores.length);
    }
  }

  close(): void {
    for (const model of this.models.splice(0)) model.close();
  }
}
