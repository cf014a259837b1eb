// Finds and opens a vendor's library for an accelerator, which the system supplies: no npm package has it.

import type { FFIFunction } from "bun:ffi";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TtsError } from "../src/errors.ts";
import { findLibrary, openLibrary } from "./_load.ts";

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
 * Opens the user's choice (the file or its folder), or else the first that is found.
 * @throws TtsError LIBRARY_MISSING saying where it was looked for, LIBRARY_MISMATCH when it cannot be loaded or lacks a function
 */
export function openSystemLibrary<T extends Record<string, FFIFunction>>(place: SystemLibrary, override: string, symbols: T) {
  const path = override === "" ? standardPath(place) : findLibrary({ ...place, package: "", folder: "" }, override);
  if (path !== "") return { path, symbols: openLibrary(place.title, path, symbols).symbols };
  try {
    const { symbols: found } = openLibrary(place.title, place.file, symbols);
    return { path: loadedPath(place.file), symbols: found };
  } catch (cause) {
    const tried = place.folders.map((folder) => join(folder, place.file)).join(", ");
    const what = `${place.title} (${place.file}) was not found; tried ${tried}, and by name: ${(cause as Error).message}`;
    throw new TtsError("LIBRARY_MISSING", what, `install ${place.from}, or set ${place.variable} to the file`, { cause });
  }
}

const standardPath = ({ file, folders }: SystemLibrary) =>
  folders.map((folder) => join(folder, file)).find((path) => existsSync(path)) ?? "";

/** Where the loader found a library that it was asked for by name. */
function loadedPath(file: string): string {
  const line = readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .find((mapping) => mapping.endsWith(`/${file}`));
  return line === undefined ? file : line.slice(line.indexOf("/"));
}

/**
 * Refuses a library that only stands for the vendor's, unless it is wanted: it must never be taken for the real one.
 * @throws TtsError LIBRARY_MISMATCH
 */
export function refuseStandIn({ title, variable }: SystemLibrary, path: string, version: string, allowed: boolean): void {
  if (allowed || !version.includes("stand-in")) return;
  const what = `${path} is a stand-in for ${title}, not the vendor's library (version "${version}")`;
  throw new TtsError("LIBRARY_MISMATCH", what, `unset ${variable}; only tests and demonstrations set TTS_NPU_STANDIN=1`);
}
