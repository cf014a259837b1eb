// The code predictor's layers on libllama: embeddings in, hidden states out, one KV sequence per lane.

import { LlamaContext, LlamaModel, loadLlama } from "../../ffi/llama.ts";
import { bundlePath } from "../bundle.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { checkTransformerGguf } from "./_gguf.ts";
import { type PredictorLayers, StepwisePredictor } from "./_stepwise.ts";
import type { Backend, OpenOptions, Predictor } from "./index.ts";

export const predictorLlama: Backend<Predictor> = {
  name: "llama",
  probe: () => null,
  open: (options) => new StepwisePredictor(options.bundle, new LlamaLayers(options)),
};

class LlamaLayers implements PredictorLayers {
  readonly input: Float32Array;
  readonly output: Float32Array;
  private readonly model: LlamaModel;
  private readonly context: LlamaContext;
  private readonly width: number;
  private position = 0;

  constructor({ bundle, config, lanes, stop, loadTurn }: OpenOptions) {
    loadLlama(config.libraries.llama, loadTurn);
    const { predictorHidden, predictorLayers } = bundle.manifest.shape;
    this.width = predictorHidden;
    const path = bundlePath(bundle, "predictorGguf");
    checkTransformerGguf(path, { layers: predictorLayers, width: predictorHidden, vocabulary: 1 });
    this.model = LlamaModel.open(path);
    const exact = bundle.manifest.weights === "f32";
    const batchRows = 2 * lanes;
    this.context = new LlamaContext(this.model, { lanes, positions: CODES_PER_FRAME, batchRows, threads: config.threads, exact, stop });
    this.input = new Float32Array(new SharedArrayBuffer(4 * batchRows * this.width));
    this.output = new Float32Array(new SharedArrayBuffer(4 * lanes * this.width));
  }

  begin(): void {
    this.context.clear();
    this.position = 0;
  }

  step(count: number, rows: 1 | 2): void {
    for (let row = 0; row < count * rows; row++) this.context.place(row, Math.floor(row / rows), this.position + (row % rows));
    if (!this.context.decode(this.input, count * rows)) return; // stopping: nobody looks at the result
    for (let lane = 0; lane < count; lane++) this.context.readHidden((lane + 1) * rows - 1, this.output, lane * this.width, this.width);
    this.position += rows;
  }

  close(): void {
    this.context.close();
    this.model.close();
  }
}
