// AXERA's NPU on the chip itself: models of libax_engine.so over memory of libax_sys.so, every tensor bound
// once as f32. Pointers stay in this file. Not for a card in a host: that is ffi/npu/axcl.ts.

import { type Pointer, read, toArrayBuffer } from "bun:ffi";
import { dirname } from "node:path";
import { TtsError } from "../../src/errors.ts";
import { NPU_VENDORS } from "../../src/npu-vendors.ts";
import { openLibrary } from "../load/library.ts";
import { address, Pin } from "../load/memory.ts";
import { fieldAt, Struct } from "../load/struct.ts";
import {
  ENGINE_SYMBOLS,
  IO,
  IO_BUFFER,
  IO_INFO,
  IO_META,
  MEMORY_ALIGNMENT,
  NPU_ATTR,
  NPU_MODES,
  OPTIONAL_ENGINE_SYMBOLS,
  SYS_SYMBOLS,
  TENSOR_TYPES,
  TYPE_F32,
} from "./_ax-engine-abi.ts";
import { axError, axNpuFacts, deviceProblem } from "./_ax-engine-device.ts";
import { describeDevice, openSystemLibrary, refuseStandIn, type SystemLibrary, textAt } from "./_library.ts";
import { withModelFile } from "./_model-file.ts";
import { type BoundGraph, openHostModel } from "./lanes.ts";
import {
  elementsOf,
  type NpuDescription,
  type NpuLibrary,
  type NpuLibraryOptions,
  type NpuModel,
  type NpuModelOptions,
  type NpuTensor,
} from "./model.ts";

const ENGINE_PLACE: SystemLibrary = {
  title: "AXERA's NPU engine",
  file: "libax_engine.so",
  variable: NPU_VENDORS.axEngine.variable,
  folders: ["/soc/lib", "/opt/lib", "/usr/lib", "/usr/local/lib"],
  from: "the libraries of the board's BSP",
};
/** The engine's own folder is searched first. */
const sysPlace = (folder: string): SystemLibrary => {
  return {
    ...ENGINE_PLACE,
    title: "AXERA's system library",
    file: "libax_sys.so",
    folders: [folder, ...ENGINE_PLACE.folders],
  };
};

type Engine = ReturnType<typeof openSystemLibrary<typeof ENGINE_SYMBOLS>>["symbols"];
type Sys = ReturnType<typeof openSystemLibrary<typeof SYS_SYMBOLS>>["symbols"];
interface Runtime extends NpuLibrary {
  engine: Engine;
  sys: Sys;
  /** The version of the compiler that made a model, "" where the library cannot say. */
  toolsOf: (handle: Pointer) => string;
}
let runtime: Runtime | null = null;

/**
 * Opens both libraries once per thread. Needs no device.
 * @throws TtsError LIBRARY_MISSING, or LIBRARY_MISMATCH for other libraries or a stand-in that is not wanted
 */
export function loadAxEngine({ allowStandIn, override }: NpuLibraryOptions): NpuLibrary {
  if (runtime === null) {
    const { path, symbols: engine } = openSystemLibrary(ENGINE_PLACE, override, ENGINE_SYMBOLS);
    const version = textAt(engine.AX_ENGINE_GetVersion());
    refuseStandIn(ENGINE_PLACE, path, version, allowStandIn);
    const { symbols: sys } = openSystemLibrary(
      sysPlace(dirname(path)),
      override === "" ? "" : dirname(path),
      SYS_SYMBOLS,
    );
    runtime = { path, version, engine, sys, toolsOf: toolsVersion(path) };
  }
  return { path: runtime.path, version: runtime.version };
}

function toolsVersion(path: string): Runtime["toolsOf"] {
  try {
    const { symbols } = openLibrary(ENGINE_PLACE.title, path, OPTIONAL_ENGINE_SYMBOLS);
    return (handle) => textAt(symbols.AX_ENGINE_GetModelToolsVersion(handle));
  } catch {
    return () => ""; // this version lacks the function
  }
}

/**
 * What is known of the NPU here, for `tts doctor` and for backends that ask whether to try. Never throws.
 */
export function describeAxEngine(options: NpuLibraryOptions): NpuDescription {
  const facts = axNpuFacts();
  const { exists, path, usable } = facts.node;
  const devices = exists ? [`${path}: ${usable ? "readable and writable" : "no permission"}`] : [];
  return describeDevice({ driver: "", devices }, () => loadAxEngine(options), deviceProblem(facts));
}

