// A frame of the code predictor as 15 steps of its layers: what every backend does that runs one position at a time.
// Input rows and the input projection come from the tables of the bundle.

import type { Bundle } from "../bundle.ts";
import { matVec, type RowTable, TABLE, Tables } from "../tables.ts";
import { CODES_PER_FRAME } from "../types.ts";
import type { Draw, Predictor } from "./index.ts";

/** Layers and heads: rows in, logits out, a KV cache that lives for one frame. */
export interface PredictorLayers {
  /** f32 [lanes, 2, hidden]; a step with one row per lane uses [lanes, 1, hidden] of it. */
  readonly input: Float32Array;
  /** f32 [lanes, codes] of the last step. */
  readonly logits: Float32Array;
  /** Forgets the last frame. */
  begin(count: number): void;
  /**
   * Takes in the first `count` lanes' rows for `group`, 1 to 15, and puts its head on the last one of each: a frame starts with two rows
   * for group 1, at positions 0 and 1, and goes on with one for each group, at the position of its number.
   */
  step(count: number, group: number): void;
  close(): void;
}

export class StepwisePredictor implements Predictor {
  private readonly hidden: number;
  private readonly width: number;
  private readonly inputs: RowTable[];
  private readonly projection: { weight: Float32Array; bias: Float32Array } | null;
  /** f32 [codes] of each lane. */
  private readonly logits: Float32Array[];
  private readonly tables: Tables | undefined;

  constructor(
    bundle: Bundle,
    private readonly layers: PredictorLayers,
    lanes: number,
  ) {
    const { hidden, predictorHidden, codecVocabulary, codes } = bundle.manifest.shape;
    [this.hidden, this.width] = [hidden, predictorHidden];
    this.logits = Array.from({ length: lanes }, (_, lane) => layers.logits.subarray(lane * codes, (lane + 1) * codes));
    try {
      const tables = Tables.open(bundle);
      this.tables = tables;
      const projected = tables.has(TABLE.projectionWeight);
      const groups = Array.from({ length: CODES_PER_FRAME - 1 }, (_, group) => group);
      this.inputs = groups.map((group) => {
        if (projected) return tables.table(TABLE.predictorInput(group), codes, predictorHidden);
        return tables.table(TABLE.code(group), group === 0 ? codecVocabulary : codes, predictorHidden);
      });
      const weight = () => tables.matrix(TABLE.projectionWeight, [predictorHidden, hidden]);
      this.projection = projected ? { weight: weight(), bias: tables.matrix(TABLE.projectionBias, [predictorHidden]) } : null;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  predict(count: number, hidden: Float32Array, codes: Int32Array, draw: Draw): void {
    const { layers, width } = this;
    layers.begin(count);
    for (let lane = 0; lane < count; lane++) {
      this.enter(hidden, lane, 2 * lane * width);
      this.inputs[0].copyRow(codes[lane * CODES_PER_FRAME], layers.input, (2 * lane + 1) * width);
    }
    layers.step(count, 1);
    for (let group = 1; group < CODES_PER_FRAME; group++) {
      for (let lane = 0; lane < count; lane++) codes[lane * CODES_PER_FRAME + group] = draw(lane, group, this.logits[lane]);
      if (group === CODES_PER_FRAME - 1) return; // code 15 is only fed back to the talker
      for (let lane = 0; lane < count; lane++)
        this.inputs[group].copyRow(codes[lane * CODES_PER_FRAME + group], layers.input, lane * width);
      layers.step(count, group + 1);
    }
  }

  /** The talker's hidden state as an input row: through the projection where there is one. */
  private enter(hidden: Float32Array, lane: number, at: number): void {
    const { layers, projection } = this;
    if (projection === null) for (let i = 0; i < this.width; i++) layers.input[at + i] = hidden[lane * this.hidden + i];
    else matVec(projection.weight, hidden, lane * this.hidden, this.hidden, layers.input, at, this.width, projection.bias);
  }

  close(): void {
    this.layers.close();
    this.tables?.close(); // there is none when opening it failed
  }
}
