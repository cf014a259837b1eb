// A worker makes a folder from a checkpoint. It writes the folder beside its place and renames it when it is
// whole, so an interruption leaves nothing. Progress, Ctrl-C and timers go on meanwhile.

import { existsSync, mkdirSync } from "node:fs";
import { TtsError } from "../errors.ts";
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
    if (!finishedByAnother)
      throw new TtsError(
        "OUTPUT_FAILED",
        `cannot move the new folder to ${target}: ${(cause as Error).message}`,
        "",
        { cause },
      );
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
      throw asOutputError(error, target);
    }
  });
}

/** Turns a failed write into an error that names the target and says what to do; other errors pass. */
function asOutputError(error: unknown, target: string): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const hints: Record<string, string> = {
    ENOSPC: "free disk space",
    EACCES: "choose a folder you may write to",
    EROFS: "choose a writable disk",
    EDQUOT: "free disk space",
  };
  if (!(code in hints) && code !== "ENOTDIR" && code !== "EEXIST") return error;
  return new TtsError(
    "OUTPUT_FAILED",
    `cannot write ${target}: ${(error as Error).message}`,
    hints[code] ?? "",
    {
      cause: error,
    },
  );
}
