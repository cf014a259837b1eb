// A model on an accelerator as a backend sees it, and what accelerators share whose memory this process can read: the state of lanes, and a
// look at the model file before the vendor's library sees it. Knows no vendor and calls no library.

import { TtsError } from "../../src/errors.ts";
import { type MappedFile, mapFile } from "../libc.ts";

/** An f32 tensor of a model on an accelerator, in memory of this process that is bound once. */
export interface NpuTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What a model keeps from run to run: an output becomes an input of the next run in the same lane. */
export type StatePair = readonly [input: string, output: string];

export interface NpuModelOptions {
  path: string;
  lanes: number;
  states: readonly StatePair[];
}

/** A fixed-shape f32 graph on an accelerator. Used by one thread. */
export interface NpuModel {
  /** Without those of the state. */
  readonly inputs: readonly NpuTensor[];
  readonly outputs: readonly NpuTensor[];
  /** Runs on the inputs and the lane's state; writes outputs, and the next state aside. @throws TtsError NPU_FAILED */
  run(lane: number): void;
  /** What the last run wrote aside becomes the state of that run's lane. A run that is not kept can be repeated with other inputs. */
  keep(): void;
  /** Zeroes a lane's state. */
  reset(lane: number): void;
  save(lane: number): Float32Array[];
  restore(lane: number, state: readonly Float32Array[]): void;
  /** The tensors are empty from then on. */
  close(): void;
}

export interface NpuLibraryOptions {
  /** The user's choice: the file or its folder, or "" for the usual places. */
  override: string;
  /** Whether a library may be used that only stands for the vendor's. */
  allowStandIn: boolean;
}

export interface NpuLibrary {
  path: string;
  /** What it says itself; "" where it does not say. */
  version: string;
}

/** What is known of an accelerator without using it. */
export interface NpuDescription {
  library: NpuLibrary | null;
  /** Version of the kernel driver; "" where it does not say. */
  driver: string;
  /** One line each: the node and who may use it. */
  devices: string[];
  /** Why it cannot be used, in one line; "" when nothing is known against it. */
  problem: string;
  hint: string;
}

/** A loaded graph whose tensors lie in memory of this process. */
export interface BoundGraph {
  readonly inputs: readonly NpuTensor[];
  readonly outputs: readonly NpuTensor[];
  /** @throws TtsError NPU_FAILED; the outputs mean nothing then */
  execute(): void;
  /** Frees everything; the tensors are empty from then on. */
  close(): void;
}

const NO_RUN = -1;

/** A bound graph with the state of its lanes. The state lies here between runs, so a device that fails or vanishes cannot spoil it. */
export class HostModel implements NpuModel {
  readonly inputs: readonly NpuTensor[];
  readonly outputs: readonly NpuTensor[];
  /** Bound tensors of each pair. */
  private readonly pairs: { current: Float32Array; next: Float32Array }[];
  /** [lane][pair] */
  private readonly states: Float32Array[][];
  /** The lane whose next state stands in the outputs. */
  private ran = NO_RUN;
  private closed = false;

  /**
   * Takes over the graph: it is closed with the model, or when the states do not fit it.
   * @throws TtsError NPU_MODEL_INVALID
   */
  constructor(
    private readonly graph: BoundGraph,
    { lanes, path, states }: NpuModelOptions,
  ) {
    try {
      const found = states.map((pair) => tensorsOf(graph, pair, path));
      const [given, taken] = [found.map(({ input }) => input), found.map(({ output }) => output)];
      this.inputs = graph.inputs.filter((tensor) => !given.includes(tensor));
      this.outputs = graph.outputs.filter((tensor) => !taken.includes(tensor));
      this.pairs = found.map(({ input, output }) => ({ current: input.data, next: output.data }));
      this.states = Array.from({ length: lanes }, () => this.pairs.map(({ current }) => new Float32Array(current.length)));
    } catch (error) {
      graph.close();
      throw error;
    }
  }

  run(lane: number): void {
    const state = this.stateOf(lane);
    this.ran = NO_RUN;
    for (let i = 0; i < state.length; i++) this.pairs[i].current.set(state[i]);
    this.graph.execute();
    this.ran = lane;
  }

