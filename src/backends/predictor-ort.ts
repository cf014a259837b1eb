// The code predictor on ONNX Runtime: one run per step gives the logits of its group. Keys and values are
// appended in place, because the graph gets the same memory as past and as present; every step of a frame has
// its tensors prepared.

import {
  loadOnnxRuntime,
  OrtSession,
  OrtTensor,
  PreparedRun,
  type TensorData,
} from "../../ffi/onnxruntime.ts";
import { bundlePath } from "../formats/bundle.ts";
import { CODES_PER_FRAME } from "../types.ts";
import type { Backend, OpenOptions, Predictor } from "./stage.ts";
import { type PredictorLayers, StepwisePredictor } from "./stepwise.ts";

export const predictorOrt: Backend<Predictor> = {
  name: "ort",
  open: (options) => new StepwisePredictor(options.bundle, new OrtLayers(options), options.lanes),
};

class OrtLayers implements PredictorLayers {
  readonly input: Float32Array;
  readonly logits: Float32Array;
  private readonly session: OrtSession;
  private readonly width: number;
  private readonly layers: number;
  private readonly codes: number;
  /** Keys and values of each layer, f32 [lanes, kvHeads, 16, headDim]. */
  private readonly caches: { name: string; data: Float32Array; shape: number[] }[];
  /** count -> the run of each group */
  private readonly prepared = new Map<number, PreparedRun[]>();
  private readonly tensors: OrtTensor[] = [];

  constructor({ bundle, config, lanes }: OpenOptions) {
    loadOnnxRuntime(config.libraries.onnxruntime);
    this.session = OrtSession.open(bundlePath(bundle, "predictorOnnx"), { threads: config.threads });
    const { codes, predictorHidden, predictorLayers } = bundle.manifest.shape;
    [this.width, this.layers, this.codes] = [predictorHidden, predictorLayers, codes];
    const [kvHeads, headDim] = this.checkGraph();
    this.input = shared(2 * lanes * this.width);
    this.logits = shared(lanes * this.codes);
    this.caches = this.cacheNames().map((name) => {
      return {
        name,
        data: shared(lanes * kvHeads * CODES_PER_FRAME * headDim),
        shape: [kvHeads, CODES_PER_FRAME, headDim],
      };
    });
  }

  private cacheNames(): string[] {
    return Array.from({ length: this.layers }, (_, layer) => [`k.${layer}`, `v.${layer}`]).flat();
  }

  /** @returns [key heads, their width] */
  private checkGraph(): [number, number] {
    try {
      this.session.expect("inputs", "x", "f32", [-1, -1, this.width]);
      this.session.expect("inputs", "last", "i32", [-1]);
      this.session.expect("inputs", "positions", "i32", [1]);
      this.session.expect("inputs", "group", "i64", [1]);
      this.session.expect("outputs", "logits", "f32", [-1, this.codes]);
      const [, heads, , dim] = this.session.expect("inputs", "past.k.0", "f32", [
        -1,
        -1,
        CODES_PER_FRAME,
        -1,
      ]).shape;
      const sizes = [
        -1,
        Math.min(Math.max(heads, 1), 1_024),
        CODES_PER_FRAME,
        Math.min(Math.max(dim, 1), 1_024),
      ];
      for (const name of this.cacheNames()) {
        this.session.expect("inputs", `past.${name}`, "f32", sizes);
        this.session.expect("outputs", `present.${name}`, "f32", sizes);
      }
      return [heads, dim];
    } catch (error) {
      this.session.close();
      throw error;
    }
  }

  begin(count: number): void {
    if (!this.prepared.has(count)) this.prepared.set(count, this.prepare(count));
  }

  step(count: number, group: number): void {
    this.prepared.get(count)![group - 1].run();
  }

  private prepare(count: number): PreparedRun[] {
    return Array.from({ length: CODES_PER_FRAME - 1 }, (_, i) => this.prepareStep(count, i + 1));
  }

  private prepareStep(count: number, group: number): PreparedRun {
    const rows = group === 1 ? 2 : 1;
    const last = new Int32Array(new SharedArrayBuffer(4 * count)).fill(group);
    const inputs: Record<string, OrtTensor> = {
      x: this.tensor(this.input, [count, rows, this.width]),
      last: this.tensor(last, [count]),
      positions: this.tensor(Int32Array.of(group + 1), [1]),
      group: this.tensor(BigInt64Array.of(BigInt(group)), [1]),
    };
    const outputs: Record<string, OrtTensor> = { logits: this.tensor(this.logits, [count, this.codes]) };
    for (const { name, data, shape } of this.caches) {
      const tensor = this.tensor(data, [count, ...shape]);
      inputs[`past.${name}`] = tensor;
      outputs[`present.${name}`] = tensor;
    }
    return new PreparedRun(this.session, inputs, outputs);
  }

  private tensor(data: TensorData, shape: number[]): OrtTensor {
    const tensor = new OrtTensor(data, shape);
    this.tensors.push(tensor);
    return tensor;
  }

  close(): void {
    for (const tensor of this.tensors) tensor.close();
    this.session.close();
  }
}

const shared = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
