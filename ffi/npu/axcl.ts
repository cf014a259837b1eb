// AXERA's NPU on a card in this host (AX650N on M.2 or PCIe) through libaxcl_rt.so: fixed-shape f32 models whose state stays on the card.
// Card addresses are numbers that only the library understands; they stay in this file. Not for a program on the chip's own Linux: that is
// ffi/npu/ax-engine.ts.

import { TtsError } from "../../src/errors.ts";
import { address } from "../load/memory.ts";
import { Struct } from "../load/struct.ts";
import { ARRAYS, AXCL_SYMBOLS, CARD_TO_HOST, GROUP, HOST_TO_CARD, IO_DIMS, MALLOC_POLICY, TENSOR_TYPES, TYPE_F32 } from "./_axcl-abi.ts";
import { type Attempt, type AxclRuntime, Card, type CardProperties, withAxcl } from "./_axcl-card.ts";
import { axclFacts, describeFacts } from "./_axcl-device.ts";
import { openSystemLibrary, refuseStandIn, type SystemLibrary, textAt } from "./_library.ts";
import {
  elementsOf,
  type NpuDescription,
  type NpuLibrary,
  type NpuLibraryOptions,
  type NpuModel,
  type NpuModelOptions,
  type NpuTensor,
  withModelFile,
} from "./model.ts";

const PLACE: SystemLibrary = {
  title: "AXCL, the runtime of AXERA's cards",
  file: "libaxcl_rt.so",
  variable: "TTS_LIBAXCL",
  folders: ["/usr/lib/axcl"],
  from: "the axclhost package that belongs to the card's software",
};

let runtime: AxclRuntime | null = null;

/**
 * Opens the library once per thread. Needs no card.
 * @param root of the file system: where PCI, the driver's node and the runtime's log are looked for; another one is for tests
 * @throws TtsError LIBRARY_MISSING, or LIBRARY_MISMATCH for another library or a stand-in that is not wanted
 */
export function loadAxcl({ allowStandIn, override }: NpuLibraryOptions, root = "/"): NpuLibrary {
  if (runtime === null) {
    const { path, symbols: calls } = openSystemLibrary(PLACE, override, AXCL_SYMBOLS);
    const version = textAt(calls.axclrtGetFullVersion());
    refuseStandIn(PLACE, path, version, allowStandIn);
    runtime = { path, version, calls, root };
  }
  runtime.root = root;
  return { path: runtime.path, version: runtime.version };
}

function loaded(): AxclRuntime {
  if (runtime === null) throw new TypeError("loadAxcl() comes first");
  return runtime;
}

export interface AxclDescription extends NpuDescription {
  /** One line each: it works, but may stop working. */
  warnings: string[];
}

/** What is known of the cards here, for people: `tts doctor`, and backends that ask whether to try. Never throws. */
export function describeAxcl(options: NpuLibraryOptions, root = "/"): AxclDescription {
  const devices = describeFacts(axclFacts(root));
  const found: AxclDescription = { library: null, driver: "", devices, problem: "", hint: "", warnings: [] };
  try {
    found.library = loadAxcl(options, root);
    const cards = withAxcl(loaded(), (axcl) => axcl.cards().map((id) => axcl.properties(id)));
    found.devices = [...devices, ...cards.map(describeCard)];
    found.warnings = cards.flatMap((card, index) => warningsOf(card, index, loaded().version));
  } catch (error) {
    const { hint = "", message } = error as TtsError;
    Object.assign(found, { problem: message, hint });
  }
  return found;
}

const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

function describeCard({ celsius, load, memory, slot, version }: CardProperties, index: number): string {
  const percent = (part: number) => `${Math.round(100 * part)} %`;
  const free = `${megabytes(memory.free)} of ${megabytes(memory.total)} free`;
  return `card ${index} at ${slot}: software ${version}, ${celsius.toFixed(1)} °C, ${free}, CPU ${percent(load.cpu)}, NPU ${percent(load.npu)}`;
}

/** It resets itself at 120. */
const HOT_CELSIUS = 100;
const numberIn = (version: string) => /\d+\.\d+\.\d+/.exec(version)?.[0];

