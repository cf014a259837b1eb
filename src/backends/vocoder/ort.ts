// The stateful codec decoder on ONNX Runtime. Each lane has its state twice: a call reads one copy and writes
// the other.

import {
  loadOnnxRuntime,
  OrtSession,
  OrtTensor,
  PreparedRun,
  type TensorInfo,
} from "../../../ffi/onnxruntime.ts";
import { VOCODER_CHUNK_FRAMES, VOCODER_CHUNKS } from "../../config.ts";
import { areNaN } from "../../errors.ts";
import { bundlePath } from "../../formats/bundle.ts";
import { CODES_PER_FRAME, NEXT, SAMPLES_PER_FRAME, STATE } from "../../types.ts";
import type { Backend, OpenOptions, Vocoder, VocoderMemory } from "../stage.ts";

/** The vocoder runs beside generation, which needs the other cores. */
const THREADS = 1;
/**
 * These optimisations would let a product of few rows read its input transposed, which takes ONNX Runtime up
 * to five times as long.
 */
const SETTINGS = {
  "optimization.disable_specified_optimizers": "MatmulTransposeFusion;GemmTransposeFusion",
};
/** Largest axis of a state: only a damaged graph has a larger one. */
const LARGEST_STATE = 65_536;

export const vocoderOrt: Backend<Vocoder> = { name: "ort", open: (options) => new OrtVocoder(options) };

interface State {
  /** name without prefix -> the two copies, f32 */
  copies: [Record<string, OrtTensor>, Record<string, OrtTensor>];
  /** The buffers of the first copy, then those of the second. */
  data: Float32Array[];
  /** Frames decoded since the reset, i32 [1]. */
  position: Int32Array;
  positionTensor: OrtTensor;
  /** Which copy holds the present state. */
  current: 0 | 1;
  /** [frames][copy] -> run */
  prepared: Map<number, [PreparedRun, PreparedRun]>;
  /** Tensors over the buffers of codes and samples, which all lanes share. */
  chunkTensors: OrtTensor[];
}

