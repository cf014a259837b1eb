// The random checkpoint of full size, made once in the cache.

import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../config.ts";
import type { SyntheticSize } from "../../convert/synthetic.ts";
import { TtsError } from "../../errors.ts";
import { Draft } from "../../io/atomic.ts";
import { syntheticFolder } from "../../models/catalog.ts";
import { clearProgress, log, showProgress } from "../shared/log.ts";

/** Checkpoint and bundle together, with room to spare. */
const SYNTHETIC_BYTES: Record<SyntheticSize, number> = { "0.6b": 6e9, "1.7b": 13e9 };

/** Makes the checkpoint beside its place and renames it, so that an interrupted run leaves none. */
export async function syntheticCheckpoint(size: SyntheticSize): Promise<string> {
  const { isSyntheticCheckpoint, writeSyntheticCheckpoint } = await import("../../convert/synthetic.ts");
  const target = join(syntheticFolder(loadConfig().cacheDir), size);
  if (isSyntheticCheckpoint(target)) return target;
  rmSync(target, { recursive: true, force: true });
  mkdirSync(join(target, ".."), { recursive: true, mode: 0o700 });
  const { bavail, bsize } = statfsSync(join(target, ".."));
  if (bavail * bsize < SYNTHETIC_BYTES[size]) {
    throw new TtsError(
      "OUTPUT_FAILED",
      `a ${size} model of random weights needs ${SYNTHETIC_BYTES[size] / 1e9} GB in ${target}`,
      "free space, or set TTS_CACHE",
    );
  }
  log.info(`making a ${size} checkpoint of random weights in ${target}`);
  const draft = new Draft(target);
  try {
    writeSyntheticCheckpoint(draft.path, size, (done, total) => showProgress("random weights", done, total));
    draft.moveIntoPlace();
  } finally {
    draft.discard();
    clearProgress();
  }
  return target;
}