function warningsOf({ celsius, version }: CardProperties, index: number, host: string): string[] {
  const [here, there] = [numberIn(host), numberIn(version)];
  const skew = here !== undefined && there !== undefined && here !== there;
  return [
    ...(skew
      ? [`the host has AXCL ${here}, card ${index} has ${there}: install the axclhost package again and restart, so that they match`]
      : []),
    ...(celsius >= HOT_CELSIUS ? [`card ${index} has ${Math.round(celsius)} °C and stops at 120: cool it`] : []),
  ];
}

/**
 * Loads a model and gives its tensors memory on the card for good.
 * @throws TtsError NPU_MODEL_INVALID, NPU_UNAVAILABLE, LIBRARY_FAILED
 */
export function openAxclModel(options: NpuModelOptions): NpuModel {
  const card = Card.take(loaded());
  try {
    return new AxclModel(card, options);
  } catch (error) {
    card.release();
    throw error;
  }
}

type Side = "Input" | "Output";

/** A tensor as the model describes it. */
interface Described {
  side: Side;
  index: number;
  name: string;
  shape: number[];
  bytes: number;
}

/** Memory of a tensor on both sides. */
interface Copy {
  host: bigint;
  card: bigint;
  bytes: bigint;
}

interface State {
  input: number;
  output: number;
  bytes: bigint;
  /** Card address of each lane's state. */
  lanes: bigint[];
  /** Card address where the next run writes; keep() exchanges it for the lane's. */
  spare: bigint;
  /** Through which states are saved and restored. */
  staging: Float32Array;
  host: bigint;
}

const NO_RUN = -1;
const BYTES_LIMIT = 2n ** 32n;

class AxclModel implements NpuModel {
  readonly inputs: NpuTensor[] = [];
  readonly outputs: NpuTensor[] = [];
  private readonly toCard: Copy[] = [];
  private readonly fromCard: Copy[] = [];
  private readonly states: State[] = [];
  private readonly path: string;
  private readonly lanes: number;
  private bytes = 0;
  private compiler = "";
  private running = false;
  /** Card addresses to give back. */
  private readonly memory: bigint[] = [];
  private id = 0n;
  private context = 0n;
  private info = 0n;
  private io = 0n;
  /** The lane whose next state stands in the spare memory. */
  private ran = NO_RUN;
  private closed = false;

  constructor(
    private readonly card: Card,
    { lanes, path, states }: NpuModelOptions,
  ) {
    [this.path, this.lanes] = [path, lanes];
    try {
      this.load();
      const [inputs, outputs] = [this.describeSide("Input"), this.describeSide("Output")];
      this.io = this.take("axclrtEngineCreateIO", (out) => this.calls.axclrtEngineCreateIO(this.info, out));
      for (const pair of states) this.states.push(this.bindState(inputs, outputs, pair));
      const isFree = ({ index, side }: Described) => !this.states.some((state) => state[side === "Input" ? "input" : "output"] === index);
      for (const tensor of [...inputs, ...outputs].filter(isFree)) this.bind(tensor);
      this.running = true;
    } catch (error) {
      this.free();
      throw error;
    }
  }

  run(lane: number): void {
    this.checkLane(lane);
    this.ran = NO_RUN;
    const { calls } = this;
    for (const { bytes, input, lanes, output, spare } of this.states) {
      this.check("axclrtEngineSetInputBufferByIndex", calls.axclrtEngineSetInputBufferByIndex(this.io, input, lanes[lane], bytes));
      this.check("axclrtEngineSetOutputBufferByIndex", calls.axclrtEngineSetOutputBufferByIndex(this.io, output, spare, bytes));
    }
    for (const { bytes, card, host } of this.toCard) this.copyToCard(card, host, bytes);
    this.check("axclrtEngineExecute", calls.axclrtEngineExecute(this.id, this.context, GROUP, this.io));
    for (const { bytes, card, host } of this.fromCard) this.copyFromCard(host, card, bytes);
    this.ran = lane;
  }

  keep(): void {
    if (this.ran === NO_RUN) throw new TypeError("nothing to keep: no run since the last keep()");
    for (const state of this.states) {
      const before = state.lanes[this.ran];
      state.lanes[this.ran] = state.spare;
      state.spare = before;
    }
    this.ran = NO_RUN;
  }

  reset(lane: number): void {
    this.checkLane(lane);
    for (const { bytes, lanes } of this.states) this.clear(lanes[lane], bytes);
  }

  save(lane: number): Float32Array[] {
    this.checkLane(lane);
    return this.states.map(({ bytes, host, lanes, staging }) => {
      this.copyFromCard(host, lanes[lane], bytes);
      return staging.slice();
    });
  }

