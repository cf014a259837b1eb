// A worker makes a folder from a checkpoint. It writes the folder beside its place and renames it when it is
// whole, so an interruption leaves nothing. Progress, Ctrl-C and timers go on meanwhile.

import { existsSync, mkdirSync } from "node:fs";
import { fileError, systemCode } from "../errors.ts";
import { Draft } from "../io/atomic.ts";
import { answerErrand } from "../pipeline/errand.ts";
import type { Progress } from "../types.ts";

/**
 * Lets `build` make a folder at the path it is given, then moves that to `target`. An older folder is
 * replaced.
 * @param isWhole tells whether a folder is one of this kind; another process may have made it meanwhile
 * @throws TtsError OUTPUT_FAILED, and what `build` throws
 */
export async function buildFolder(
  target: string,
  isWhole: (folder: string) => boolean,
  build: (part: string) => Promise<void>,
): Promise<void> {
  const draft = new Draft(target);
  try {
    await build(draft.path);
    moveIntoPlace(draft, isWhole);
  } finally {
    draft.discard();
  }
}

function moveIntoPlace(draft: Draft, isWhole: (folder: string) => boolean): void {
  const { target } = draft;
  const replaces = existsSync(target);
  try {
    draft.replaceFolder();
  } catch (cause) {
    const finishedByAnother = isWhole(target) && !replaces;
    if (!finishedByAnother) throw fileError("OUTPUT_FAILED", target, cause, { use: "write" });
  }
}

/** The worker's side: makes the folder `part` and lets `build` fill it. */
export function buildInWorker(
  { part, target }: { part: string; target: string },
  build: (onProgress: (progress: Progress) => void) => void,
): void {
  answerErrand((onProgress) => {
    try {
      mkdirSync(part, { recursive: true, mode: 0o755 });
      build(onProgress);
    } catch (error) {
      throw asFileError(error, part, target);
    }
  });
}

/** Turns an error of the file system into one that names the target or the source; other errors pass. */
function asFileError(error: unknown, part: string, target: string): unknown {
  if (systemCode(error) === "") return error;
  const { path = part } = error as NodeJS.ErrnoException;
  return path.startsWith(part)
    ? fileError("OUTPUT_FAILED", target, error, { use: "write" })
    : fileError("CHECKPOINT_INVALID", path, error, { use: "read" });
}
