// Rockchip's NPU: models of librknnrt.so with every tensor bound once, as f32, which the runtime converts to
// what the model has, or as f16. Pointers stay in this file. A context belongs to the thread that made it.

import { type Pointer, toArrayBuffer } from "bun:ffi";
import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { TtsError } from "../../src/errors.ts";
import { NPU_VENDORS } from "../../src/npu-vendors.ts";
import { settleEnvironment } from "../load/environment.ts";
import { fieldAt, Struct } from "../load/struct.ts";
import { describeDevice, openSystemLibrary, refuseStandIn, type SystemLibrary } from "./_library.ts";
import { withModelFile } from "./_model-file.ts";
import {
  ARRAYS,
  FLAG_DISABLE_PROC_HIGH_PRIORITY,
  INPUT_OUTPUT_NUM,
  OLDEST_VERSION,
  QUERY,
  RKNN_SYMBOLS,
  SDK_VERSION,
  TENSOR_ATTR,
  TENSOR_MEM,
  TENSOR_TYPES,
  TYPE_F16,
  TYPE_F32,
} from "./_rknn-abi.ts";
import { deviceProblem, rknnError, rknpuFacts } from "./_rknn-device.ts";
import { RowCopies } from "./_row-copies.ts";
import { type BoundGraph, openHostModel } from "./lanes.ts";
import {
  elementsOf,
  type NpuDescription,
  type NpuLibrary,
  type NpuLibraryOptions,
  type NpuModel,
  type NpuModelOptions,
  type NpuTensor,
  type TensorType,
} from "./model.ts";

const PLACE: SystemLibrary = {
  title: "Rockchip's NPU runtime",
  file: "librknnrt.so",
  variable: NPU_VENDORS.rknn.variable,
  folders: ["/usr/lib", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"],
  from: "librknnrt.so of rknn-toolkit2 (rknpu2/runtime/Linux/librknn_api/aarch64) in /usr/lib",
};

type Calls = ReturnType<typeof openSystemLibrary<typeof RKNN_SYMBOLS>>["symbols"];
interface Runtime extends NpuLibrary {
  calls: Calls;
  allowStandIn: boolean;
}
let runtime: Runtime | null = null;

/**
 * Opens the library once per thread. Needs no device.
 * @throws TtsError LIBRARY_MISSING, or LIBRARY_MISMATCH for another library, one too old, or a stand-in that
 * is not wanted
 */
export function loadRknn({ allowStandIn, override }: NpuLibraryOptions): NpuLibrary {
  if (runtime === null) {
    settleEnvironment();
    const { path, symbols } = openSystemLibrary(PLACE, override, RKNN_SYMBOLS);
    const version = versionIn(path);
    checkVersion(path, version, allowStandIn);
    runtime = { path, version, calls: symbols, allowStandIn };
  }
  return { path: runtime.path, version: runtime.version };
}

const VERSION_TEXT = "librknnrt version: ";
const LONGEST_VERSION = 100;

/**
 * The version text inside the file, "" when the file or the text is not found: the library itself tells its
 * version only once a model is loaded.
 */
function versionIn(path: string): string {
  if (!isAbsolute(path)) return "";
  const file = readFileSync(path);
  const at = file.indexOf(VERSION_TEXT);
  if (at < 0) return "";
  const text = file.subarray(at + VERSION_TEXT.length).subarray(0, LONGEST_VERSION);
  return text.toString("latin1").split(/[\0\n]/)[0];
}

function checkVersion(path: string, version: string, allowStandIn: boolean): void {
  refuseStandIn(PLACE, path, version, allowStandIn);
  const [major, minor] = /(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number) ?? OLDEST_VERSION;
  if (major > OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor >= OLDEST_VERSION[1])) return;
  throw new TtsError(
    "LIBRARY_MISMATCH",
    `${path} is librknnrt ${version}`,
    `this program needs ${OLDEST_VERSION.join(".")} or newer`,
  );
}

/**
 * What is known of the NPU here, for `tts doctor` and for backends that ask whether to try. Never throws.
 */
export function describeRknn(options: NpuLibraryOptions): NpuDescription {
  const facts = rknpuFacts();
  const devices = facts.nodes.map(({ driver, path, usable }) => {
    return `${path}${driver === "" ? "" : ` (${driver})`}: ${usable ? "readable and writable" : "no permission"}`;
  });
  return describeDevice({ driver: facts.driver, devices }, () => loadRknn(options), deviceProblem(facts));
}

/**
 * Loads a model and binds its tensors. Inputs and outputs have at most 3 dimensions: the runtime would
 * reorder tensors with more.
 * @throws TtsError NPU_MODEL_INVALID, NPU_UNAVAILABLE, LIBRARY_FAILED
 */
