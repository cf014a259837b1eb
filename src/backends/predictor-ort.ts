// The code predictor's layers on ONNX Runtime. The KV cache is [position, lane, head, dim], so a step's new rows are written by the graph
// straight behind the old ones; every step of a frame has its tensors prepared.

import { loadOnnxRuntime, OrtSession, OrtTensor, PreparedRun, type TensorData } from "../../ffi/onnxruntime.ts";
import { bundlePath } from "../bundle.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { type PredictorLayers, StepwisePredictor } from "./_stepwise.ts";
import type { Backend, OpenOptions, Predictor } from "./index.ts";

export const predictorOrt: Backend<Predictor> = {
  name: "ort",
  probe: () => null,
  open: (options) => new StepwisePredictor(options.bundle, new OrtLayers(options)),
};

class OrtLayers implements PredictorLayers {
  readonly input: Float32Array;
  readonly output: Float32Array;
  private readonly session: OrtSession;
  private readonly width: number;
  private readonly layers: number;
  private readonly kvHeads: number;
  private readonly headDim: number;
  /** Keys and values of each layer, f32 [16, lanes, kvHeads, headDim]. */
  private readonly caches: { name: string; data: Float32Array }[];
  /** [count][position] -> run */
  private readonly prepared = new Map<number, PreparedRun[]>();
  private readonly tensors: OrtTensor[] = [];
  private position = 0;

  constructor({ bundle, config, lanes }: OpenOptions) {
    loadOnnxRuntime(config.libraries.onnxruntime);
    this.session = OrtSession.open(bundlePath(bundle, "predictorOnnx"), { threads: config.threads });
    this.width = bundle.manifest.shape.predictorHidden;
    this.layers = bundle.manifest.shape.predictorLayers;
    [this.kvHeads, this.headDim] = this.checkGraph();
    const cacheLength = CODES_PER_FRAME * lanes * this.kvHeads * this.headDim;
    this.input = shared(2 * lanes * this.width);
    this.output = shared(lanes * this.width);
    this.caches = ["k", "v"].flatMap((part) => {
      return Array.from({ length: this.layers }, (_, layer) => ({ name: `${part}.${layer}`, data: shared(cacheLength) }));
    });
  }

  /** @returns [key heads, their width] */
  private checkGraph(): [number, number] {
    try {
      this.session.expect("inputs", "x", "f32", [-1, -1, this.width]);
      this.session.expect("inputs", "positions", "i64", [-1]);
      this.session.expect("outputs", "hidden", "f32", [-1, this.width]);
      const [, , heads, dim] = this.session.expect("inputs", "past.k.0", "f32", [-1, -1, -1, -1]).shape;
      const sizes = [-1, -1, Math.min(Math.max(heads, 1), 1_024), Math.min(Math.max(dim, 1), 1_024)];
      for (const name of ["k", "v"].flatMap((part) => Array.from({ length: this.layers }, (_, layer) => `${part}.${layer}`))) {
        this.session.expect("inputs", `past.${name}`, "f32", sizes);
        this.session.expect("outputs", `new.${name}`, "f32", sizes);
      }
      return [heads, dim];
    } catch (error) {
      this.session.close();
      throw error;
    }
  }

  begin(count: number): void {
    if (!this.prepared.has(count)) this.prepared.set(count, this.prepare(count));
    this.position = 0;
  }

  step(count: number, rows: 1 | 2): void {
    this.prepared.get(count)![this.position].run();
    this.position += rows;
  }

  /** A frame starts with two rows at position 0 and goes on with single ones. */
  private prepare(count: number): PreparedRun[] {
    return Array.from({ length: CODES_PER_FRAME }, (_, position) => this.prepareStep(count, position, position === 0 ? 2 : 1));
  }

  private prepareStep(count: number, position: number, rows: number): PreparedRun {
    const row = count * this.kvHeads * this.headDim;
    const positions = new BigInt64Array(new ArrayBuffer(8 * rows));
    for (let i = 0; i < rows; i++) positions[i] = BigInt(position + i);
    const inputs: Record<string, OrtTensor> = {
      x: this.tensor(this.input, [count, rows, this.width]),
      positions: this.tensor(positions, [rows]),
    };
    const outputs: Record<string, OrtTensor> = { hidden: this.tensor(this.output, [count, this.width]) };
    for (const { name, data } of this.caches) {
      inputs[`past.${name}`] = this.tensor(data, [position, count, this.kvHeads, this.headDim]);
      outputs[`new.${name}`] = this.tensor(data.subarray(position * row), [rows, count, this.kvHeads, this.headDim]);
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
