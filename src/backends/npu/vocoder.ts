// The codec decoder as a chain of graphs of fixed shapes: the NPU runs the parts that it can, ONNX Runtime
// the rest on the CPU (src/formats/npu-folder.ts says which). Every run has the same number of frames. A call
// with fewer frames fills up its run with any codes and does not keep the state. The next call runs these
// frames again, so any chunking gives the same samples; only incomplete runs cost extra.

import type { NpuModel, NpuTensor } from "../../../ffi/npu/model.ts";
import { TtsError } from "../../errors.ts";
import { type NpuFolder, type NpuPart, npuPartPath, readNpuSelfTest } from "../../formats/npu-folder.ts";
import { CODES_PER_FRAME, NEXT, SAMPLES_PER_FRAME } from "../../types.ts";
import type { Accelerator, OpenOptions, Vocoder, VocoderMemory } from "../stage.ts";
import { acceleratorOn, devicesFor, type NpuDevice } from "./_accelerator.ts";
import { openFolder, statesOf, unfit } from "./_folder.ts";
import { openOrtPart } from "./_ort-part.ts";

export const npuVocoder = (device: NpuDevice): Accelerator<Vocoder> =>
  acceleratorOn<Vocoder, NpuFolder>(device, openFolder, (folder, options) =>
    openChecked(new NpuVocoder(folder, options, device), device),
  );

/** One for each vendor in src/npu-vendors.ts. */
export const NPU_VOCODERS: readonly Accelerator<Vocoder>[] = devicesFor("vocoder").map(npuVocoder);

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

class NpuVocoder implements Vocoder {
  readonly chunks: readonly number[];
  readonly folder: NpuFolder;
  private readonly frames: number;
  private readonly parts: ChainedPart[] = [];
  private readonly samples: Float32Array;
  /** Inputs of the first part: i32 [frames, 16], i32 [1]. */
  private readonly codes: Int32Array;
  private readonly position = new Int32Array(new SharedArrayBuffer(4));
  private readonly lanes: { position: number; pending: Int32Array; count: number }[];

