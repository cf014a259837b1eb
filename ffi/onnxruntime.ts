// ONNX Runtime through its C table: sessions, tensors over memory that JavaScript owns, and runs prepared
// once. Pointers stay in this file.

import { CFunction, type Pointer, read } from "bun:ffi";
import { basename } from "node:path";
import { BUNDLE_HINT, TtsError } from "../src/errors.ts";
import { ORT_API_VERSION, ORT_SLOTS, ORT_TYPE, type OrtSlot, type OrtType } from "./_ort-slots.ts";
import { settleEnvironment } from "./load/environment.ts";
import { findLibrary, type LibraryPlace, openLibrary } from "./load/library.ts";
import { address, Pin } from "./load/memory.ts";
import { noted } from "./load/steps.ts";

const PLACE: LibraryPlace = {
  title: "ONNX Runtime",
  file: "libonnxruntime.so.1",
  otherNames: ["libonnxruntime.so"],
  variable: "TTS_LIBONNXRUNTIME",
  package: "onnxruntime-node",
  folder: `bin/napi-v6/linux/${process.arch === "arm64" ? "arm64" : "x64"}`,
};

const LOG_FATAL = 4;
const OPTIMIZE_ALL = 99;
const ENTRY = { OrtGetApiBase: { args: [], returns: "ptr" } } as const;

type Api = Record<OrtSlot, (...args: unknown[]) => unknown>;
interface Runtime {
  path: string;
  version: string;
  api: Api;
  env: bigint;
  allocator: bigint;
  memory: bigint;
}
let runtime: Runtime | null = null;

/**
 * Opens ONNX Runtime once per thread, telemetry off, and refuses a version without the functions used.
 * @param override TTS_LIBONNXRUNTIME: a file or folder, or "" for the package.
 */
export function loadOnnxRuntime(override = ""): { path: string; version: string } {
  runtime ??= noted("ONNX Runtime", () => openRuntime(override));
  return { path: runtime.path, version: runtime.version };
}

function openRuntime(override: string): Runtime {
  settleEnvironment();
  const path = findLibrary(PLACE, override);
  const base = openLibrary("ONNX Runtime", path, ENTRY).symbols.OrtGetApiBase() as Pointer;
  const version = String(CFunction({ ptr: read.ptr(base, 8) as Pointer, args: [], returns: "cstring" })());
  const minor = /^1\.(\d+)\./.exec(version);
  if (minor === null || Number(minor[1]) < ORT_API_VERSION) {
    throw new TtsError(
      "LIBRARY_MISMATCH",
      `${path} is ONNX Runtime ${version}`,
      `this program needs 1.${ORT_API_VERSION} or newer, below 2`,
    );
  }
  const table = CFunction({ ptr: read.ptr(base, 0) as Pointer, args: ["u32"], returns: "ptr" })(
    ORT_API_VERSION,
  ) as Pointer | null;
  if (table === null)
    throw new TtsError("LIBRARY_MISMATCH", `${path} has no function table of version ${ORT_API_VERSION}`);
  const api = bindTable(table);
  const out = new Pin().u64(1);
  const take = (slot: OrtSlot, ...args: unknown[]) => {
    check(api, slot, api[slot](...args, out));
    return out[0];
  };
  const env = take("CreateEnv", LOG_FATAL, Buffer.from("tts\0"));
  return {
    path,
    version,
    api,
    env,
    allocator: take("GetAllocatorWithDefaultOptions"),
    memory: take("CreateCpuMemoryInfo", 0, 0),
  };
}

function bindTable(table: Pointer): Api {
  const entries = Object.entries(ORT_SLOTS).map(([name, { slot, args, returns }]) => {
    return [name, CFunction({ ptr: read.ptr(table, 8 * slot) as Pointer, args: [...args], returns })];
  });
  return Object.fromEntries(entries) as Api;
}

function check(api: Api, slot: OrtSlot, result: unknown): void {
  if (result === null || result === 0) return;
  const message = String(api.GetErrorMessage(result)).replace(/\s+/g, " ").trim(); // one line
  api.ReleaseStatus(result);
  throw new TtsError("LIBRARY_FAILED", `ONNX Runtime ${slot}: ${message}`);
}

function ready(): Runtime {
  if (runtime === null) throw new TypeError("loadOnnxRuntime() comes first");
  return runtime;
}

