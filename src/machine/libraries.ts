// The native libraries of this machine: the file of each, its version, and the reason where it does not work.
// A library is loaded in a process of its own, so that one that crashes or hangs is reported here and harms
// nothing else.

import { remedyFor } from "../../ffi/load/embedded.ts";
import { glibcNeeded } from "../../ffi/load/system.ts";
import { runChild } from "../child.ts";
import type { Config } from "../config.ts";
import { type ErrorOnTheWire, toWire } from "../errors.ts";
import type { NpuName } from "../npu-vendors.ts";

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
  /** Version of the kernel's driver; "" where there is no driver or it has no version. */
  driver: string;
  /** One line for each device. */
  devices: string[];
  /** Why it may stop working although it works now, one line for each reason. */
  warnings: string[];
  /** Why it cannot be used, and what to do (`hint`); both are "" where nothing is known against it. */
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
 * The child's side: gives path and version of a needed library, or all facts of an NPU's. Touches only the
 * one that is asked for.
 */
export async function runLibrary({ allowStandIn, libraries, name }: LibraryJob): Promise<unknown> {
  if (name === "llama") return (await import("../../ffi/llama.ts")).loadLlama(libraries.llama);
  if (name === "onnxruntime")
    return (await import("../../ffi/onnxruntime.ts")).loadOnnxRuntime(libraries.onnxruntime);
  const { NPU_LIBRARIES } = await import("../../ffi/npu/libraries.ts");
  return onlyPresent(NPU_LIBRARIES[name].describe({ override: libraries[name], allowStandIn }));
}

/** Drops the lines of devices that are not there: they tell nothing of this machine. */
function onlyPresent<T extends { devices: string[] }>(found: T): T {
  return { ...found, devices: found.devices.filter((line) => !/: (not there|does not exist)$/.test(line)) };
}
