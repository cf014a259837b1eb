// The input rows of the code predictor's layers, of the predictor's width, from the tables of the bundle.

import type { Bundle } from "../../formats/bundle.ts";
import { matVec, type RowTable, TABLE, Tables } from "../../formats/tables.ts";
import { CODES_PER_FRAME } from "../../types.ts";

export class PredictorRows {
  readonly width: number;
  private readonly hidden: number;
  private readonly inputs: RowTable[];
  private readonly projection: { weight: Float32Array; bias: Float32Array } | null;
  private readonly tables: Tables;

  /** @throws TtsError BUNDLE_INVALID */
  constructor(bundle: Bundle) {
    const { hidden, predictorHidden, codecVocabulary, codes } = bundle.manifest.shape;
    [this.hidden, this.width] = [hidden, predictorHidden];
    this.tables = Tables.open(bundle);
    const { tables } = this;
    try {
      const projected = tables.has(TABLE.projectionWeight);
      const groups = Array.from({ length: CODES_PER_FRAME - 1 }, (_, group) => group);
      this.inputs = groups.map((group) => {
        if (projected) return tables.table(TABLE.predictorInput(group), codes, predictorHidden);
        return tables.table(TABLE.code(group), group === 0 ? codecVocabulary : codes, predictorHidden);
      });
      const weight = () => tables.matrix(TABLE.projectionWeight, [predictorHidden, hidden]);
      this.projection = projected
        ? { weight: weight(), bias: tables.matrix(TABLE.projectionBias, [predictorHidden]) }
        : null;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * target[at ...] = row `row` of the talker's `hidden`, f32 [rows, hidden], through the projection where
   * there is one.
   */
  enter(hidden: Float32Array, row: number, target: Float32Array, at: number): void {
    const { projection, width } = this;
    const from = row * this.hidden;
    if (projection === null) for (let i = 0; i < width; i++) target[at + i] = hidden[from + i];
    else matVec(projection.weight, hidden, from, this.hidden, target, at, width, projection.bias);
  }

  /** target[at ...] = the row of a code of a group, 0 to 14: code 15 is only fed back to the talker. */
  copyCode(group: number, code: number, target: Float32Array, at: number): void {
    this.inputs[group].copyRow(code, target, at);
  }

  close(): void {
    this.tables.close();
  }
}
