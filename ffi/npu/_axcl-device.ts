// What the system says about AXERA's card, and what each code of its runtime means here. Reads files only and
// does not use the card.

import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { type ErrorCode, TtsError } from "../../src/errors.ts";
import { axMeaning, hex } from "./_ax-engine-device.ts";
import { mayUse, REPORT } from "./_node.ts";

export interface AxclFacts {
  /** Whether PCI shows the card. */
  onBus: boolean;
  /** Whether the driver's node exists, and whether this user may read and write it. */
  node: { path: string; exists: boolean; usable: boolean };
}

const PCI_ID = { vendor: "0x1f4b", device: "0x0650" };

/**
 * @param root of the file system; tests pass another one
 * @param usable whether this user may read and write a node; tests pass another answer
 */
export function axclFacts(root = "/", usable = mayUse): AxclFacts {
  const bus = join(root, "sys/bus/pci/devices");
  const devices = existsSync(bus) ? readdirSync(bus) : [];
  const onBus = devices.some((slot) =>
    Object.entries(PCI_ID).every(([file, id]) => textIn(join(bus, slot, file)) === id),
  );
  const path = join(root, "dev/axcl_host");
  const exists = existsSync(path);
  return { onBus, node: { path, exists, usable: exists && usable(path) } };
}

function textIn(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return ""; // it went away meanwhile
  }
}

/** One line each. */
export function describeFacts({ node, onBus }: AxclFacts): string[] {
  const use = node.usable ? "readable and writable" : node.exists ? "no permission" : "does not exist";
  return [
    `PCI ${PCI_ID.vendor.slice(2)}:${PCI_ID.device.slice(2)}: ${onBus ? "present" : "not there"}`,
    `${node.path}: ${use}`,
  ];
}

/** Why a call found no card, and what to do. Only for the case that there is none. */
export function deviceProblem({ node, onBus }: AxclFacts): { problem: string; hint: string } {
  if (!onBus) {
    const hint =
      "lspci -d 1f4b:0650 must show it: check that it sits firmly and has power, then restart; dmesg | grep -i pci says more";
    return { problem: "card not on the PCI bus", hint };
  }
  if (!node.exists) {
    const hint =
      "install the axclhost package, which builds its modules for this kernel, or load them: sudo modprobe axcl_host";
    return { problem: `card present, driver not loaded: no ${node.path}`, hint };
  }
  if (!node.usable) {
    const hint = "install the package's udev rules, pass the node into the container, or run as root";
    return { problem: `card present, but this user may not read and write ${node.path}`, hint };
  }
  const hint =
    "the driver loads the card's software: dmesg | grep -i axcl says how far it came; then axcl-smi reboot -d 0, or cut the power";
  return { problem: "driver loaded, card not connected", hint };
}

/** The runtime's own log, the only place that states the card's codes. */
export class AxclLog {
  readonly path: string;
  /** Bytes already in the log: they do not belong to this run. */
  private readonly from: number;

  constructor(root: string) {
    this.path = join(root, "tmp/axcl/axcl_logs.txt");
    this.from = existsSync(this.path) ? statSync(this.path).size : 0;
  }

  /** The card's code in the last line that has one; null when there is none. */
  lastStatus(): number | null {
    const statuses = [...this.tail().matchAll(/fail\b.*status:?\s*(-?(?:0x[0-9a-f]+|\d+))/gi)];
    const last = statuses.at(-1);
    return last === undefined || Number(last[1]) === 0 ? null : Number(last[1]) | 0;
  }

  private tail(): string {
    try {
      const file = openSync(this.path, "r");
      try {
        const { size } = fstatSync(file);
        // shorter than before: a new file
        const at = Math.max(size < this.from ? 0 : this.from, size - LOG_TAIL_BYTES);
        const bytes = Buffer.alloc(Math.max(0, size - at));
        return bytes.toString("latin1", 0, readSync(file, bytes, 0, bytes.length, at));
      } finally {
        closeSync(file);
      }
    } catch {
      return ""; // there is no log, or this user may not read it
    }
  }
}

const LOG_TAIL_BYTES = 8192;

/** What an error is about. */
export interface AxclCall {
  /** Name of the function. */
  call: string;
  code: number;
  /** Whether the model was running; else it was being opened. */
  running: boolean;
  /** null before a model is opened. */
  model: { path: string; bytes: number } | null;
  /** Versions of the library and of the compiler that made the model; "" where not known. */
  version: string;
  compiler: string;
}

interface Meaning {
  means: string;
  /** The error's code unless a model was running. */
  code: ErrorCode;
  hint: string;
}

const RESET =
  "look at dmesg | grep -i axcl for a dead card, then reset it: axcl-smi reboot -d 0; it also stops when it is too hot";
const BUSY = "close other programs that use the card, then reset it: axcl-smi reboot -d 0";
const MEMORY =
  "close other programs that use the card, or give the model fewer lanes; axcl-smi shows its CMM memory";
const REBUILD =
  "build the model again with Pulsar2 for AX650, with f32 inputs and outputs; the card's software must be as new as Pulsar2";