/** One call that writes 8 bytes through its last argument. */
function take(slot: OrtSlot, ...args: unknown[]): bigint {
  const { api } = ready();
  const out = new Pin().u64(1);
  check(api, slot, api[slot](...args, out));
  return out[0];
}

function call(slot: OrtSlot, ...args: unknown[]): void {
  const { api } = ready();
  check(api, slot, api[slot](...args));
}

export interface SessionOptions {
  /** Threads that compute, the calling one included. */
  threads: number;
  /**
   * Whether the memory of a run is one block, planned for each size of input. Default: true. A large graph
   * that runs with several sizes needs less memory without: the block is taken besides the memory of the
   * first run of its size.
   */
  plansMemory?: boolean;
  /** Session settings by their ONNX Runtime keys. */
  settings?: Record<string, string>;
}

/** Name, element type and shape of one input or output; -1 is a dimension that may vary. */
export interface TensorInfo {
  name: string;
  type: OrtType;
  shape: number[];
}

/** A loaded graph. Usable from the thread that made it. */
export class OrtSession {
  readonly inputs: TensorInfo[];
  readonly outputs: TensorInfo[];

  private constructor(
    readonly title: string,
    readonly handle: bigint,
  ) {
    try {
      this.inputs = describe(
        handle,
        "SessionGetInputCount",
        "SessionGetInputName",
        "SessionGetInputTypeInfo",
      );
      this.outputs = describe(
        handle,
        "SessionGetOutputCount",
        "SessionGetOutputName",
        "SessionGetOutputTypeInfo",
      );
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** @throws TtsError BUNDLE_INVALID when ONNX Runtime refuses the file; its own words are the cause */
  static open(path: string, options: SessionOptions): OrtSession {
    const settings = sessionOptions(options);
    try {
      const name = Buffer.from(`${path}\0`);
      const create = () => take("CreateSession", ready().env, name, settings);
      return new OrtSession(path, noted(basename(path), create));
    } catch (cause) {
      const what = `${path} or its data cannot be loaded by ONNX Runtime`;
      throw new TtsError("BUNDLE_INVALID", what, BUNDLE_HINT, { cause });
    } finally {
      ready().api.ReleaseSessionOptions(settings);
    }
  }

  /** A graph in memory, without external data. */
  static fromBytes(title: string, model: Uint8Array, options: SessionOptions): OrtSession {
    const settings = sessionOptions(options);
    try {
      return new OrtSession(
        title,
        take("CreateSessionFromArray", ready().env, model, model.byteLength, settings),
      );
    } finally {
      ready().api.ReleaseSessionOptions(settings);
    }
  }

  /**
   * Compares an input or output with what the caller will hand over; -1 stands for any size.
   * @throws TtsError BUNDLE_INVALID
   */
  expect(side: "inputs" | "outputs", name: string, type: OrtType, shape: readonly number[]): TensorInfo {
    const found = this[side].find((info) => info.name === name);
    const fits = (info: TensorInfo) =>
      info.type === type &&
      info.shape.length === shape.length &&
      shape.every((size, axis) => size === -1 || size === info.shape[axis]);
    if (found !== undefined && fits(found)) return found;
    const is = found === undefined ? "is missing" : `is ${found.type} [${found.shape}]`;
    throw new TtsError(
      "BUNDLE_INVALID",
      `${this.title}: its ${name} ${is}, not ${type} [${shape}]`,
      BUNDLE_HINT,
    );
  }

  close(): void {
    ready().api.ReleaseSession(this.handle);
  }
}

function sessionOptions({ threads, plansMemory = true, settings = {} }: SessionOptions): bigint {
  const options = take("CreateSessionOptions");
  call("SetSessionLogSeverityLevel", options, LOG_FATAL);
  call("SetSessionGraphOptimizationLevel", options, OPTIMIZE_ALL);
  call("SetIntraOpNumThreads", options, threads);
  call("SetInterOpNumThreads", options, 1);
  if (!plansMemory) call("DisableMemPattern", options);
  for (const [key, value] of Object.entries({ "session.intra_op.allow_spinning": "0", ...settings })) {
    call("AddSessionConfigEntry", options, Buffer.from(`${key}\0`), Buffer.from(`${value}\0`));
  }
  return options;
}

function describe(session: bigint, countSlot: OrtSlot, nameSlot: OrtSlot, typeSlot: OrtSlot): TensorInfo[] {
  const { api, allocator } = ready();
  return Array.from({ length: Number(take(countSlot, session)) }, (_, index) => {
    const text = take(nameSlot, session, index, allocator);
    const name = cstringAt(text);
    call("AllocatorFree", allocator, text);
    const typeInfo = take(typeSlot, session, index);
    const info = take("CastTypeInfoToTensorInfo", typeInfo);
    const code = Number(take("GetTensorElementType", info)) & 0xffffffff;
    const shape = new Pin().keep(
      new BigInt64Array(new ArrayBuffer(8 * Math.max(1, Number(take("GetDimensionsCount", info))))),
    );
    const rank = Number(take("GetDimensionsCount", info));
    call("GetDimensions", info, shape, rank);
    api.ReleaseTypeInfo(typeInfo);
    const type = (Object.keys(ORT_TYPE) as OrtType[]).find((key) => ORT_TYPE[key] === code);
    if (type === undefined)
      throw new TtsError(
        "BUNDLE_INVALID",
        `the graph's tensor ${name} has the unsupported element type ${code}`,
      );
    return { name, type, shape: Array.from(shape.subarray(0, rank), Number) };
  });
}

function cstringAt(pointer: bigint): string {
  const bytes: number[] = [];
  for (let at = Number(pointer) as Pointer; bytes.length < 1024; at = (at + 1) as Pointer) {
    const byte = read.u8(at, 0);
    if (byte === 0) break;
    bytes.push(byte);
  }
  return Buffer.from(bytes).toString("utf8");
}

export type TensorData = Float32Array | Int32Array | BigInt64Array;

/**
 * A tensor over memory that JavaScript owns; ONNX Runtime reads and writes it in place. The view must lie in
 * an ArrayBuffer of its own or shared.
 */
export class OrtTensor {
  readonly handle: bigint;
  private readonly shape: BigInt64Array;

  constructor(
    readonly data: TensorData,
    shape: readonly number[],
  ) {
    const elements = shape.reduce((product, size) => product * size, 1);
    if (elements > data.length) throw new RangeError(`a tensor of ${elements} elements over ${data.length}`);
    this.shape = new BigInt64Array(new ArrayBuffer(8 * Math.max(1, shape.length)));
    shape.forEach((size, axis) => {
      this.shape[axis] = BigInt(size);
    });
    const type =
      data instanceof Float32Array ? ORT_TYPE.f32 : data instanceof Int32Array ? ORT_TYPE.i32 : ORT_TYPE.i64;
    const bytes = elements * data.BYTES_PER_ELEMENT;
    this.handle = take(
      "CreateTensorWithDataAsOrtValue",
      ready().memory,
      data,
      bytes,
      this.shape,
      shape.length,
      type,
    );
  }

  close(): void {
    ready().api.ReleaseValue(this.handle);
  }
}

/**
 * One combination of a session with its input and output tensors; {@link run} allocates nothing in
 * JavaScript.
 */
export class PreparedRun {
  private readonly pin = new Pin();
  private readonly args: [unknown, unknown, unknown, unknown, number, unknown, number, unknown];

  constructor(
    private readonly session: OrtSession,
    inputs: Record<string, OrtTensor>,
    outputs: Record<string, OrtTensor>,
  ) {
    this.pin.keep([inputs, outputs]);
    const names = (map: Record<string, OrtTensor>) =>
      this.words(Object.keys(map).map((name) => BigInt(this.pin.cstring(name))));
    const values = (map: Record<string, OrtTensor>) =>
      this.words(Object.values(map).map((tensor) => tensor.handle));
    const [nIn, nOut] = [Object.keys(inputs).length, Object.keys(outputs).length];
    const handle = Number(session.handle);
    this.args = [handle, null, names(inputs), values(inputs), nIn, names(outputs), nOut, values(outputs)];
  }

  private words(values: bigint[]): number {
    const words = this.pin.u64(values.length);
    words.set(values);
    return address(words);
  }

  run(): void {
    const { api } = ready();
    const a = this.args;
    const result = api.Run(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    if (result === null || result === 0) return;
    try {
      check(api, "Run", result);
    } catch (error) {
      throw new TtsError("LIBRARY_FAILED", `${this.session.title}: ${(error as Error).message}`);
    }
  }
}
