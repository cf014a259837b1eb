// A frame of the code predictor as 15 steps of its layers, for backends that run one position at a time.

import type { Bundle } from "../formats/bundle.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { PredictorRows } from "./predictor-rows.ts";
import type { Draw, Predictor } from "./stage.ts";

/** Layers and heads: rows in, logits out, a KV cache that lives for one frame. */
export interface PredictorLayers {
  /** f32 [lanes, 2, hidden]; a step with one row per lane uses [lanes, 1, hidden] of it. */
  readonly input: Float32Array;
  /** f32 [lanes, codes] of the last step. */
  readonly logits: Float32Array;
  /** Forgets the last frame. */
  begin(count: number): void;
  /**
   * Takes in the rows of the first `count` lanes for `group`, 1 to 15, and applies the group's head to each
   * lane's last row. Group 1 has two rows, at positions 0 and 1; every later group has one, at the position
   * of its number.
   */
  step(count: number, group: number): void;
  close(): void;
}

export class StepwisePredictor implements Predictor {
  private readonly rows: PredictorRows;
  /** f32 [codes] of each lane. */
  private readonly logits: Float32Array[];

  /** Owns the layers: closes them with itself, or when the bundle does not fit. */
  constructor(
    bundle: Bundle,
    private readonly layers: PredictorLayers,
    lanes: number,
  ) {
    const { codes } = bundle.manifest.shape;
    this.logits = Array.from({ length: lanes }, (_, lane) =>
      layers.logits.subarray(lane * codes, (lane + 1) * codes),
    );
    try {
      this.rows = new PredictorRows(bundle);
    } catch (error) {
      layers.close();
      throw error;
    }
  }

  predict(count: number, hidden: Float32Array, codes: Int32Array, draw: Draw): void {
    const { layers, rows } = this;
    const { width } = rows;
    layers.begin(count);
    for (let lane = 0; lane < count; lane++) {
      rows.enter(hidden, lane, layers.input, 2 * lane * width);
      rows.copyCode(0, codes[lane * CODES_PER_FRAME], layers.input, (2 * lane + 1) * width);
    }
    layers.step(count, 1);
    for (let group = 1; group < CODES_PER_FRAME; group++) {
      for (let lane = 0; lane < count; lane++)
        codes[lane * CODES_PER_FRAME + group] = draw(lane, group, this.logits[lane]);
      if (group === CODES_PER_FRAME - 1) return;
      for (let lane = 0; lane < count; lane++)
        rows.copyCode(group, codes[lane * CODES_PER_FRAME + group], layers.input, lane * width);
      layers.step(count, group + 1);
    }
  }

  close(): void {
    this.layers.close();
    this.rows.close();
  }
}
