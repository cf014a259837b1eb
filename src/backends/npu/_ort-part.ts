// A part of an NPU's chain that stays with the CPU: a graph of fixed shapes on ONNX Runtime, with the state
// of its lanes.

import { type BoundGraph, openHostModel } from "../../../ffi/npu/lanes.ts";
import { elementsOf, type NpuModel, type NpuModelOptions, type NpuTensor } from "../../../ffi/npu/model.ts";
import { loadOnnxRuntime, OrtSession, OrtTensor, PreparedRun } from "../../../ffi/onnxruntime.ts";
import type { NpuPart, NpuTensorInfo } from "../../formats/npu-folder.ts";

/** The part runs beside generation, which needs the other cores. */
const THREADS = 1;

/** @param integers the inputs that are i32, by name, in shared memory */
export function openOrtPart(
  part: NpuPart,
  options: NpuModelOptions,
  integers: Record<string, Int32Array>,
  library: string,
): NpuModel {
  loadOnnxRuntime(library);
  return openHostModel(new OrtPart(part, options.path, integers), options);
}

class OrtPart implements BoundGraph {
  readonly inputs: NpuTensor[];
  readonly outputs: NpuTensor[];
  private readonly session: OrtSession;
  private readonly tensors: OrtTensor[] = [];
  private readonly prepared: PreparedRun;

  constructor(part: NpuPart, path: string, integers: Record<string, Int32Array>) {
    this.session = OrtSession.open(path, { threads: THREADS });
    try {
      const isInteger = ({ name }: NpuTensorInfo) => Object.hasOwn(integers, name);
      for (const info of part.inputs)
        this.session.expect("inputs", info.name, isInteger(info) ? "i32" : "f32", info.shape);
      for (const { name, shape } of part.outputs) this.session.expect("outputs", name, "f32", shape);
      this.inputs = part.inputs.filter((info) => !isInteger(info)).map(withMemory);
      this.outputs = part.outputs.map(withMemory);
      const bind = (data: Float32Array | Int32Array, { name, shape }: NpuTensorInfo) => {
        const tensor = new OrtTensor(data, shape);
        this.tensors.push(tensor);
        return [name, tensor] as const;
      };
      const given = part.inputs.map((info) =>
        bind(integers[info.name] ?? this.inputs.find(({ name }) => name === info.name)!.data, info),
      );
      const made = part.outputs.map((info, i) => bind(this.outputs[i].data, info));
      this.prepared = new PreparedRun(this.session, Object.fromEntries(given), Object.fromEntries(made));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  execute(): void {
    this.prepared.run();
  }

  close(): void {
    for (const tensor of this.tensors.splice(0)) tensor.close();
    this.session.close();
  }
}

const withMemory = ({ name, shape }: NpuTensorInfo): NpuTensor => ({
  name,
  shape,
  data: new Float32Array(new SharedArrayBuffer(4 * elementsOf(shape))),
});
