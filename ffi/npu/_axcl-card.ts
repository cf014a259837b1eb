// A thread's hold on a card of AXCL: the runtime, the card and the thread's own context, which every call
// needs. Knows no models. The library counts all three, so threads need not know of each other. All three
// must be given back: otherwise the library aborts the process at its end.

import { TtsError } from "../../src/errors.ts";
import { Struct } from "../load/struct.ts";
import { ARRAYS, type AXCL_SYMBOLS, DEVICE_LIST, DEVICE_PROPERTIES, UNDIVIDED } from "./_axcl-abi.ts";
import { type AxclCall, AxclLog, axclError, axclFacts } from "./_axcl-device.ts";
import type { openSystemLibrary } from "./_library.ts";
import type { NpuLibrary } from "./model.ts";

export interface AxclRuntime extends NpuLibrary {
  calls: ReturnType<typeof openSystemLibrary<typeof AXCL_SYMBOLS>>["symbols"];
  /** Root of the file system that holds the card's node and log. */
  root: string;
}

/** What one card says of itself. */
export interface CardProperties {
  /** Version of the software on the card. */
  version: string;
  /** Address of the PCI slot. */
  slot: string;
  celsius: number;
  /** Memory for models and buffers, bytes. */
  memory: { total: number; free: number };
  /** Loads, 0 to 1. */
  load: { cpu: number; npu: number };
}

/** What a call was for; its error says so. */
type Attempt = Partial<Pick<AxclCall, "model" | "running" | "compiler">>;

/** The runtime of a process, for calls that need no card. */
class Axcl {
  readonly log: AxclLog;

  constructor(readonly library: AxclRuntime) {
    this.log = new AxclLog(library.root);
  }

  /** @throws TtsError for a code other than 0 */
  check(call: string, code: number, attempt: Attempt = {}): void {
    if (code === 0) return;
    const { root, version } = this.library;
    throw axclError(
      { model: null, running: false, compiler: "", ...attempt, call, code, version },
      axclFacts(root),
      this.log,
    );
  }

  /** Ids of the cards, in order: they come from the PCI bus. */
  cards(): number[] {
    const list = new Struct(DEVICE_LIST);
    this.check("axclrtGetDeviceList", this.library.calls.axclrtGetDeviceList(list.bytes));
    const [at, bytes] = ARRAYS.devices;
    return Array.from(new Int32Array(list.bytes.buffer, at, bytes / 4).subarray(0, list.get("num")));
  }

  properties(id: number): CardProperties {
    const found = new Struct(DEVICE_PROPERTIES);
    const code = this.library.calls.axclrtGetDeviceProperties(id, found.bytes);
    held?.bind(); // the call above may have changed this thread's context
    this.check("axclrtGetDeviceProperties", code);
    const [at, length] = ARRAYS.swVersion;
    const text = Buffer.from(found.bytes.subarray(at, at + length))
      .toString("latin1")
      .split("\0")[0];
    const digits = (name: "pciDomain" | "pciBusID" | "pciDeviceID", count: number) =>
      found.get(name).toString(16).padStart(count, "0");
    return {
      version: text.trim(),
      slot: `${digits("pciDomain", 4)}:${digits("pciBusID", 2)}:${digits("pciDeviceID", 2)}`,
      celsius: found.get("temperature") / 1000,
      memory: { total: found.get("totalCmmSize") * KB, free: found.get("freeCmmSize") * KB },
      load: { cpu: found.get("cpuLoading") / LOAD_SCALE, npu: found.get("npuLoading") / LOAD_SCALE },
    };
  }
}

const KB = 1024;
const LOAD_SCALE = 10_000;

/** Runs `use` between axclInit and axclFinalize. @throws TtsError */
export function withAxcl<T>(library: AxclRuntime, use: (axcl: Axcl) => T): T {
  const axcl = new Axcl(library);
  axcl.check("axclInit", library.calls.axclInit(null));
  try {
    return use(axcl);
  } finally {
    library.calls.axclFinalize();
  }
}

/** The card this thread holds. */
let held: Card | null = null;

export class Card extends Axcl {
  private users = 0;
  private context = 0n;

  private constructor(
    library: AxclRuntime,
    private readonly id: number,
  ) {
    super(library);
  }

  /**
   * The card for one more model of this thread: give it back with {@link release}.
   * @throws TtsError NPU_UNAVAILABLE
   */
  static take(library: AxclRuntime): Card {
    held ??= Card.open(library);
    held.users++;
    return held;
  }

  /** Opens the first card in the list. */
  private static open(library: AxclRuntime): Card {
    const { calls } = library;
    const axcl = new Axcl(library);
    axcl.check("axclInit", calls.axclInit(null));
    try {
      const [id] = axcl.cards();
      if (id === undefined)
        throw new TtsError(
          "NPU_UNAVAILABLE",
          "AXCL lists no card",
          "axcl-smi shows the cards that are connected",
        );
      axcl.check("axclrtSetDevice", calls.axclrtSetDevice(id));
      return Card.enter(new Card(library, id));
    } catch (error) {
      calls.axclFinalize();
      throw error;
    }
  }

  private static enter(card: Card): Card {
    try {
      const out = new BigUint64Array(new ArrayBuffer(8));
      card.check("axclrtCreateContext", card.library.calls.axclrtCreateContext(out, card.id));
      card.context = out[0];
      card.startEngine();
      return card;
    } catch (error) {
      card.leave();
      throw error;
    }
  }

  /**
   * The engine belongs to all threads of this process, so nobody stops it: it ends with the card's last user.
   */
  private startEngine(): void {
    const { calls } = this.library;
    const code = calls.axclrtEngineInit(UNDIVIDED);
    if (code === 0) return;
    const mode = new Int32Array(new ArrayBuffer(4));
    // a known mode means that it is up already
    if (calls.axclrtEngineGetVNpuKind(mode) !== 0) this.check("axclrtEngineInit", code);
  }

  /** Bytes of the card's memory that are free; null where it does not say. */
  freeMemory(): number | null {
    try {
      return this.properties(this.id).memory.free;
    } catch {
      return null;
    }
  }

  /** Makes this context the thread's current one again. */
  bind(): void {
    this.library.calls.axclrtSetCurrentContext(this.context);
  }

  release(): void {
    this.users--;
    if (this.users > 0) return;
    held = null;
    this.leave();
    this.library.calls.axclFinalize();
  }

  /** Ignores what the calls return: all of them are made, even when the card is gone. */
  private leave(): void {
    const { calls } = this.library;
    if (this.context !== 0n) calls.axclrtDestroyContext(this.context);
    calls.axclrtResetDevice(this.id);
  }
}