  keep(): void {
    if (this.ran === NO_RUN) throw new TypeError("nothing to keep: no run since the last keep()");
    const state = this.stateOf(this.ran);
    for (let i = 0; i < state.length; i++) state[i].set(this.pairs[i].next);
    this.ran = NO_RUN;
  }

  reset(lane: number): void {
    for (const values of this.stateOf(lane)) values.fill(0);
  }

  save(lane: number): Float32Array[] {
    return this.stateOf(lane).map((values) => values.slice());
  }

  restore(lane: number, state: readonly Float32Array[]): void {
    const own = this.stateOf(lane);
    if (own.length !== state.length || own.some((values, i) => values.length !== state[i].length)) {
      throw new RangeError(`a state of [${state.map(({ length }) => length)}] values, not [${own.map(({ length }) => length)}]`);
    }
    for (let i = 0; i < own.length; i++) own[i].set(state[i]);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.graph.close();
  }

  private stateOf(lane: number): Float32Array[] {
    if (this.closed) throw new TypeError("the model is closed");
    const state = this.states[lane];
    if (state === undefined) throw new RangeError(`lane ${lane} of ${this.states.length}`);
    return state;
  }
}

function tensorsOf(graph: BoundGraph, [from, to]: StatePair, path: string): { input: NpuTensor; output: NpuTensor } {
  const [input, output] = [graph.inputs.find(({ name }) => name === from), graph.outputs.find(({ name }) => name === to)];
  if (input !== undefined && output !== undefined && input.data.length === output.data.length) return { input, output };
  const shape = (tensor: NpuTensor | undefined) => (tensor === undefined ? "is missing" : `is [${tensor.shape}]`);
  const what = `${path}: its state input ${from} ${shape(input)} and its next ${to} ${shape(output)}`;
  throw new TtsError("NPU_MODEL_INVALID", what, "build the model again from the graph of this version");
}

/** Elements of a tensor of this shape. */
export const elementsOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Vendors' functions take sizes of 32 bits. */
const LARGEST_MODEL = 2 ** 32 - 1;
const HEAD_BYTES = 64;

/**
 * Hands `use` the bytes of a model file, after a look at what such a file often is instead. They are gone when it returns.
 * @throws TtsError NPU_MODEL_INVALID saying what the file is and how to get the right one
 */
export function withModelFile<T>(path: string, use: (bytes: Uint8Array<ArrayBuffer>) => T): T {
  const file = openModelFile(path);
  try {
    const { bytes } = file;
    const [what, hint] = strangerIn(bytes);
    if (what !== "") throw new TtsError("NPU_MODEL_INVALID", `the model ${path} (${bytes.length} bytes) ${what}`, hint);
    return use(bytes);
  } finally {
    file.close();
  }
}

function openModelFile(path: string): MappedFile {
  try {
    return mapFile(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT")
      throw new TtsError("NPU_MODEL_INVALID", `the model ${path} does not exist`, "build it, or correct the folder", { cause });
    const hint = code === "EACCES" ? "make it readable for this user" : "give the path of the model file itself";
    throw new TtsError("NPU_MODEL_INVALID", `the model ${path} cannot be read: ${message}`, hint, { cause });
  }
}

/** What is wrong with a file whose beginning gives it away, and what to do; two empty texts otherwise. */
function strangerIn(bytes: Uint8Array): [what: string, hint: string] {
  if (bytes.length === 0) return ["is empty", "copy or build it again"];
  if (bytes.length > LARGEST_MODEL) return ["is larger than 4 GB", "split the graph: the vendor's library takes no more"];
  const head = bytes.subarray(0, HEAD_BYTES);
  if (!head.every(isTextByte)) return ["", ""];
  const text = Buffer.from(head).toString("latin1").replace(/\s+/g, " ").trim();
  if (text.startsWith("version https://git-lfs"))
    return ["is a Git LFS pointer, not the model itself", 'fetch the model with "git lfs pull"'];
  if (text.startsWith("<")) return ["is a web page", "download the file itself: the server sent a page in its place"];
  return [`is a text that begins "${text.slice(0, 32)}"`, "download or build the model again"];
}

const isTextByte = (byte: number) => (byte >= 32 && byte < 127) || (byte >= 9 && byte <= 13);
