// A model on an accelerator as a backend sees it, and what every vendor's library must offer. Interfaces
// alone: knows no vendor and calls no library.

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
  /**
   * In what the tensors lie where the library reads them: f32, which it converts to what the model has, or
   * f16 where the model has that, which this program converts. Default: f32. Only Rockchip's has a choice.
   */
  tensors?: TensorType;
  /** Cores of the NPU that a run takes. None: the library chooses. Only Rockchip's has a choice. */
  cores?: readonly number[];
  /** An open model of the same file, whose weights it shares; close that one later. Rockchip's only. */
  twin?: NpuModel;
  /** Runs the model. Default: the thread that opened it does. Only Rockchip's has a choice. */
  thread?: RunThread;
}

/** A thread that makes a library's blocking call for a model, while the model's own thread goes on. */
export interface RunThread {
  /** One call at a time. */
  begin(context: bigint): void;
  /** Waits for the end of the call. @returns the library's code */
  end(): number;
}

export const TENSOR_CHOICES = ["f32", "f16"] as const;
export type TensorType = (typeof TENSOR_CHOICES)[number];

/** A fixed-shape f32 graph on an accelerator. Used by one thread. */
export interface NpuModel {
  /** Inputs and outputs do not include the state's tensors. */
  readonly inputs: readonly NpuTensor[];
  readonly outputs: readonly NpuTensor[];
  /**
   * Runs on the inputs and the lane's state. Writes the outputs, and the new state for {@link keep}.
   * @throws TtsError NPU_FAILED
   */
  run(lane: number): void;
  /** The first part of run(): returns at once where a {@link RunThread} computes. */
  start(lane: number): void;
  /** The second part, which waits. @throws TtsError NPU_FAILED */
  finish(): void;
  /**
   * Makes the last run's new state the state of its lane. A run that is not kept can be repeated with other
   * inputs.
   */
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
  /** Whether a stand-in for the vendor's library may be used. */
  allowStandIn: boolean;
}

export interface NpuLibrary {
  path: string;
  /** Version that the library states; "" where it states none. */
  version: string;
}

/** What is known of an accelerator without using it. */
export interface NpuDescription {
  library: NpuLibrary | null;
  /** Version of the kernel driver; "" where it states none. */
  driver: string;
  /** One line each: the node and who may use it. */
  devices: string[];
  /** Why it cannot be used, in one line; "" when no reason is known. */
  problem: string;
  hint: string;
}

/** A vendor's library. */
export interface NpuRuntime {
  /** Opens it, once per thread. Needs no device. @throws TtsError LIBRARY_MISSING, LIBRARY_MISMATCH */
  load(options: NpuLibraryOptions): NpuLibrary;
  /** What is known of its devices here, for people. Never throws. */
  describe(options: NpuLibraryOptions): NpuDescription;
  /** After {@link load}. @throws TtsError NPU_MODEL_INVALID, NPU_UNAVAILABLE, LIBRARY_FAILED */
  openModel(options: NpuModelOptions): NpuModel;
  /** The blocking call alone, for a {@link RunThread}: context -> code. Opens the library as load() does. */
  caller?(options: NpuLibraryOptions): (context: bigint) => number;
}

/** Elements of a tensor of this shape. */
export const elementsOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