class OrtVocoder implements Vocoder {
  readonly chunks = VOCODER_CHUNKS;
  private readonly session: OrtSession;
  private readonly lanes: State[];
  private codes = new Int32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * CODES_PER_FRAME));
  private samples = new Float32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME));

  constructor({ bundle, config, lanes }: OpenOptions) {
    loadOnnxRuntime(config.libraries.onnxruntime);
    this.session = OrtSession.open(bundlePath(bundle, "vocoder"), {
      threads: THREADS,
      plansMemory: false,
      settings: SETTINGS,
    });
    const shapes = this.checkGraph();
    this.lanes = Array.from({ length: lanes }, () => newState(shapes));
  }

  /** The parts of the state, after a check that the graph reads and writes each with the same shape. */
  private checkGraph(): TensorInfo[] {
    const { session } = this;
    try {
      session.expect("inputs", "codes", "i32", [-1, CODES_PER_FRAME]);
      session.expect("inputs", "position", "i32", [1]);
      session.expect("outputs", "samples", "f32", [-1]);
      const states = session.inputs.filter(({ name }) => name.startsWith(STATE));
      for (const { name, shape } of states) {
        const sizes = shape.map((size) => Math.min(Math.max(size, 0), LARGEST_STATE));
        session.expect("inputs", name, "f32", sizes);
        session.expect("outputs", NEXT + name.slice(STATE.length), "f32", sizes);
      }
      return states;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  reset(lane: number): void {
    const state = this.lanes[lane];
    for (const values of state.data) values.fill(0);
    state.position[0] = 0;
  }

  save(lane: number): VocoderMemory {
    const { position } = this.lanes[lane];
    return { frames: position[0], state: this.present(lane).map((values) => values.slice()) };
  }

  restore(lane: number, { frames, state }: VocoderMemory): void {
    this.present(lane).forEach((values, i) => {
      values.set(state[i]);
    });
    this.lanes[lane].position[0] = frames;
  }

  /** The copy of the state that the next call reads. */
  private present(lane: number): Float32Array[] {
    const { data, current } = this.lanes[lane];
    const half = data.length / 2;
    return data.slice(current * half, (current + 1) * half);
  }

  decode(lane: number, codes: Int32Array, frames: number, samples: Float32Array): void {
    if (frames === 0) return;
    this.reserve(frames);
    const state = this.lanes[lane];
    copy(this.codes, codes, frames * CODES_PER_FRAME);
    if (!state.prepared.has(frames))
      state.prepared.set(frames, [this.prepare(state, frames, 0), this.prepare(state, frames, 1)]);
    state.prepared.get(frames)![state.current].run();
    state.current = state.current === 0 ? 1 : 0;
    state.position[0] += frames;
    copy(samples, this.samples, frames * SAMPLES_PER_FRAME);
    if (Number.isNaN(sumOf(samples, frames * SAMPLES_PER_FRAME))) throw areNaN("the samples");
  }

  /** Grows the buffers when a caller decodes more than a chunk at once; tensors over the old ones go. */
  private reserve(frames: number): void {
    if (this.codes.length >= frames * CODES_PER_FRAME) return;
    this.codes = new Int32Array(new SharedArrayBuffer(4 * frames * CODES_PER_FRAME));
    this.samples = new Float32Array(new SharedArrayBuffer(4 * frames * SAMPLES_PER_FRAME));
    for (const state of this.lanes) {
      state.prepared.clear();
      for (const tensor of state.chunkTensors.splice(0)) tensor.close();
    }
  }

  private prepare(state: State, frames: number, from: 0 | 1): PreparedRun {
    const prefixed = (prefix: string, copy: Record<string, OrtTensor>) =>
      Object.entries(copy).map(([name, tensor]) => [prefix + name, tensor]);
    const codes = new OrtTensor(this.codes, [frames, CODES_PER_FRAME]);
    const samples = new OrtTensor(this.samples, [frames * SAMPLES_PER_FRAME]);
    state.chunkTensors.push(codes, samples);
    const inputs = {
      codes,
      position: state.positionTensor,
      ...Object.fromEntries(prefixed(STATE, state.copies[from])),
    };
    const outputs = {
      samples,
      ...Object.fromEntries(prefixed(NEXT, state.copies[from === 0 ? 1 : 0])),
    };
    return new PreparedRun(this.session, inputs, outputs);
  }

  close(): void {
    for (const { chunkTensors, copies, positionTensor } of this.lanes) {
      const states = copies.flatMap((tensors) => Object.values(tensors));
      for (const tensor of [...chunkTensors, ...states, positionTensor]) tensor.close();
    }
    this.session.close();
  }
}

function newState(parts: readonly TensorInfo[]): State {
  const data: Float32Array[] = [];
  const copy = () => {
    const tensors = parts.map(({ name, shape }) => {
      const values = new Float32Array(
        new SharedArrayBuffer(4 * shape.reduce((product, size) => product * size, 1)),
      );
      data.push(values);
      return [name.slice(STATE.length), new OrtTensor(values, shape)];
    });
    return Object.fromEntries(tensors) as Record<string, OrtTensor>;
  };
  const position = new Int32Array(new SharedArrayBuffer(4));
  const positionTensor = new OrtTensor(position, [1]);
  return {
    copies: [copy(), copy()],
    data,
    position,
    positionTensor,
    current: 0,
    prepared: new Map(),
    chunkTensors: [],
  };
}

function sumOf(values: Float32Array, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += values[i];
  return sum;
}

/** A loop instead of set(subarray()): nothing is allocated per chunk. */
function copy<T extends Int32Array | Float32Array>(target: T, source: T, count: number): void {
  for (let i = 0; i < count; i++) target[i] = source[i];
}