export function openRknnModel(options: NpuModelOptions): NpuModel {
  if (runtime === null) throw new TypeError("loadRknn() comes first");
  const graph = new RknnGraph(runtime, options);
  const model = openHostModel(graph, options);
  graphs.set(model, graph);
  return model;
}

const graphs = new WeakMap<NpuModel, RknnGraph>();

/** What a thread needs that runs models of another one: see {@link NpuModelOptions.thread}. */
export function rknnCaller(options: NpuLibraryOptions): (context: bigint) => number {
  loadRknn(options);
  const { rknn_run } = runtime!.calls;
  return (context) => rknn_run(context, null);
}

type Attr = Struct<keyof typeof TENSOR_ATTR.fields>;

class RknnGraph implements BoundGraph {
  readonly inputs: NpuTensor[] = [];
  readonly outputs: NpuTensor[] = [];
  readonly begin?: () => void;
  readonly end?: () => void;
  private readonly path: string;
  private readonly tensors: TensorType;
  private readonly context: bigint;
  /** rknn_tensor_mem of each tensor. */
  private readonly memory: Pointer[] = [];
  private readonly bytes: number;
  /** Views of that memory. */
  private readonly bound: (Float32Array | Float16Array)[] = [];
  /** Between that memory and the tensors that do not lie in it themselves. */
  private readonly before = new RowCopies();
  private readonly after = new RowCopies();
  private api: string;
  private driver = "";
  private running = false;