  constructor(folder: NpuFolder, options: OpenOptions, device: NpuDevice) {
    this.folder = folder;
    this.frames = folder.manifest.frames;
    this.chunks = [this.frames];
    this.codes = new Int32Array(new SharedArrayBuffer(4 * this.frames * CODES_PER_FRAME));
    this.lanes = Array.from({ length: options.lanes }, () => ({
      position: 0,
      pending: new Int32Array(this.codes.length),
      count: 0,
    }));
    try {
      const given = new Map<string, Float32Array>();
      for (const part of folder.manifest.vocoder) this.parts.push(this.chain(part, given, options, device));
      this.samples = given.get("samples")!; // the manifest was checked
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** @param given outputs of earlier parts by name; this part's outputs are added to it */
  private chain(
    part: NpuPart,
    given: Map<string, Float32Array>,
    { config, lanes }: OpenOptions,
    device: NpuDevice,
  ): ChainedPart {
    const path = npuPartPath(this.folder, part);
    const states = statesOf(part);
    const { cores, tensors } = this.folder.manifest;
    const several = cores !== null && cores > 1 ? cores : 0; // one idle core is what the library chooses
    const options = {
      path,
      lanes,
      states,
      tensors,
      cores: Array.from({ length: several }, (_, core) => core),
    };
    const integers = { codes: this.codes, position: this.position };
    const model =
      part.runs === "npu"
        ? device.openModel(options)
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

  reset(lane: number): void {
    for (const { model } of this.parts) model.reset(lane);
    const state = this.lanes[lane];
    [state.position, state.count] = [0, 0];
  }

  /** The state, then the frames that wait for the rest of their run. */
  save(lane: number): VocoderMemory {
    const { count, pending, position } = this.lanes[lane];
    const waiting = Float32Array.from(pending.subarray(0, count * CODES_PER_FRAME));
    return {
      frames: position + count,
      state: [...this.parts.flatMap(({ model }) => model.save(lane)), waiting],
    };
  }

  restore(lane: number, { frames, state }: VocoderMemory): void {
    let at = 0;
    for (const { model, states } of this.parts) {
      model.restore(lane, state.slice(at, at + states));
      at += states;
    }
    const waiting = state[at];
    const kept = this.lanes[lane];
    kept.pending.set(waiting);
    kept.count = waiting.length / CODES_PER_FRAME;
    kept.position = frames - kept.count;
  }

  decode(lane: number, codes: Int32Array, frames: number, samples: Float32Array): void {
    const state = this.lanes[lane];
    for (let done = 0; done < frames; ) {
      const count = Math.min(this.frames - state.count, frames - done);
      copyCodes(state.pending, state.count, codes, done, count);
      this.run(lane);
      copySamples(samples, done, this.samples, state.count, count);
      state.count += count;
      done += count;
      if (state.count < this.frames) continue;
      for (const { model } of this.parts) model.keep();
      state.position += this.frames;
      state.count = 0;
    }
  }

  /** Frames that are still to come may be any codes: nothing looks ahead. */
  private run(lane: number): void {
    const { pending, position } = this.lanes[lane];
    this.codes.set(pending);
    this.position[0] = position;
    for (const { links, model } of this.parts) {
      for (let i = 0; i < links.length; i++) links[i].to.set(links[i].from);
      model.run(lane);
    }
  }

  close(): void {
    for (const { model } of this.parts.splice(0)) model.close();
  }
}

function copyCodes(
  to: Int32Array,
  toFrame: number,
  from: Int32Array,
  fromFrame: number,
  frames: number,
): void {
  for (let i = 0; i < frames * CODES_PER_FRAME; i++)
    to[toFrame * CODES_PER_FRAME + i] = from[fromFrame * CODES_PER_FRAME + i];
}

function copySamples(
  to: Float32Array,
  toFrame: number,
  from: Float32Array,
  fromFrame: number,
  frames: number,
): void {
  for (let i = 0; i < frames * SAMPLES_PER_FRAME; i++)
    to[toFrame * SAMPLES_PER_FRAME + i] = from[fromFrame * SAMPLES_PER_FRAME + i];
}

function missing(path: string, name: string): never {
  throw unfit(path, `the manifest does not name its input ${name}`);
}

function outputOf(outputs: readonly NpuTensor[], name: string, path: string): Float32Array {
  const found = outputs.find((output) => output.name === name);
  if (found === undefined) throw unfit(path, `its output ${name} is missing`);
  return found.data;
}

/**
 * Decodes real codes and compares the sound first: wrong sound without an error is common on NPUs.
 * @throws TtsError NPU_MODEL_INVALID
 */
function openChecked(vocoder: NpuVocoder, { name }: NpuDevice): NpuVocoder {
  const { directory, manifest } = vocoder.folder;
  try {
    const { codes, samples } = readNpuSelfTest(vocoder.folder);
    const given = new Float32Array(samples.length);
    vocoder.reset(0);
    vocoder.decode(0, codes, codes.length / CODES_PER_FRAME, given);
    vocoder.reset(0);
    const decibels = signalToNoise(samples, given);
    if (decibels >= manifest.selfTest.leastSnrDb) return vocoder;
    const what = `the sound of ${name} is ${decibels.toFixed(1)} dB above its error; it must be at least ${manifest.selfTest.leastSnrDb} dB`;
    throw new TtsError(
      "NPU_MODEL_INVALID",
      what,
      `${directory} must be built with more precision, see its README.md`,
    );
  } catch (error) {
    vocoder.close();
    throw error;
  }
}

/** Signal to noise in decibels; samples that are not numbers count as no signal. */
function signalToNoise(expected: Float32Array, given: Float32Array): number {
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < expected.length; i++) {
    signal += expected[i] ** 2;
    noise += (expected[i] - given[i]) ** 2;
  }
  const decibels = 10 * Math.log10(signal / noise);
  return Number.isNaN(decibels) ? -Infinity : decibels;
}
