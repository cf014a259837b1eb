// What the system says about AXERA's NPU on the chip itself, and what each code of its libraries means here.
// Reads files only and does not use the NPU.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ErrorCode, TtsError } from "../../src/errors.ts";
import { mayUse, REPORT } from "./_node.ts";

export interface AxNpuFacts {
  /** Whether the NPU's node exists, and whether this user may read and write it. */
  node: { path: string; exists: boolean; usable: boolean };
  /** Whether this is the host of an AXERA card: then the NPU is on the card. */
  isHost: boolean;
}

/**
 * @param root of the file system; tests pass another one
 * @param usable whether this user may read and write a node; tests pass another answer
 */
export function axNpuFacts(root = "/", usable = mayUse): AxNpuFacts {
  const path = join(root, "dev/npu");
  const exists = existsSync(path);
  return {
    node: { path, exists, usable: exists && usable(path) },
    isHost: existsSync(join(root, "dev/axcl_host")),
  };
}

/** Why the NPU cannot be opened, and what to do about it; empty texts when no reason is known. */
export function deviceProblem({ isHost, node }: AxNpuFacts): { problem: string; hint: string } {
  if (node.usable) return { problem: "", hint: "" };
  if (node.exists) {
    return {
      problem: `this user may not read and write ${node.path}`,
      hint: "run as a user of the group that owns it, or as root",
    };
  }
  if (isHost) {
    return {
      problem: `no ${node.path}: this is the host of a card, not the chip itself`,
      hint: "use axcl, which reaches the card",
    };
  }
  return {
    problem: `no NPU device: ${node.path} does not exist`,
    hint: "this library runs on the AXERA chip's own Linux only; there, load the BSP's drivers",
  };
}

/** What an error is about. */
export interface AxCall {
  /** Name of the function. */
  call: string;
  code: number;
  /** Whether the model was running; else it was being opened. */
  running: boolean;
  /** null before a model is opened. */
  model: { path: string; bytes: number } | null;
  /** Version of the library, "" where it is not known. */
  version: string;
  /** Version of the compiler that made the model, "" where it is not known. */
  tools: string;
  /** How the NPU's cores are divided. */
  mode: string;
}

interface Meaning {
  means: string;
  /** The error's code unless a model was running. */
  code: ErrorCode;
  hint: (call: AxCall) => string;
}

const LOOK = "look at dmesg; restart the board if it stays, and update its BSP to 1.45.0_P38 or newer";
const MEMORY =
  "close other programs that use the NPU, or enlarge its memory (CMM) in the board's start-up settings";
const REBUILD = "build the model again with Pulsar2 for this chip, with f32 inputs and outputs";

const ENGINE: Readonly<Record<number, Meaning>> = {
  129: { means: "the handle is not valid", code: "LIBRARY_FAILED", hint: () => REPORT }, // 0x81
  130: { means: "the task failed", code: "NPU_UNAVAILABLE", hint: () => LOOK }, // 0x82
  132: { means: "an argument is wrong", code: "LIBRARY_FAILED", hint: () => REPORT }, // 0x84
  133: { means: "there is no memory left for the NPU", code: "NPU_UNAVAILABLE", hint: () => MEMORY }, // 0x85
  // 0x86
  134: { means: "the model is empty", code: "NPU_MODEL_INVALID", hint: () => "copy or build it again" },
  135: {
    means: "it could not be made", // 0x87: the device, the model, or a model that does not fit the mode
    code: "NPU_MODEL_INVALID",
    hint: ({ mode, version }) =>
      `the file is damaged, for another chip, made by a newer Pulsar2 than this ${version || "engine"} knows, or needs more cores than an NPU that is ${mode} has: build it again`,
  },
  // 0x88
  136: { means: "a tensor of the model has no usable name", code: "NPU_MODEL_INVALID", hint: () => REBUILD },
  138: {
    means: "the graph failed",
    code: "NPU_MODEL_INVALID",
    hint: ({ running }) => (running ? LOOK : REBUILD),
  }, // 0x8A
  139: { means: "a task did not end in time", code: "NPU_UNAVAILABLE", hint: () => LOOK }, // 0x8B
};

/** By the last byte of a code: meanings that all modules share. */
const GENERIC: Readonly<Record<number, Meaning>> = {
  10: { means: "an argument is wrong", code: "LIBRARY_FAILED", hint: () => REPORT }, // 0x0A
  11: { means: "a pointer is null", code: "LIBRARY_FAILED", hint: () => REPORT }, // 0x0B
  16: {
    means: "the driver is not ready",
    code: "NPU_UNAVAILABLE",
    hint: () => "load the BSP's drivers, then look at dmesg",
  }, // 0x10
  // 0x11
  17: { means: "it is busy", code: "NPU_UNAVAILABLE", hint: () => "close other programs that use the NPU" },
  18: { means: "nothing was initialised", code: "LIBRARY_FAILED", hint: () => REPORT }, // 0x12
  21: {
    means: "it is not permitted",
    code: "NPU_UNAVAILABLE",
    hint: () => "run as a user of the group that owns /dev/npu, or as root",
  }, // 0x15
  24: { means: "there is no memory left for the NPU", code: "NPU_UNAVAILABLE", hint: () => MEMORY }, // 0x18
  39: { means: "it did not end in time", code: "NPU_UNAVAILABLE", hint: () => LOOK }, // 0x27
  128: { means: "memory could not be mapped", code: "NPU_UNAVAILABLE", hint: () => MEMORY }, // 0x80
  129: { means: "memory could not be unmapped", code: "NPU_UNAVAILABLE", hint: () => LOOK }, // 0x81
  130: { means: "memory could not be freed", code: "NPU_UNAVAILABLE", hint: () => LOOK }, // 0x82
};
const UNKNOWN: Meaning = {
  means: "a code this program does not know",
  code: "LIBRARY_FAILED",
  hint: () => LOOK,
};

const MODULES: Readonly<Record<number, string>> = { 6: "NPU", 11: "SYS" };
const MODULE_NPU = 6;

/** How the vendor's documents write a code. */
export const hex = (code: number) => `0x${(code >>> 0).toString(16).toUpperCase().padStart(8, "0")}`;

function meaningOf(code: number): Meaning {
  const byte = code & 0xff;
  return (moduleOf(code) === MODULE_NPU ? ENGINE[byte] : undefined) ?? GENERIC[byte] ?? UNKNOWN;
}

const moduleOf = (code: number) => (code >>> 16) & 0xff;

/** A code in words, also for a card's runtime, which passes these codes on. */
export const axMeaning = (code: number) =>
  `${MODULES[moduleOf(code)] ?? `module ${moduleOf(code)}`}: ${meaningOf(code).means}`;

/** A code of the libraries as an error that says what to do here. */
export function axError(call: AxCall, facts = axNpuFacts()): TtsError {
  const meaning = meaningOf(call.code);
  const tools = call.tools === "" ? "" : `, made by ${call.tools}`;
  const model = call.model === null ? "" : ` for ${call.model.path} (${call.model.bytes} bytes${tools})`;
  const what = `${call.call} gave ${hex(call.code)} (${axMeaning(call.code)})${model}; ${call.version || "engine of unknown version"}`;
  const { problem, hint } = deviceProblem(facts);
  const device = problem !== "" && meaning.code !== "LIBRARY_FAILED" && (call.running || call.model === null);
  const code = call.running ? "NPU_FAILED" : device ? "NPU_UNAVAILABLE" : meaning.code;
  return device
    ? new TtsError(code, `${what}; ${problem}`, hint)
    : new TtsError(code, what, meaning.hint(call));
}
