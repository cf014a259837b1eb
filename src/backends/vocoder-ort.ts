// The stateful codec decoder on ONNX Runtime. Each lane has its state twice: a call reads one copy and writes the other.

import { loadOnnxRuntime, OrtSession, OrtTensor, PreparedRun } from "../../ffi/onnxruntime.ts";
import { bundlePath } from "../bundle.ts";
import { VOCODER_CHUNK_FRAMES } from "../config.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../types.ts";
import type { Backend, OpenOptions, Vocoder, VocoderMemory } from "./index.ts";

/** The vocoder runs beside generation: one thread leaves the other cores to it. */
const THREADS = 1;

export const vocoderOrt: Backend<Vocoder> = { name: "ort", probe: () => null, open: (options) => new OrtVocoder(options) };

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
}

class OrtVocoder implements Vocoder {
  private readonly session: OrtSession;
  private readonly lanes: State[];
  private codes = new Int32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * CODES_PER_FRAME));
  private samples = new Float32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME));

  constructor({ bundle, config, lanes }: OpenOptions) {
    loadOnnxRuntime(config.libraries.onnxruntime);
    this.session = OrtSession.open(bundlePath(bundle, "vocoder"), { threads: THREADS });
    this.lanes = Array.from({ length: lanes }, () => this.newState());
  }

  private newState(): State {
    const shapes = this.session.inputs.filter(({ name }) => name.startsWith("state."));
    const data: Float32Array[] = [];
    const copy = () => {
      const tensors = shapes.map(({ name, shape }) => {
        const values = new Float32Array(new SharedArrayBuffer(4 * shape.reduce((product, size) => product * size, 1)));
        data.push(values);
        return [name.slice("state.".length), new OrtTensor(values, shape)];
      });
      return Object.fromEntries(tensors) as Record<string, OrtTensor>;
    };
    const position = new Int32Array(new SharedArrayBuffer(4));
    return { copies: [copy(), copy()], data, position, positionTensor: new OrtTensor(position, [1]), current: 0, prepared: new Map() };
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
    if (!state.prepared.has(frames)) state.prepared.set(frames, [this.prepare(state, frames, 0), this.prepare(state, frames, 1)]);
    state.prepared.get(frames)![state.current].run();
    state.current = state.current === 0 ? 1 : 0;
    state.position[0] += frames;
    copy(samples, this.samples, frames * SAMPLES_PER_FRAME);
  }

  /** Only for callers who decode more than a chunk at once: buffers grow, and tensors over the old ones are made anew. */
  private reserve(frames: number): void {
    if (this.codes.length >= frames * CODES_PER_FRAME) return;
    this.codes = new Int32Array(new SharedArrayBuffer(4 * frames * CODES_PER_FRAME));
    this.samples = new Float32Array(new SharedArrayBuffer(4 * frames * SAMPLES_PER_FRAME));
    for (const state of this.lanes) state.prepared.clear();
  }

  private prepare(state: State, frames: number, from: 0 | 1): PreparedRun {
    const prefixed = (prefix: string, copy: Record<string, OrtTensor>) =>
      Object.entries(copy).map(([name, tensor]) => [`${prefix}.${name}`, tensor]);
    const inputs = {
      codes: new OrtTensor(this.codes, [frames, CODES_PER_FRAME]),
      position: state.positionTensor,
      ...Object.fromEntries(prefixed("state", state.copies[from])),
    };
    const outputs = {
      samples: new OrtTensor(this.samples, [frames * SAMPLES_PER_FRAME]),
      ...Object.fromEntries(prefixed("next", state.copies[from === 0 ? 1 : 0])),
    };
    return new PreparedRun(this.session, inputs, outputs);
  }

  close(): void {
    this.session.close();
  }
}

/** A loop instead of set(subarray()): nothing is allocated per chunk. */
function copy<T extends Int32Array | Float32Array>(target: T, source: T, count: number): void {
  for (let i = 0; i < count; i++) target[i] = source[i];
}
