// Files that may be missing: what is not there, or cannot be read, is empty or null and no error.

import { readFileSync } from "node:fs";

/** A text file, or null where none can be read. */
export function textOrNull(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

/** A text file, or "" where none can be read: files of /proc and /sys that this system lacks, settings that nobody wrote. */
export const textOrEmpty = (path: string) => textOrNull(path) ?? "";

/** The value in a JSON file, or null where none can be read or it is no JSON. The caller checks what it is. */
export function jsonOrNull(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
}