const own = (means: string): Meaning => ({ means, code: "LIBRARY_FAILED", hint: REPORT });
const device = (means: string, hint = RESET): Meaning => ({ means, code: "NPU_UNAVAILABLE", hint });
const model = (means: string): Meaning => ({ means, code: "NPU_MODEL_INVALID", hint: REBUILD });

/** By bytes 0 and 1 of a code whose module is the runtime. */
const CODES: Readonly<Record<number, Meaning>> = {
  267: device("the driver's node /dev/axcl_host cannot be opened"),
  384: device("the cards cannot be listed"),
  385: device("no card is connected"),
  386: device("the cards cannot be listed"),
  387: own("the card is not in use"),
  388: own("there is no card of this id"),
  389: own("no card is in use"),
  390: device("the card gives no connection", BUSY),
  391: device("the card cannot be restarted"),
  392: device("the connection to the card cannot be closed"),
  641: device("no context can be made on the card", BUSY),
  644: own("this thread has no context"),
  1029: device("the card did not answer in time"),
  1036: device("the card did not take the task"),
  1153: device("the card did not take the task"),
  1292: device("the card's memory is used up", MEMORY),
  1409: own("the address is not in the card's memory"),
  1794: own("an engine's pointer is null"),
  1795: own("an argument of the engine is wrong"),
  1796: own("the engine does not support this"),
  1800: device("the engine's request was damaged"),
  1801: device("the engine's answer was missing or damaged", MEMORY),
  1802: device("the engine's answer belongs to another request"),
  1804: model("the engine on the card failed"),
  1921: own("there is no tensor of this number"),
  2316: device("a command on the card failed"),
};

const PARTS = [
  "",
  "device",
  "context",
  "stream",
  "task",
  "memory",
  "settings",
  "engine",
  "log",
  "system",
  "latency",
  "transfer",
  "user's work",
];
const KINDS = [
  "",
  "failed",
  "null pointer",
  "illegal parameter",
  "unsupported",
  "timed out",
  "busy",
  "no memory",
  "encode",
  "decode",
];
const MORE_KINDS = ["unexpected response", "cannot be opened", "failed on the card"];
/** Kinds that mean a wrong call. */
const OWN_KINDS = ["null pointer", "illegal parameter", "unsupported"];
const MODULE_AXCL = 0x30;
const EXECUTE_FAILED = 0x0c;

function meaningOf(code: number): Meaning {
  if (((code >>> 16) & 0xff) !== MODULE_AXCL) return cardMeaning(code);
  const known = CODES[code & 0xffff];
  if (known !== undefined) return known;
  const [part, kind] = [PARTS[(code >>> 8) & 0xff] ?? "unknown part", [...KINDS, ...MORE_KINDS][code & 0xff]];
  if (kind === undefined) return own(`${part}: a code this program does not know`);
  return OWN_KINDS.includes(kind) ? own(`${part}: ${kind}`) : device(`${part}: ${kind}`);
}

const MODULE_SYS = 0x0b;
/** Byte 0 of the engine's codes for no memory, and for runs that failed or did not end. */
const NO_MEMORY = 0x85;
const RUN_FAILED = [0x82, 0x8b];

/** A code of the card's own libraries. */
function cardMeaning(code: number): Meaning {
  const byte = code & 0xff;
  const means = `the card's own code, ${axMeaning(code)}`;
  if (((code >>> 16) & 0xff) === MODULE_SYS || byte === NO_MEMORY) return device(means, MEMORY);
  return RUN_FAILED.includes(byte) ? device(means) : model(means);
}

/** Codes for a missing card or driver; the system says what is missing. */
const MISSING = [0x010b, 0x0181];
/** Codes that a card gives when it vanishes in use. */
const LOST = [0x0405, 0x040c, 0x0481];

/** A code of the runtime as an error that says what to do here. */
export function axclError(call: AxclCall, facts: AxclFacts, log: AxclLog): TtsError {
  const meaning = meaningOf(call.code);
  const compiler = call.compiler === "" ? "" : `, made by Pulsar2 ${call.compiler}`;
  const about = call.model === null ? "" : ` for ${call.model.path} (${call.model.bytes} bytes${compiler})`;
  const status = (call.code & 0xff) === EXECUTE_FAILED ? log.lastStatus() : null;
  const cause = status === null ? "" : `; the card says ${hex(status)} (${axMeaning(status)})`;
  const decisive = status === null ? meaning : cardMeaning(status);
  // A model is not to blame while it runs, nor before it is opened.
  const blamesModel = decisive.code === "NPU_MODEL_INVALID" && (call.running || call.model === null);
  const verdict = blamesModel ? device(decisive.means) : decisive;
  const what = `${call.call} gave ${hex(call.code)} (${meaning.means})${about}${cause}; AXCL ${call.version || "of unknown version"}`;
  const code = call.running ? "NPU_FAILED" : verdict.code;
  const missing = MISSING.includes(call.code & 0xffff) || (LOST.includes(call.code & 0xffff) && !facts.onBus);
  if (!missing) return new TtsError(code, what, verdict.hint);
  const { hint, problem } = deviceProblem(facts);
  return new TtsError(code, `${what}; ${problem}`, hint);
}