  restore(lane: number, state: readonly Float32Array[]): void {
    this.checkLane(lane);
    if (this.states.length !== state.length || this.states.some(({ staging }, i) => staging.length !== state[i].length)) {
      const own = this.states.map(({ staging }) => staging.length);
      throw new RangeError(`a state of [${state.map(({ length }) => length)}] values, not [${own}]`);
    }
    for (const [i, { bytes, host, lanes, staging }] of this.states.entries()) {
      staging.set(state[i]);
      this.copyToCard(lanes[lane], host, bytes);
    }
  }

  close(): void {
    if (this.closed) return;
    this.free();
    this.card.release();
  }

  private get calls() {
    return this.card.library.calls;
  }

  private checkLane(lane: number): void {
    if (this.closed) throw new TypeError("the model is closed");
    if (!Number.isInteger(lane) || lane < 0 || lane >= this.lanes) throw new RangeError(`lane ${lane} of ${this.lanes}`);
  }

  private copyToCard(card: bigint, host: bigint, bytes: bigint): void {
    this.check("axclrtMemcpy to the card", this.calls.axclrtMemcpy(card, host, bytes, HOST_TO_CARD));
  }

  private copyFromCard(host: bigint, card: bigint, bytes: bigint): void {
    this.check("axclrtMemcpy from the card", this.calls.axclrtMemcpy(host, card, bytes, CARD_TO_HOST));
  }

  private clear(card: bigint, bytes: bigint): void {
    this.check("axclrtMemset", this.calls.axclrtMemset(card, 0, bytes));
  }

  /** Everything on the card, in the order its documents want; whatever the calls say, since it may be gone. */
  private free(): void {
    this.closed = true;
    for (const card of this.memory) this.calls.axclrtFree(card);
    if (this.io !== 0n) this.calls.axclrtEngineDestroyIO(this.io);
    if (this.info !== 0n) this.calls.axclrtEngineDestroyIOInfo(this.info);
    if (this.id !== 0n) this.calls.axclrtEngineUnload(this.id);
    for (const { data } of [...this.inputs, ...this.outputs]) (data.buffer as ArrayBuffer).transfer(); // the tensors are empty from now on
  }

  private load(): void {
    this.bytes = withModelFile(this.path, (model) => model.length);
    const free = this.card.freeMemory();
    if (free !== null && free < LOAD_FACTOR * this.bytes) {
      const what = `${this.path} needs about ${megabytes(LOAD_FACTOR * this.bytes)} of the card's memory to be loaded, ${megabytes(free)} are free`;
      throw new TtsError("NPU_UNAVAILABLE", what, "close other programs that use the card (axcl-smi shows them), or use a smaller model");
    }
    const file = Buffer.from(`${this.path}\0`);
    this.id = this.take("axclrtEngineLoadFromFile", (out) => this.calls.axclrtEngineLoadFromFile(file, out));
    if (this.id === 0n) {
      const what = `${this.path} was not loaded, though axclrtEngineLoadFromFile gave no error`;
      throw new TtsError("NPU_MODEL_INVALID", what, `make the file readable and keep it in place; ${this.card.log.path} may say more`);
    }
    this.compiler = textAt(this.calls.axclrtEngineGetModelCompilerVersion(this.id));
    this.context = this.take("axclrtEngineCreateContext", (out) => this.calls.axclrtEngineCreateContext(this.id, out));
    this.info = this.take("axclrtEngineGetIOInfo", (out) => this.calls.axclrtEngineGetIOInfo(this.id, out));
    const groups = new Int32Array(new ArrayBuffer(4));
    this.check("axclrtEngineGetShapeGroupsCount", this.calls.axclrtEngineGetShapeGroupsCount(this.info, groups));
    if (groups[0] !== 1) throw this.refuse("", `has ${groups[0]} groups of shapes`, "build it again with fixed shapes");
  }

  private describeSide(side: Side): Described[] {
    const count = this.calls[`axclrtEngineGetNum${side}s`](this.info);
    if (count >= 2 ** 31) this.check(`axclrtEngineGetNum${side}s`, count | 0); // a code, without its sign
    return Array.from({ length: count }, (_, index) => this.describe(side, index));
  }

