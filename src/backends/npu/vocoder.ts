// The codec decoder as a chain of graphs of fixed shapes: the NPU runs the parts that it can, ONNX Runtime
// the rest on the CPU (src/formats/npu-folder.ts says which). Every run has the same number of frames. A call
// with fewer frames fills up its run with any codes and does not keep the state. The next call runs these
// frames again, so any chunking gives the same samples; only incomplete runs cost extra.

import { TtsError } from "../../errors.ts";
import { type NpuFolder, readNpuSelfTest } from "../../formats/npu-folder.ts";
import { RKNN_CHIPS } from "../../npu-vendors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../types.ts";
import type { Accelerator, OpenOptions, Vocoder, VocoderMemory } from "../stage.ts";
import { acceleratorOn, devicesFor, type NpuDevice } from "./_accelerator.ts";
import { Chain } from "./_chain.ts";
import { openFolder } from "./_folder.ts";

export const npuVocoder = (device: NpuDevice): Accelerator<Vocoder> =>
  acceleratorOn<Vocoder, NpuFolder>(device, openFolder, (folder, options) =>
    openChecked(new NpuVocoder(folder, options, device), device),
  );

/** One for each vendor in src/npu-vendors.ts. */
export const NPU_VOCODERS: readonly Accelerator<Vocoder>[] = devicesFor("vocoder").map(npuVocoder);

/** No lane has begun a run. */
const NONE = -1;

interface Lane {
  position: number;
  /** i32 [frames, 16]: the frames of the present run. */
  pending: Int32Array;
  count: number;
}

/** A chain, and the lane whose run on it has begun with so many frames. */
interface Track {
  chain: Chain;
  begun: number;
  frames: number;
}

class NpuVocoder implements Vocoder {
  readonly chunks: readonly number[];
  readonly folder: NpuFolder;
  readonly begin?: Vocoder["begin"];
  private readonly frames: number;
  private readonly lanes: Lane[];
  /** Lanes take them in turn. */
  private readonly tracks: Track[] = [];

  constructor(folder: NpuFolder, options: OpenOptions, device: NpuDevice) {
    this.folder = folder;
    this.frames = folder.manifest.frames;
    this.chunks = [this.frames];
    this.lanes = Array.from({ length: options.lanes }, () => ({
      position: 0,
      pending: new Int32Array(this.frames * CODES_PER_FRAME),
      count: 0,
    }));
    try {
      for (const cores of coresOf(folder, options)) {
        const chain = new Chain(folder, options, device, cores, this.tracks[0]?.chain ?? null);
        this.tracks.push({ chain, begun: NONE, frames: 0 });
      }
    } catch (error) {
      this.close();
      throw error;
    }
    if (this.width > 1) this.begin = this.beginBeside;
  }

  /** Chains that compute side by side. */
  get width(): number {
    return this.tracks.length;
  }

  private trackOf(lane: number): Track {
    return this.tracks[lane % this.tracks.length];
  }

  reset(lane: number): void {
    this.settle(lane).chain.reset(lane);
    const state = this.lanes[lane];
    [state.position, state.count] = [0, 0];
  }

  /** The state, then the frames that wait for the rest of their run. */
  save(lane: number): VocoderMemory {
    const { count, pending, position } = this.lanes[lane];
    const waiting = Float32Array.from(pending.subarray(0, count * CODES_PER_FRAME));
    return { frames: position + count, state: [...this.settle(lane).chain.save(lane), waiting] };
  }

  restore(lane: number, { frames, state }: VocoderMemory): void {
    const waiting = state[this.settle(lane).chain.restore(lane, state)];
    const kept = this.lanes[lane];
    kept.pending.set(waiting);
    kept.count = waiting.length / CODES_PER_FRAME;
    kept.position = frames - kept.count;
  }

  private beginBeside(lane: number, codes: Int32Array, frames: number): void {
    const track = this.trackOf(lane);
    if (track === this.tracks[0] || track.begun !== NONE) return;
    this.start(lane, codes, 0, frames);
  }

  decode(lane: number, codes: Int32Array, frames: number, samples: Float32Array): void {
    const state = this.lanes[lane];
    const track = this.trackOf(lane);
    if (track.begun !== lane || track.frames !== frames) this.settle(lane);
    for (let done = 0; done < frames; ) {
      const count = Math.min(this.frames - state.count, frames - done);
      if (track.begun === NONE) this.start(lane, codes, done, frames - done);
      track.begun = NONE;
      track.chain.finish(lane);
      copySamples(samples, done, track.chain.samples, state.count, count);
      state.count += count;
      done += count;
      if (state.count < this.frames) continue;
      track.chain.keep();
      state.position += this.frames;
      state.count = 0;
    }
  }

  /** Begins a lane's next run. Frames that are still to come may be any codes: nothing looks ahead. */
  private start(lane: number, codes: Int32Array, from: number, frames: number): void {
    const { count, pending, position } = this.lanes[lane];
    const track = this.trackOf(lane);
    copyCodes(pending, count, codes, from, Math.min(this.frames - count, frames));
    track.chain.codes.set(pending);
    track.chain.position[0] = position;
    track.chain.start(lane);
    track.begun = lane;
    track.frames = frames;
  }

  /** Throws away a run that has begun on the lane's chain: it changed nothing. */
  private settle(lane: number): Track {
    const track = this.trackOf(lane);
    const { begun, chain } = track;
    track.begun = NONE;
    if (begun !== NONE) chain.finish(begun);
    return track;
  }

  close(): void {
    for (const { chain } of this.tracks.splice(0).reverse()) chain.close(); // the first has the weights
  }
}

/**
 * The cores of each chain. A run on one core leaves the others to sentences that are spoken side by side. No
 * cores: the library chooses.
 */
function coresOf({ manifest: { chip, cores } }: NpuFolder, { config, lanes }: OpenOptions): number[][] {
  if (chip === null || cores === null || RKNN_CHIPS[chip].cores === 1) return [[]];
  if (cores > 1) return [Array.from({ length: cores }, (_, core) => core)];
  const chains = Math.min(config.lanes, lanes, RKNN_CHIPS[chip].cores);
  return chains === 1 ? [[]] : Array.from({ length: chains }, (_, core) => [core]);
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

/**
 * Decodes real codes and compares the sound first: wrong sound without an error is common on NPUs.
 * @throws TtsError NPU_MODEL_INVALID
 */
function openChecked(vocoder: NpuVocoder, { name }: NpuDevice): NpuVocoder {
  const { directory, manifest } = vocoder.folder;
  try {
    const { codes, samples } = readNpuSelfTest(vocoder.folder);
    const given = new Float32Array(samples.length);
    let decibels = Number.POSITIVE_INFINITY;
    for (let lane = 0; lane < vocoder.width; lane++) {
      vocoder.reset(lane);
      vocoder.decode(lane, codes, codes.length / CODES_PER_FRAME, given);
      vocoder.reset(lane);
      decibels = Math.min(decibels, signalToNoise(samples, given));
    }
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
