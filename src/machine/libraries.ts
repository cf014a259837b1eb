// The native libraries of this machine: which file it is, which version, and if it does not work, why. A
// library is loaded in a process of its own: one that crashes or hangs says so here and harms nobody.

import { remedyFor } from "../../ffi/load/embedded.ts";
import { glibcNeeded } from "../../ffi/load/system.ts";
import type { Config } from "../config.ts";
import { type ErrorOnTheWire, toWire } from "../errors.ts";
import type { NpuName } from "../npu-vendors.ts";
import { runChild } from "../worker.ts";

/** Without these two nothing can be spoken. */
export const NEEDED_LIBRARIES = ["llama", "onnxruntime"] as const;
type NeededLibrary = (typeof NEEDED_LIBRARIES)[number];

const VARIABLE = { llama: "TTS_LIBLLAMA", onnxruntime: "TTS_LIBONNXRUNTIME" } as const;

/** Loading reads files and starts nothing that takes long. */
const TIMEOUT_MS = 30_000;

type Loading = Pick<Config, "libraries" | "allowStandIn">;
interface LibraryJob extends Loading {
  name: NeededLibrary | NpuName;
}

export interface LibraryFacts {
  name: NeededLibrary;
  /** "" where it was not found. */
  path: string;
  version: string;
  /** The newest version of the C library that the file asks for, such as "2.34", or "". */
  glibcNeeded: string;
  failure: ErrorOnTheWire | null;
}

export interface NpuFacts {
  name: NpuName;
  library: { path: string; version: string } | null;
  /** Of the kernel, "" where there is none or it has no version. */
  driver: string;
  /** A line each. */
  devices: string[];
  /** It works, but may stop working: a line each. */
  warnings: string[];
  /** Why it cannot be used and what to do; empty where nothing is known against it. */
  problem: string;
  hint: string;
}

export async function describeLibrary(
  name: NeededLibrary,
  { allowStandIn, libraries }: Loading,
): Promise<LibraryFacts> {
  try {
    const loaded = await runChild<{ path: string; version: string }>(
      "library",
      { name, libraries, allowStandIn },
      TIMEOUT_MS,
    );
    return { name, ...loaded, glibcNeeded: glibcNeeded(loaded.path), failure: null };
  } catch (thrown) {
    const failure = toWire(thrown);
    const path = libraries[name];
    const another = path === "" ? "run make setup" : `unset ${VARIABLE[name]}, or point it to another build`;
    const hint = failure.hint || (remedyFor(path) ?? another);
    return { name, path, version: "", glibcNeeded: glibcNeeded(path), failure: { ...failure, hint } };
  }
}

export async function describeNpu(name: NpuName, { allowStandIn, libraries }: Loading): Promise<NpuFacts> {
  try {
    const found = await runChild<Omit<NpuFacts, "name" | "warnings">>(
      "library",
      { name, libraries, allowStandIn },
      TIMEOUT_MS,
    );
    return { name, warnings: [], ...found };
  } catch (thrown) {
    const { hint, message } = toWire(thrown);
    return { name, library: null, driver: "", devices: [], warnings: [], problem: message, hint };
  }
}

/**
 * The child's side: of a needed library its path and version, of an NPU's all that is known. Only the one
 * that is asked for is touched.
 */
export async function runLibrary({ allowStandIn, libraries, name }: LibraryJob): Promise<unknown> {
  if (name === "llama") return (await import("../../ffi/llama.ts")).loadLlama(libraries.llama);
  if (name === "onnxruntime")
    return (await import("../../ffi/onnxruntime.ts")).loadOnnxRuntime(libraries.onnxruntime);
  const { NPU_LIBRARIES } = await import("../../ffi/npu/libraries.ts");
  return onlyPresent(NPU_LIBRARIES[name].describe({ override: libraries[name], allowStandIn }));
}

/** A line for what is looked for and is not there tells nothing of this machine. */
function onlyPresent<T extends { devices: string[] }>(found: T): T {
  return { ...found, devices: found.devices.filter((line) => !/: (not there|does not exist)$/.test(line)) };
}