  /** @throws TtsError NPU_MODEL_INVALID */
  private describe(side: Side, index: number): Described {
    const name = textAt(this.calls[`axclrtEngineGet${side}NameByIndex`](this.info, index));
    const bytes = this.calls[`axclrtEngineGet${side}SizeByIndex`](this.info, GROUP, index);
    if (bytes >= BYTES_LIMIT) this.check(`axclrtEngineGet${side}SizeByIndex of ${name}`, Number(BigInt.asIntN(32, bytes)));
    const [dims, type] = [new Struct(IO_DIMS), new Int32Array(new ArrayBuffer(4))];
    this.check(`axclrtEngineGet${side}Dims of ${name}`, this.calls[`axclrtEngineGet${side}Dims`](this.info, GROUP, index, dims.bytes));
    this.check(`axclrtEngineGet${side}DataType of ${name}`, this.calls[`axclrtEngineGet${side}DataType`](this.info, index, type));
    const shape = Array.from(new Int32Array(dims.bytes.buffer, ARRAYS.dims[0], dims.get("dimCount")));
    const title = ` ${side.toLowerCase()} ${name} [${shape}]`;
    if (type[0] !== TYPE_F32) {
      throw this.refuse(title, `is ${TENSOR_TYPES[type[0]] ?? `of type ${type[0]}`}`, "build it again with f32 inputs and outputs");
    }
    if (bytes === 0n || bytes !== BigInt(4 * elementsOf(shape))) {
      throw this.refuse(title, `has ${bytes} bytes`, "build it again with fixed shapes");
    }
    return { side, index, name, shape, bytes: Number(bytes) };
  }

  private refuse(title: string, is: string, hint: string): TtsError {
    return new TtsError("NPU_MODEL_INVALID", `${this.path}: its${title === "" ? " graph" : title} ${is}`, hint);
  }

  /** Gives a tensor that the caller sees memory on both sides. */
  private bind({ bytes, index, name, shape, side }: Described): void {
    const data = new Float32Array(new ArrayBuffer(bytes));
    const copy = { host: BigInt(address(data)), card: this.allocate(name, bytes), bytes: BigInt(bytes) };
    const set = `axclrtEngineSet${side}BufferByIndex` as const;
    this.check(`${set} of ${name}`, this.calls[set](this.io, index, copy.card, copy.bytes));
    (side === "Input" ? this.inputs : this.outputs).push({ name, shape, data });
    (side === "Input" ? this.toCard : this.fromCard).push(copy);
  }

  private bindState(inputs: Described[], outputs: Described[], [from, to]: readonly [string, string]): State {
    const [input, output] = [inputs.find(({ name }) => name === from), outputs.find(({ name }) => name === to)];
    if (input === undefined || output === undefined || input.bytes !== output.bytes) {
      const shape = (tensor: Described | undefined) => (tensor === undefined ? "is missing" : `is [${tensor.shape}]`);
      const what = `${this.path}: its state input ${from} ${shape(input)} and its next ${to} ${shape(output)}`;
      throw new TtsError("NPU_MODEL_INVALID", what, "build the model again from the graph of this version");
    }
    const { bytes } = input;
    const staging = new Float32Array(new ArrayBuffer(bytes));
    const [host, spare] = [BigInt(address(staging)), this.allocate(to, bytes)];
    const lanes = Array.from({ length: this.lanes }, () => this.allocate(from, bytes));
    return { input: input.index, output: output.index, bytes: BigInt(bytes), lanes, spare, staging, host };
  }

  /** Memory on the card, zeroed: some models need that even of outputs. */
  private allocate(name: string, bytes: number): bigint {
    const card = this.take(`axclrtMalloc of ${bytes} bytes for ${name}`, (out) => this.calls.axclrtMalloc(out, bytes, MALLOC_POLICY));
    this.memory.push(card);
    this.clear(card, BigInt(bytes));
    return card;
  }

  /** What a call writes through its `out`; 0 before it. */
  private take(call: string, use: (out: BigUint64Array) => number): bigint {
    const out = new BigUint64Array(new ArrayBuffer(8));
    this.check(call, use(out));
    return out[0];
  }

  private check(call: string, code: number): void {
    if (code === 0) return;
    const { bytes, compiler, path, running } = this;
    this.card.check(call, code, { compiler, running, model: { path, bytes } } satisfies Attempt);
  }
}

/** The card holds the file and what is made of it at the same time. */
const LOAD_FACTOR = 2;
