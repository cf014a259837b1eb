// Finds and opens a vendor's library for an accelerator, which the system supplies: no npm package has it.

import { CString, type FFIFunction, type Pointer } from "bun:ffi";
import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { TtsError } from "../../src/errors.ts";
import { findLibrary, openLibrary } from "../load/library.ts";
import { loadedFile } from "../load/system.ts";
import type { NpuDescription, NpuLibrary } from "./model.ts";

export interface SystemLibrary {
  /** What a person calls it. */
  title: string;
  file: string;
  /** The environment variable that overrides everything; named in errors only. */
  variable: string;
  /** Looked at in this order; then the system's loader searches by name. */
  folders: readonly string[];
  /** Where to get it. */
  from: string;
}

/**
 * Opens the user's choice (the file or its folder), or else the first library that is found. The returned
 * path is absolute; it is the bare file name when only the loader knows where it found the file.
 * @throws TtsError LIBRARY_MISSING saying where it was looked for, LIBRARY_MISMATCH when it cannot be loaded
 * or lacks a function
 */
export function openSystemLibrary<T extends Record<string, FFIFunction>>(
  place: SystemLibrary,
  override: string,
  symbols: T,
) {
  const path =
    override === ""
      ? standardPath(place)
      : resolve(findLibrary({ ...place, package: "", folder: "" }, override));
  if (path !== "") return { path, symbols: openLibrary(place.title, path, symbols).symbols };
  try {
    const { symbols: found } = openLibrary(place.title, place.file, symbols);
    return { path: loadedFile(place.file) ?? place.file, symbols: found };
  } catch (cause) {
    const tried = place.folders.map((folder) => join(folder, place.file)).join(", ");
    const what = `${place.title} (${place.file}) was not found; tried ${tried}, and by name: ${(cause as Error).message}`;
    throw new TtsError(
      "LIBRARY_MISSING",
      what,
      `install ${place.from}, or set ${place.variable} to the file`,
      { cause },
    );
  }
}

/** Relative folders do not count: nobody installs a library into one. */
const standardPath = ({ file, folders }: SystemLibrary) =>
  folders.map((folder) => join(folder, file)).find((path) => isAbsolute(path) && existsSync(path)) ?? "";

const isStandIn = (version: string) => version.includes("stand-in");

/**
 * Refuses a stand-in for the vendor's library unless it is wanted: it must never pass for the real one.
 * @throws TtsError LIBRARY_MISMATCH
 */
export function refuseStandIn(
  { title, variable }: SystemLibrary,
  path: string,
  version: string,
  allowed: boolean,
): void {
  if (allowed || !isStandIn(version)) return;
  const what = `${path} is a stand-in for ${title}, not the vendor's library (version "${version}")`;
  throw new TtsError(
    "LIBRARY_MISMATCH",
    what,
    `unset ${variable}; only tests and demonstrations set TTS_NPU_STANDIN=1`,
  );
}

/**
 * What is known of an NPU whose library tells nothing of devices. Never throws.
 * @param against why the device cannot be used, and what to do; empty texts for no reason. Ignored for a
 * stand-in, which needs no device
 */
export function describeDevice(
  device: Pick<NpuDescription, "devices" | "driver">,
  load: () => NpuLibrary,
  against: Pick<NpuDescription, "hint" | "problem">,
): NpuDescription {
  try {
    const library = load();
    return { library, ...device, ...(isStandIn(library.version) ? { problem: "", hint: "" } : against) };
  } catch (error) {
    const { hint = "", message } = error as TtsError;
    return { library: null, ...device, problem: message, hint };
  }
}

/** The C string at `pointer`, "" for none. */
export const textAt = (pointer: unknown) =>
  pointer === null || pointer === 0 ? "" : String(new CString(pointer as Pointer));