  constructor(
    private readonly library: Runtime,
    { cores = [], path, tensors = "f32", thread, twin }: NpuModelOptions,
  ) {
    [this.path, this.tensors] = [path, tensors];
    if (thread !== undefined) {
      this.begin = () => {
        this.before.run();
        thread.begin(this.context);
      };
      this.end = () => this.finish(thread.end());
    }
    this.api = library.version;
    const first = twin && graphs.get(twin);
    [this.context, this.bytes] = first
      ? [this.duplicate(first), first.bytes]
      : withModelFile(path, (model) => this.init(model));
    try {
      this.readVersions();
      this.take(cores);
      this.bindAll();
      this.running = true;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  execute(): void {
    this.before.run();
    this.finish(this.library.calls.rknn_run(this.context, null));
  }

  private finish(code: number): void {
    if (code !== 0) this.check("rknn_run", code);
    this.after.run();
  }

  close(): void {
    // detaches all views of the memory, and empties the tensors that lie elsewhere
    const arrays = [
      ...this.bound,
      ...this.inputs.map(({ data }) => data),
      ...this.outputs.map(({ data }) => data),
    ];
    for (const { buffer } of arrays)
      if (!(buffer as ArrayBuffer).detached) (buffer as ArrayBuffer).transfer();
    for (const memory of this.memory) this.library.calls.rknn_destroy_mem(this.context, memory);
    this.library.calls.rknn_destroy(this.context); // last: the memory belongs to it
  }

  private init(model: Uint8Array<ArrayBuffer>): [context: bigint, bytes: number] {
    const context = new BigUint64Array(new ArrayBuffer(8));
    const code = this.library.calls.rknn_init(
      context,
      model,
      model.length,
      FLAG_DISABLE_PROC_HIGH_PRIORITY,
      null,
    );
    if (code !== 0) throw this.failure("rknn_init", code, model.length);
    return [context[0], model.length];
  }

  private duplicate({ bytes, context: given }: RknnGraph): bigint {
    const context = new BigUint64Array(new ArrayBuffer(8));
    const from = new BigUint64Array(new ArrayBuffer(8)).fill(given);
    const code = this.library.calls.rknn_dup_context(from, context);
    if (code !== 0) throw this.failure("rknn_dup_context", code, bytes);
    return context[0];
  }

  private readVersions(): void {
    const { bytes } = this.query("SDK_VERSION", QUERY.sdkVersion, new Struct(SDK_VERSION));
    this.api = textIn(bytes, ARRAYS.apiVersion);
    this.driver = textIn(bytes, ARRAYS.driverVersion);
    checkVersion(this.library.path, this.api, this.library.allowStandIn);
  }

  /** Keeps the context to some cores. Chips with one core refuse the call. */
  private take(cores: readonly number[]): void {
    if (cores.length === 0) return;
    const mask = cores.reduce((bits, core) => bits | (1 << core), 0);
    const code = this.library.calls.rknn_set_core_mask(this.context, mask);
    this.check(`rknn_set_core_mask of cores ${cores.join(", ")}`, code);
  }

  private bindAll(): void {
    const counts = this.query("IN_OUT_NUM", QUERY.inOutNum, new Struct(INPUT_OUTPUT_NUM));
    for (let index = 0; index < counts.get("nInput"); index++)
      this.inputs.push(this.bind("input", QUERY.inputAttr, index));
    for (let index = 0; index < counts.get("nOutput"); index++)
      this.outputs.push(this.bind("output", QUERY.outputAttr, index));
  }

  /** Gives one tensor memory that it keeps until close(). */
  private bind(side: "input" | "output", command: number, index: number): NpuTensor {
    const attr = this.query(
      `${side.toUpperCase()}_ATTR`,
      command,
      new Struct(TENSOR_ATTR).set("index", index),
    );
    const name = textIn(attr.bytes, ARRAYS.attrName);
    const [at, length] = ARRAYS.attrDims;
    const shape = Array.from(
      new Uint32Array(attr.bytes.buffer, at, length / 4).subarray(0, attr.get("nDims")),
    );
    this.checkTensor(`${side} ${name}`, attr, shape);
    const [elements, width] = [attr.get("nElems"), shape.at(-1)!];
    const rowLength = attr.get("wStride") || width;
    const bound = this.memoryFor(`${side} ${name}`, attr, shape, (elements / width) * rowLength);
    const isPlain = bound instanceof Float32Array && rowLength === width;
    const data = isPlain ? bound : new Float32Array(new ArrayBuffer(4 * elements));
    if (side === "input") bound.fill(0);
    if (!isPlain && side === "input") this.before.add(data, width, bound, rowLength);
    if (!isPlain && side === "output") this.after.add(bound, rowLength, data, width);
    return { name, shape, data };
  }

  /** Memory of `elements` values, or as many as the runtime wants, bound as what `attr` describes. */
  private memoryFor(
    title: string,
    attr: Attr,
    shape: number[],
    elements: number,
  ): Float32Array | Float16Array {
    const isOwn = this.tensors === "f16" && attr.get("type") === TYPE_F16;
    const wanted = (attr.get("sizeWithStride") * attr.get("nElems")) / attr.get("size");
    const bytes = Math.max(elements, wanted) * (isOwn ? Float16Array : Float32Array).BYTES_PER_ELEMENT;
    const memory = this.library.calls.rknn_create_mem(this.context, bytes) as Pointer | null;
    if (memory === null) throw this.failure(`rknn_create_mem of ${bytes} bytes for ${title}`, OUT_OF_MEMORY);
    this.memory.push(memory);
    const start = fieldAt(TENSOR_MEM, memory, "virtAddr") as Pointer;
    attr.set("type", isOwn ? TYPE_F16 : TYPE_F32).set("passThrough", 0);
    attr.set("size", bytes).set("sizeWithStride", bytes);
    this.check(
      `rknn_set_io_mem of ${title} [${shape}]`,
      this.library.calls.rknn_set_io_mem(this.context, memory, attr.bytes),
    );
    const buffer = toArrayBuffer(start, 0, bytes);
    const bound = new (isOwn ? Float16Array : Float32Array)(buffer, 0, elements);
    this.bound.push(bound);
    return bound;
  }

  /** @throws TtsError NPU_MODEL_INVALID */
  private checkTensor(title: string, attr: Attr, shape: number[]): void {
    const type = TENSOR_TYPES[attr.get("type")] ?? `type ${attr.get("type")}`;
    const [elements, rowLength] = [attr.get("nElems"), attr.get("wStride")];
    const faults: [is: boolean, what: string, hint: string][] = [
      [
        type !== "f32" && type !== "f16",
        `is ${type} [${shape}]`,
        "build it again with f32 inputs and outputs, not quantised",
      ],
      [
        shape.length > MOST_DIMS,
        `has ${shape.length} dimensions [${shape}]`,
        "the NPU would reorder them: give it 3 at most",
      ],
      [
        elements === 0 || attr.get("size") === 0 || elementsOf(shape) !== elements,
        `[${shape}] has ${elements} elements`,
        "build it again with fixed shapes",
      ],
      [
        rowLength !== 0 && rowLength < shape.at(-1)!,
        `[${shape}] has rows of ${rowLength}`,
        "build it again with fixed shapes",
      ],
    ];
    for (const [is, what, hint] of faults)
      if (is) throw new TtsError("NPU_MODEL_INVALID", `${this.path}: its ${title} ${what}`, hint);
  }

  private query<T extends Struct<string>>(title: string, command: number, answer: T): T {
    const code = this.library.calls.rknn_query(this.context, command, answer.bytes, answer.bytes.length);
    this.check(`rknn_query of ${title}`, code);
    return answer;
  }

  private check(call: string, code: number): void {
    if (code !== 0) throw this.failure(call, code);
  }

  private failure(call: string, code: number, bytes = this.bytes): TtsError {
    const { api, driver, path, running } = this;
    return rknnError({ call, code, running, model: { path, bytes }, api, driver });
  }
}

/** The runtime's code for no memory: rknn_create_mem returns null instead of it. */
const OUT_OF_MEMORY = -4;
const MOST_DIMS = 3;

function textIn(bytes: Uint8Array, [at, length]: readonly [number, number]): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return Buffer.from(field.subarray(0, end < 0 ? length : end)).toString("utf8");
}