/** Models of this thread that are open. */
let users = 0;
/**
 * Whether this thread initialised the engine, and so ends it; another thread of the process may have done so.
 */
let isOurs = false;
let mode = "";

/**
 * The first model initialises the engine for the process. An engine that is up already is used in the mode
 * that it has.
 */
function begin({ engine, sys, version }: Runtime): void {
  if (users === 0) {
    const attr = new Struct(NPU_ATTR);
    const modeOf = () => NPU_MODES[attr.get("eHardMode")] ?? `in mode ${attr.get("eHardMode")}`;
    const isUp = () => engine.AX_ENGINE_GetVNPUAttr(attr.bytes) === 0;
    const fail = (call: string, code: number) =>
      axError({ call, code, running: false, model: null, version, tools: "", mode: "" });
    const started = sys.AX_SYS_Init();
    if (started !== 0) throw fail("AX_SYS_Init", started);
    isOurs = false;
    if (!isUp()) {
      const code = engine.AX_ENGINE_Init(new Struct(NPU_ATTR).bytes);
      isOurs = code === 0;
      if (!isOurs && !isUp()) {
        sys.AX_SYS_Deinit();
        throw fail("AX_ENGINE_Init", code);
      }
    }
    mode = modeOf();
  }
  users++;
}

/**
 * The last model ends what the first one began. An engine of another thread stays up, and so does the system
 * library under it, because that library may not count its users.
 */
function end({ engine, sys }: Runtime): void {
  if (--users > 0 || !isOurs) return;
  engine.AX_ENGINE_Deinit();
  sys.AX_SYS_Deinit();
}

/**
 * Loads a model and binds its tensors.
 * @throws TtsError NPU_MODEL_INVALID, NPU_UNAVAILABLE, LIBRARY_FAILED
 */
export function openAxEngineModel(options: NpuModelOptions): NpuModel {
  const library = runtime;
  if (library === null) throw new TypeError("loadAxEngine() comes first");
  const graph = withModelFile(options.path, (model) => {
    begin(library);
    return new AxGraph(library, options.path, model);
  });
  return openHostModel(graph, options);
}

interface Block {
  physical: bigint;
  at: Pointer;
  bytes: number;
}

class AxGraph implements BoundGraph {
  readonly inputs: NpuTensor[] = [];
  readonly outputs: NpuTensor[] = [];
  private readonly pin = new Pin();
  private handle: Pointer | null = null;
  private readonly blocks = { input: [] as Block[], output: [] as Block[] };
  private readonly io = new Struct(IO);
  private readonly bytes: number;
  private tools = "";
  private running = false;

