// The vocoder's graphs of a folder, opened once: parts on the CPU before and after the part on the NPU.
// Several lanes share a chain, one run at a time. Knows nothing of frames that wait for a whole run.

import type { NpuModel, NpuModelOptions, NpuTensor } from "../../../ffi/npu/model.ts";
import { type NpuFolder, type NpuPart, npuPartPath } from "../../formats/npu-folder.ts";
import { CODES_PER_FRAME, NEXT } from "../../types.ts";
import type { OpenOptions } from "../stage.ts";
import type { NpuDevice } from "./_accelerator.ts";
import { statesOf, unfit } from "./_folder.ts";
import { openOrtPart } from "./_ort-part.ts";
import { Runner } from "./runner.ts";

/** Copies an output of one part to the input of a later one. */
interface Link {
  from: Float32Array;
  to: Float32Array;
}
interface ChainedPart {
  model: NpuModel;
  links: Link[];
  /** Number of states that the model keeps for each lane. */
  states: number;
}

export class Chain {
  /** f32 [frames * 1920], of the last run. */
  readonly samples: Float32Array;
  /** Inputs of the first part: i32 [frames, 16], i32 [1]. */
  readonly codes: Int32Array;
  readonly position = new Int32Array(new SharedArrayBuffer(4));
  private readonly parts: ChainedPart[] = [];
  /** Parts up to this one run in start(), the others in finish(). */
  private readonly last: number;
  private readonly runner: Runner | null;

  /**
   * @param cores of the NPU that a run takes; none leaves it to the library
   * @param first another chain of the folder, which shares its weights and is closed later. The NPU's part
   * runs on a thread of its own then, so that start() does not wait
   */
  constructor(
    private readonly folder: NpuFolder,
    options: OpenOptions,
    device: NpuDevice,
    cores: readonly number[],
    private readonly first: Chain | null,
  ) {
    const { frames, vocoder } = folder.manifest;
    this.codes = new Int32Array(new SharedArrayBuffer(4 * frames * CODES_PER_FRAME));
    this.last = vocoder.findIndex(({ runs }) => runs === "npu");
    this.runner = first === null ? null : new Runner(device.vendor, options.config);
    try {
      const given = new Map<string, Float32Array>();
      for (const part of vocoder) this.parts.push(this.open(part, given, options, device, cores));
      this.samples = given.get("samples")!; // the manifest was checked
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** @param given outputs of earlier parts by name; this part's outputs are added to it */
  private open(
    part: NpuPart,
    given: Map<string, Float32Array>,
    { config, lanes }: OpenOptions,
    device: NpuDevice,
    cores: readonly number[],
  ): ChainedPart {
    const path = npuPartPath(this.folder, part);
    const states = statesOf(part);
    const options: NpuModelOptions = { path, lanes, states };
    const { tensors } = this.folder.manifest;
    const integers = { codes: this.codes, position: this.position };
    const model =
      part.runs === "npu"
        ? device.openModel({
            ...{ ...options, tensors, cores },
            thread: this.runner ?? undefined,
            twin: this.first?.parts[this.last].model,
          })
        : openOrtPart(part, options, integers, config.libraries.onnxruntime);
    try {
      const links = model.inputs.map(({ data: to, name }) => ({
        from: given.get(name) ?? missing(path, name),
        to,
      }));
      const odd = links.find(({ from, to }) => from.length !== to.length);
      if (odd !== undefined)
        throw unfit(path, `an input has ${odd.to.length} values and is given ${odd.from.length}`);
      for (const { name } of part.outputs)
        if (!name.startsWith(NEXT)) given.set(name, outputOf(model.outputs, name, path));
      return { model, links, states: states.length };
    } catch (error) {
      model.close();
      throw error;
    }
  }

  /** Runs on {@link codes} and {@link position}, up to the NPU's part, which has only begun. */
  start(lane: number): void {
    for (let at = 0; at <= this.last; at++) {
      const { links, model } = this.parts[at];
      for (let i = 0; i < links.length; i++) links[i].to.set(links[i].from);
      if (at < this.last) model.run(lane);
      else model.start(lane);
    }
  }

  /** The rest of the run that start() began; gives {@link samples}. */
  finish(lane: number): void {
    this.parts[this.last].model.finish();
    for (let at = this.last + 1; at < this.parts.length; at++) {
      const { links, model } = this.parts[at];
      for (let i = 0; i < links.length; i++) links[i].to.set(links[i].from);
      model.run(lane);
    }
  }

  /** Makes the last run's new state the state of its lane. */
  keep(): void {
    for (let at = 0; at < this.parts.length; at++) this.parts[at].model.keep();
  }

  reset(lane: number): void {
    for (const { model } of this.parts) model.reset(lane);
  }

  save(lane: number): Float32Array[] {
    return this.parts.flatMap(({ model }) => model.save(lane));
  }

  /** Takes what save() gave; anything behind it is not its own. @returns how many states it took */
  restore(lane: number, state: readonly Float32Array[]): number {
    let at = 0;
    for (const { model, states } of this.parts) {
      model.restore(lane, state.slice(at, at + states));
      at += states;
    }
    return at;
  }

  close(): void {
    for (const { model } of this.parts.splice(0)) model.close();
    this.runner?.close();
  }
}

function missing(path: string, name: string): never {
  throw unfit(path, `the manifest does not name its input ${name}`);
}

function outputOf(outputs: readonly NpuTensor[], name: string, path: string): Float32Array {
  const found = outputs.find((output) => output.name === name);
  if (found === undefined) throw unfit(path, `its output ${name} is missing`);
  return found.data;
}
