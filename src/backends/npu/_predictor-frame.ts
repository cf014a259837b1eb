// A whole frame of the code predictor in one run of an NPU, which also draws the codes: predictorFrameGraph
// in src/convert/npu/predictor.ts. A seed gives other codes here than on the CPU, with the same
// probabilities; the likeliest codes are the same.

import { elementsOf, type NpuModel, type NpuRuntime } from "../../../ffi/npu/model.ts";
import { TtsError } from "../../errors.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { assertDrawable } from "../../sampler.ts";
import { CODES_PER_FRAME, type DrawLimits } from "../../types.ts";
import { PredictorRows } from "../predictor/rows.ts";
import type { Chances, Draw, Predictor } from "../stage.ts";
import { type PartFile, tensorOf } from "./_predictor-files.ts";

const GROUPS = CODES_PER_FRAME - 1;

export class FramePredictor implements Predictor {
  readonly drawsInside: DrawLimits;
  private readonly rows: PredictorRows;
  private readonly model: NpuModel;
  /** f32 [2, width], [15, codes], [1, 1], [1, limits + 1] */
  private readonly x: Float32Array;
  private readonly noise: Float32Array;
  private readonly sharpness: Float32Array;
  private readonly limit: Float32Array;
  /** f32 [15] */
  private readonly drawn: Float32Array;
  private readonly size: number;

  constructor(
    { frame: { part, path } }: { frame: PartFile },
    bundle: Bundle,
    openModel: NpuRuntime["openModel"],
  ) {
    this.size = bundle.manifest.shape.codes;
    this.rows = new PredictorRows(bundle);
    try {
      this.model = openModel({ path, lanes: 1, states: [] });
    } catch (error) {
      this.rows.close();
      throw error;
    }
    try {
      const { model } = this;
      this.x = tensorOf(model, "inputs", "x", 2 * this.rows.width, path);
      this.noise = tensorOf(model, "inputs", "noise", GROUPS * this.size, path);
      this.sharpness = tensorOf(model, "inputs", "sharpness", 1, path);
      const limits = elementsOf(part.inputs.find(({ name }) => name === "limit")?.shape ?? []);
      this.limit = tensorOf(model, "inputs", "limit", limits, path);
      this.drawn = tensorOf(model, "outputs", "codes", GROUPS, path);
      this.drawsInside = { topK: limits - 1 };
      assertDrawable(bundle.manifest.sampling.predictor, this.drawsInside, this.size);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  predict(count: number, hidden: Float32Array, codes: Int32Array, _draw: Draw, chances?: Chances): void {
    for (let row = 0; row < count; row++) {
      this.rows.enter(hidden, row, this.x, 0);
      this.rows.copyCode(0, codes[row * CODES_PER_FRAME], this.x, this.rows.width);
      this.prepareChoice(row, chances);
      this.model.run(0);
      for (let group = 0; group < GROUPS; group++)
        codes[row * CODES_PER_FRAME + 1 + group] = this.codeOf(group);
    }
  }

  private prepareChoice(row: number, chances: Chances | undefined): void {
    const settings = chances?.settings(row);
    const most = this.limit.length - 1;
    this.limit.fill(0);
    if (settings === undefined || settings.greedy) {
      this.noise.fill(0);
      this.sharpness[0] = 1;
      this.limit[most] = 1;
      return;
    }
    assertDrawable(settings, this.drawsInside, this.size);
    chances!.noise(row, this.noise);
    this.sharpness[0] = 1 / settings.temperature;
    this.limit[settings.topK === 0 || settings.topK >= this.size ? most : settings.topK - 1] = 1;
  }

  /** @throws TtsError NPU_FAILED when the card gave no code */
  private codeOf(group: number): number {
    const code = Math.round(this.drawn[group]);
    if (code >= 0 && code < this.size) return code;
    throw new TtsError(
      "NPU_FAILED",
      `the card gave ${this.drawn[group]} as code ${group + 1} of a frame`,
      "try {predictor} ort",
    );
  }

  close(): void {
    this.model.close();
    this.rows.close();
  }
}
