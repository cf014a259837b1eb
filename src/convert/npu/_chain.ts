// Graphs of fixed shapes on ONNX Runtime, one after the other, with their state: what an NPU folder's parts
// give when no NPU is there.

import { elementsOf } from "../../../ffi/npu/model.ts";
import { OrtSession, OrtTensor, PreparedRun, type TensorInfo } from "../../../ffi/onnxruntime.ts";
import type { NpuTensorInfo } from "../../formats/npu-folder.ts";
import { NEXT, STATE } from "../../types.ts";

interface Link {
  session: OrtSession;
  run: PreparedRun;
  /** What the part keeps: from where to where. */
  states: [next: Float32Array, state: Float32Array][];
}

/** Tensors of the same name are the same memory: so what a part gives is what a later one reads. */
export class PartChain {
  private readonly links: Link[] = [];
  private readonly tensors = new Map<string, { data: Float32Array | Int32Array; tensor: OrtTensor }>();

  /** @throws TtsError BUNDLE_INVALID when ONNX Runtime refuses a file */
  constructor(paths: readonly string[], threads: number) {
    try {
      for (const path of paths) this.links.push(this.open(path, threads));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private open(path: string, threads: number): Link {
    const session = OrtSession.open(path, { threads });
    const named = (infos: readonly TensorInfo[]) =>
      Object.fromEntries(infos.map((info) => [info.name, this.tensor(info)]));
    const run = new PreparedRun(session, named(session.inputs), named(session.outputs));
    const kept = session.inputs.filter(({ name }) => name.startsWith(STATE)).map(({ name }) => name);
    return {
      session,
      run,
      states: kept.map((name) => [this.floats(`${NEXT}${name.slice(STATE.length)}`), this.floats(name)]),
    };
  }

  private tensor(info: TensorInfo): OrtTensor {
    const known = this.tensors.get(info.name);
    if (known !== undefined) return known.tensor;
    const memory = new SharedArrayBuffer(4 * elementsOf(info.shape));
    const data = info.type === "i32" ? new Int32Array(memory) : new Float32Array(memory);
    const made = { data, tensor: new OrtTensor(data, info.shape) };
    this.tensors.set(info.name, made);
    return made.tensor;
  }

  /** The f32 tensor of a name, to be read or written. */
  floats(name: string): Float32Array {
    return this.tensors.get(name)!.data as Float32Array;
  }

  ints(name: string): Int32Array {
    return this.tensors.get(name)!.data as Int32Array;
  }

  /** Inputs or outputs of a part. */
  infos(part: number, side: "inputs" | "outputs"): NpuTensorInfo[] {
    return this.links[part].session[side].map(({ name, shape }) => ({ name, shape }));
  }

  /** Outputs of all parts. */
  get outputs(): string[] {
    return this.links.flatMap(({ session }) => session.outputs.map(({ name }) => name));
  }

  /** As at the start of a speech. */
  reset(): void {
    for (const { states } of this.links) for (const [, state] of states) state.fill(0);
  }

  /**
   * Runs every part and moves its state on. @param before is told which part is about to run, when its inputs
   * are complete
   */
  run(before: (part: number) => void = () => {}): void {
    this.links.forEach(({ run, states }, part) => {
      before(part);
      run.run();
      for (const [next, state] of states) state.set(next);
    });
  }

  close(): void {
    for (const { tensor } of this.tensors.values()) tensor.close();
    for (const { session } of this.links) session.close();
  }
}
