// The code predictor on an AX650N card: all 15 codes of a frame in one call, drawn on the card, because every call crosses the bus. A seed
// gives other codes here than on the CPU, of the same chances; the likeliest codes are the same.

import { loadAxcl, openAxclModel } from "../../ffi/axcl.ts";
import type { NpuModel } from "../../ffi/npu.ts";
import { TtsError } from "../errors.ts";
import { elementsOf, type NpuPart, npuPartPath } from "../npu.ts";
import { CODES_PER_FRAME, type SamplerSettings } from "../types.ts";
import { hasModelsFor, isOnChip, openFolder, reasonOf } from "./_npu-folder.ts";
import { PredictorRows } from "./_predictor-rows.ts";
import type { Backend, Chances, Draw, OpenOptions, Predictor } from "./index.ts";

const TARGET = "axcl";
const GROUPS = CODES_PER_FRAME - 1;

export const predictorAxcl: Backend<Predictor> = {
  name: "axcl",
  isPrepared: (options) => !isOnChip(options) && hasModelsFor(options, TARGET),
  probe: (options) => reasonOf(() => partOf(options)),
  open: (options) => new AxclPredictor(options),
};

/** @throws TtsError NPU_MODEL_INVALID */
function partOf(options: OpenOptions): { part: NpuPart; path: string } {
  const folder = openFolder(options, TARGET);
  const part = folder.manifest.predictor.frame;
  if (part !== null) return { part, path: npuPartPath(folder, part) };
  throw new TtsError("NPU_MODEL_INVALID", `${folder.directory} has no code predictor`, "use --predictor ort or llama");
}

class AxclPredictor implements Predictor {
  readonly drawsInside = true;
  private readonly rows: PredictorRows;
  private readonly model: NpuModel;
  /** f32 [2, width], [15, codes], [1, 1], [1, limits + 1]: see predictorFrameGraph in src/convert/onnx/predictor-npu.ts. */
  private readonly x: Float32Array;
  private readonly noise: Float32Array;
  private readonly sharpness: Float32Array;
  private readonly limit: Float32Array;
  /** f32 [15] */
  private readonly drawn: Float32Array;
  private readonly size: number;

  constructor(options: OpenOptions) {
    const { bundle, config } = options;
    const { part, path } = partOf(options);
    loadAxcl({ override: config.libraries.axcl, allowStandIn: config.allowStandIn });
    this.rows = new PredictorRows(bundle);
    try {
      this.size = bundle.manifest.shape.codes;
      this.model = openAxclModel({ path, lanes: 1, states: [] });
    } catch (error) {
      this.rows.close();
      throw error;
    }
    try {
      this.x = this.tensor("inputs", part, "x", 2 * this.rows.width);
      this.noise = this.tensor("inputs", part, "noise", GROUPS * this.size);
      this.sharpness = this.tensor("inputs", part, "sharpness", 1);
      this.limit = this.tensor("inputs", part, "limit", null);
      this.drawn = this.tensor("outputs", part, "codes", GROUPS);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** @param length null: what the manifest says */
  private tensor(side: "inputs" | "outputs", part: NpuPart, name: string, length: number | null): Float32Array {
    const wanted = length ?? elementsOf(part[side].find((info) => info.name === name) ?? { shape: [] });
    const data = this.model[side].find((tensor) => tensor.name === name)?.data;
    if (data?.length === wanted) return data;
    const is = data === undefined ? "is missing" : `has ${data.length} values, not ${wanted}`;
    throw new TtsError("NPU_MODEL_INVALID", `the code predictor on the card: its ${name} ${is}`, "build it again from the graph beside it");
  }

  predict(count: number, hidden: Float32Array, codes: Int32Array, _draw: Draw, chances?: Chances): void {
    for (let row = 0; row < count; row++) {
      this.rows.enter(hidden, row, this.x, 0);
      this.rows.copyCode(0, codes[row * CODES_PER_FRAME], this.x, this.rows.width);
      this.prepareChoice(row, chances);
      this.model.run(0);
      for (let group = 0; group < GROUPS; group++) codes[row * CODES_PER_FRAME + 1 + group] = this.codeOf(group);
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
    this.assertPossible(settings, most);
    chances!.noise(row, this.noise);
    this.sharpness[0] = 1 / settings.temperature;
    this.limit[settings.topK === 0 || settings.topK >= this.size ? most : settings.topK - 1] = 1;
  }

  private assertPossible({ topK, topP }: SamplerSettings, most: number): void {
    const limited = topK > 0 && topK < this.size;
    if (topP === 1 && (!limited || topK <= most)) return;
    const what = topP < 1 ? `top-p ${topP}` : `top-k ${topK}, above ${most}`;
    throw new TtsError("MODEL_UNSUITABLE", `the code predictor on the card cannot draw with ${what}`, "use --predictor ort or llama");
  }

  /** What a card gives need not be a code. */
  private codeOf(group: number): number {
    const code = Math.round(this.drawn[group]);
    if (code >= 0 && code < this.size) return code;
    throw new TtsError("NPU_FAILED", `the card gave ${this.drawn[group]} as code ${group + 1} of a frame`, "try --predictor ort");
  }

  close(): void {
    this.model.close();
    this.rows.close();
  }
}