  /** begin() comes first. Closing the graph calls end(), and so does a failed opening. */
  constructor(
    private readonly library: Runtime,
    private readonly path: string,
    model: Uint8Array<ArrayBuffer>,
  ) {
    this.bytes = model.length;
    try {
      this.handle = this.create(model);
      this.tools = library.toolsOf(this.handle);
      this.check("AX_ENGINE_CreateContext", library.engine.AX_ENGINE_CreateContext(this.handle));
      this.bindAll(this.handle);
      this.running = true;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  execute(): void {
    const { engine, sys } = this.library;
    for (const { at, bytes, physical } of this.blocks.input)
      this.check("AX_SYS_MflushCache", sys.AX_SYS_MflushCache(physical, at, bytes));
    this.check("AX_ENGINE_RunSync", engine.AX_ENGINE_RunSync(this.handle, this.io.bytes));
    for (const { at, bytes, physical } of this.blocks.output) {
      this.check("AX_SYS_MinvalidateCache", sys.AX_SYS_MinvalidateCache(physical, at, bytes));
    }
  }

  close(): void {
    // detaches all views of the memory
    for (const tensor of [...this.inputs, ...this.outputs]) (tensor.data.buffer as ArrayBuffer).transfer();
    for (const { at, physical } of [...this.blocks.input, ...this.blocks.output])
      this.library.sys.AX_SYS_MemFree(physical, at);
    if (this.handle !== null) this.library.engine.AX_ENGINE_DestroyHandle(this.handle);
    end(this.library);
  }

  private create(model: Uint8Array<ArrayBuffer>): Pointer {
    const handle = new BigUint64Array(new ArrayBuffer(8));
    this.check(
      "AX_ENGINE_CreateHandle",
      this.library.engine.AX_ENGINE_CreateHandle(handle, model, model.length),
    );
    return Number(handle[0]) as Pointer;
  }

  private bindAll(handle: Pointer): void {
    const out = new BigUint64Array(new ArrayBuffer(8));
    this.check("AX_ENGINE_GetIOInfo", this.library.engine.AX_ENGINE_GetIOInfo(handle, out));
    const info = (name: keyof typeof IO_INFO.fields) => fieldAt(IO_INFO, Number(out[0]), name);
    const [inputs, outputs] = [info("nInputSize"), info("nOutputSize")];
    this.io.set("pInputs", this.bindSide("input", info("pInputs"), inputs)).set("nInputSize", inputs);
    this.io.set("pOutputs", this.bindSide("output", info("pOutputs"), outputs)).set("nOutputSize", outputs);
  }

  /** Gives the tensors of one side their memory. @returns the address of their AX_ENGINE_IO_BUFFER_T */
  private bindSide(side: "input" | "output", metas: number, count: number): number {
    const buffers = this.pin.bytes(IO_BUFFER.size * count);
    const tensors = side === "input" ? this.inputs : this.outputs;
    for (let index = 0; index < count; index++) {
      const { bytes, name, shape } = this.describe(side, metas + IO_META.size * index);
      const { at, physical } = this.allocate(side, name, bytes);
      const buffer = new Struct(IO_BUFFER)
        .set("phyAddr", Number(physical))
        .set("pVirAddr", at)
        .set("nSize", bytes);
      buffers.set(buffer.bytes, IO_BUFFER.size * index);
      tensors.push({ name, shape, data: new Float32Array(toArrayBuffer(at, 0, bytes)) });
      tensors[index].data.fill(0);
      // Outputs are flushed too: zeros left in the CPU's cache could later overwrite a result.
      this.check("AX_SYS_MflushCache", this.library.sys.AX_SYS_MflushCache(physical, at, bytes));
    }
    return address(buffers);
  }

  private allocate(side: "input" | "output", name: string, bytes: number): Block {
    const { sys } = this.library;
    const [physical, at] = [new BigUint64Array(new ArrayBuffer(8)), new BigUint64Array(new ArrayBuffer(8))];
    const code = sys.AX_SYS_MemAllocCached(physical, at, bytes, MEMORY_ALIGNMENT, MEMORY_NAME);
    this.check(`AX_SYS_MemAllocCached of ${bytes} bytes for ${side} ${name}`, code);
    const block = { physical: physical[0], at: Number(at[0]) as Pointer, bytes };
    this.blocks[side].push(block);
    return block;
  }

  /** @throws TtsError NPU_MODEL_INVALID */
  private describe(side: "input" | "output", meta: number): { name: string; shape: number[]; bytes: number } {
    const field = (name: keyof typeof IO_META.fields) => fieldAt(IO_META, meta, name);
    const dims = field("pShape") as Pointer;
    const name = textAt(field("pName"));
    const shape = Array.from({ length: field("nShapeSize") }, (_, axis) => read.i32(dims, 4 * axis));
    const [bytes, type] = [field("nSize"), field("eDataType")];
    const title = `${this.path}: its ${side} ${name} [${shape}]`;
    if (type !== TYPE_F32) {
      const hint = "build it again with f32 inputs and outputs";
      throw new TtsError("NPU_MODEL_INVALID", `${title} is ${TENSOR_TYPES[type] ?? `type ${type}`}`, hint);
    }
    if (bytes !== 4 * elementsOf(shape) || bytes === 0) {
      throw new TtsError(
        "NPU_MODEL_INVALID",
        `${title} has ${bytes} bytes`,
        "build it again with fixed shapes",
      );
    }
    return { name, shape, bytes };
  }

  private check(call: string, code: number): void {
    if (code === 0) return;
    const { bytes, library, path, running, tools } = this;
    throw axError({ call, code, running, model: { path, bytes }, version: library.version, tools, mode });
  }
}

/** The memory's name in the system's list. */
const MEMORY_NAME = Buffer.from("tts\0");
