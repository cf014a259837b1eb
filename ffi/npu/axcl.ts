// AXERA's NPU on a card in this host (AX650N on M.2 or PCIe) through libaxcl_rt.so: fixed-shape f32 models
// whose state stays on the card. Card addresses are numbers that only the library understands; they stay in
// this folder. Not for a program on the chip's own Linux: that is ffi/npu/ax-engine.ts.

import type { TtsError } from "../../src/errors.ts";
import { NPU_VENDORS } from "../../src/npu-vendors.ts";
import { address } from "../load/memory.ts";
import { AXCL_SYMBOLS } from "./_axcl-abi.ts";
import { ModelCalls } from "./_axcl-calls.ts";
import { type AxclRuntime, Card, type CardProperties, withAxcl } from "./_axcl-card.ts";
import { axclFacts, describeFacts } from "./_axcl-device.ts";
import { CardMemory } from "./_axcl-memory.ts";
import { CardModel, type CardTensor, megabytes } from "./_axcl-model.ts";
import { CardStates } from "./_axcl-states.ts";
import { openSystemLibrary, refuseStandIn, type SystemLibrary, textAt } from "./_library.ts";
import { type BoundGraph, LanedModel, statePairs } from "./lanes.ts";
import type {
  NpuDescription,
  NpuLibrary,
  NpuLibraryOptions,
  NpuModel,
  NpuModelOptions,
  NpuTensor,
} from "./model.ts";

const PLACE: SystemLibrary = {
  title: "AXCL, the runtime of AXERA's cards",
  file: "libaxcl_rt.so",
  variable: NPU_VENDORS.axcl.variable,
  folders: ["/usr/lib/axcl"],
  from: "the axclhost package that belongs to the card's software",
};

let runtime: AxclRuntime | null = null;

/**
 * Opens the library once per thread. Needs no card.
 * @param root of the file system with PCI, the driver's node and the runtime's log; tests pass another one
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
  /** One line each: why a card that works may stop. */
  warnings: string[];
}

/**
 * What is known of the cards here, for `tts doctor` and for backends that ask whether to try. Never throws.
 */
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

function describeCard({ celsius, load, memory, slot, version }: CardProperties, index: number): string {
  const percent = (part: number) => `${Math.round(100 * part)} %`;
  const free = `${megabytes(memory.free)} of ${megabytes(memory.total)} free`;
  return `card ${index} at ${slot}: software ${version}, ${celsius.toFixed(1)} °C, ${free}, CPU ${percent(load.cpu)}, NPU ${percent(load.npu)}`;
}

/** A card resets itself at 120 °C. */
const HOT_CELSIUS = 100;
const numberIn = (version: string) => /\d+\.\d+\.\d+/.exec(version)?.[0];

function warningsOf({ celsius, version }: CardProperties, index: number, host: string): string[] {
  const [here, there] = [numberIn(host), numberIn(version)];
  const skew = here !== undefined && there !== undefined && here !== there;
  return [
    ...(skew
      ? [
          `the host has AXCL ${here}, card ${index} has ${there}: install the axclhost package again and restart, so that they match`,
        ]
      : []),
    ...(celsius >= HOT_CELSIUS
      ? [`card ${index} has ${Math.round(celsius)} °C and stops at 120: cool it`]
      : []),
  ];
}

/**
 * Loads a model and gives its tensors memory on the card until it is closed.
 * @throws TtsError NPU_MODEL_INVALID, NPU_UNAVAILABLE, LIBRARY_FAILED
 */
export function openAxclModel({ lanes, path, states }: NpuModelOptions): NpuModel {
  const calls = new ModelCalls(Card.take(loaded()), path);
  const [model, memory] = [new CardModel(calls), new CardMemory(calls)];
  const graph = new AxclGraph(calls.card, model, memory);
  try {
    model.load();
    const pairs = statePairs(model, states, path);
    const laneStates = new CardStates(model, memory, pairs, lanes);
    const ofStates = pairs.flatMap(({ input, output }) => [input, output]);
    for (const tensor of [...model.inputs, ...model.outputs])
      if (!ofStates.includes(tensor)) graph.bind(tensor);
    calls.running = true;
    return new LanedModel(graph, laneStates, lanes);
  } catch (error) {
    graph.close();
    throw error;
  }
}

/** Memory of a tensor on both sides. */
interface Copy {
  host: bigint;
  card: bigint;
  bytes: number;
}

/** A model whose inputs are copied to the card before a run, and outputs back after it, but not the state. */
class AxclGraph implements BoundGraph {
  readonly inputs: NpuTensor[] = [];
  readonly outputs: NpuTensor[] = [];
  private readonly toCard: Copy[] = [];
  private readonly fromCard: Copy[] = [];

  /** Owns all three, and gives them back when it is closed. */
  constructor(
    private readonly card: Card,
    private readonly model: CardModel,
    private readonly memory: CardMemory,
  ) {}

  /** Gives memory on both sides to a tensor that the caller sees. */
  bind(tensor: CardTensor): void {
    const { bytes, name, shape, side } = tensor;
    const data = new Float32Array(new ArrayBuffer(bytes));
    const copy = { host: BigInt(address(data)), card: this.memory.allocate(name, bytes), bytes };
    this.model.place(tensor, copy.card, ` of ${name}`);
    (side === "Input" ? this.inputs : this.outputs).push({ name, shape, data });
    (side === "Input" ? this.toCard : this.fromCard).push(copy);
  }

  execute(): void {
    for (const { bytes, card, host } of this.toCard) this.memory.copyToCard(card, host, bytes);
    this.model.run();
    for (const { bytes, card, host } of this.fromCard) this.memory.copyFromCard(host, card, bytes);
  }

  /** Frees the memory first, as the card's documents demand. */
  close(): void {
    this.memory.free();
    this.model.unload();
    // the tensors are empty from now on
    for (const { data } of [...this.inputs, ...this.outputs]) (data.buffer as ArrayBuffer).transfer();
    this.card.release();
  }
}
