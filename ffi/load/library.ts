// Finds and opens a shared library: the path the user gave, else the npm package, else beside the executable.
// A compiled binary unpacks its own.

import type { FFIFunction } from "bun:ffi";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, isAbsolute, join } from "node:path";
import { TtsError } from "../../src/errors.ts";
import { compiled, remedyFor } from "./embedded.ts";
import { openSymbols } from "./open.ts";
import { requireSystem } from "./system.ts";
import { unpack } from "./unpack.ts";

export interface LibraryPlace {
  /** What a person calls it. */
  title: string;
  /** File name, also looked for beside the executable and in `lib/` there. */
  file: string;
  /** Names in other builds, looked for in a folder that the user gives. */
  otherNames?: readonly string[];
  /** The environment variable that overrides everything; named in errors only. */
  variable: string;
  /** npm package and the folder inside it. */
  package: string;
  folder: string;
}

/**
 * The path of a library. `override` is the user's choice, or where a binary unpacks: the file or the folder
 * that holds it; nothing else is tried then.
 * @throws TtsError LIBRARY_MISSING listing every place tried; what {@link unpack} throws
 */
export function findLibrary(place: LibraryPlace, override: string): string {
  unpack(override);
  const tried = override !== "" ? overridePlaces(place, override) : defaultPlaces(place);
  const found = tried.find((path) => existsSync(path) && statSync(path).isFile());
  if (found !== undefined) return found;
  const hint =
    override !== "" ? `correct ${place.variable}` : `run "make setup", or set ${place.variable} to the file`;
  throw new TtsError(
    "LIBRARY_MISSING",
    `${place.title} (${place.file}) was not found; tried ${tried.join(", ")}`,
    hint,
  );
}

function overridePlaces(place: LibraryPlace, override: string): string[] {
  const isFolder = existsSync(override) && statSync(override).isDirectory();
  return isFolder
    ? [place.file, ...(place.otherNames ?? [])].map((name) => join(override, name))
    : [override];
}

function defaultPlaces(place: LibraryPlace): string[] {
  const beside = dirname(process.execPath);
  return [...packagePaths(place), join(beside, place.file), join(beside, "lib", place.file)];
}

/** Paths in every node_modules folder that this file can import from, nearest first. */
function packagePaths(place: LibraryPlace): string[] {
  const roots = createRequire(import.meta.url).resolve.paths(place.package) ?? [];
  return roots.map((root) => join(root, place.package, place.folder, place.file));
}

/**
 * dlopen whose failure says which file, why, and what to do.
 * @param path of the file, or its name alone where the system's loader is to find it
 * @throws TtsError LIBRARY_MISMATCH
 */
export function openLibrary<T extends Record<string, FFIFunction>>(title: string, path: string, symbols: T) {
  if (isAbsolute(path) && existsSync(path)) requireSystem(title, path);
  try {
    return openSymbols(path, symbols);
  } catch (cause) {
    if (cause instanceof TtsError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TtsError(
      "LIBRARY_MISMATCH",
      `${title} at ${path} could not be loaded: ${reason}`,
      loadHint(path, reason),
      { cause },
    );
  }
}

function loadHint(path: string, reason: string): string {
  if (/failed to map segment|Operation not permitted/i.test(reason)) {
    const way = compiled ? "set TTS_LIB_DIR to a folder that does" : "move it to one that does";
    return `its folder does not let programs run (mounted noexec?): ${way}`;
  }
  return remedyFor(path) ?? "the file may be damaged, or built for another system";
}
