// Runs graphs of fixed shapes in sequence on ONNX Runtime, with their state: what the parts of an NPU folder
// give without an NPU.

import { elementsOf } from "../../../ffi/npu/model.ts";
import { OrtSession, OrtTensor, PreparedRun, type TensorInfo } from "../../../ffi/onnxruntime.ts";
import type { NpuTensorInfo } from "../../formats/npu-folder.ts";
import { NEXT, STATE } from "../../types.ts";

interface Link {
  session: OrtSession;
  run: PreparedRun;
  /** The part's state: `next` is copied to `state` after each run. */
  states: [next: Float32Array, state: Float32Array][];
}

/** Tensors of the same name share memory, so a later part reads what an earlier one gives. */
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

  /** The f32 tensor of this name, to read or to write. */
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

  /** Zeros all state, as at the start of a speech. */
  reset(): void {
    for (const { states } of this.links) for (const [, state] of states) state.fill(0);
  }

  /**
   * Runs every part and moves its state on.
   * @param before is called with each part's number before it runs, when its inputs are complete
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
