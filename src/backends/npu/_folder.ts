// Where a bundle's models for an NPU lie, and whether they belong to the bundle.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { StatePair } from "../../../ffi/npu/model.ts";
import { TtsError } from "../../errors.ts";
import {
  assertNpuFolderFits,
  assertNpuFolderSuits,
  NPU_IN_BUNDLE,
  NPU_MANIFEST,
  type NpuFolder,
  type NpuPart,
  openNpuFolder,
} from "../../formats/npu-folder.ts";
import { jsonOrNull } from "../../io/read.ts";
import { chipOf } from "../../machine/board.ts";
import type { NpuTarget } from "../../npu-vendors.ts";
import { NEXT, STATE } from "../../types.ts";
import type { OpenOptions } from "../stage.ts";

const folderOf = ({ bundle, config }: OpenOptions) => config.npu || join(bundle.directory, NPU_IN_BUNDLE);

/** Whether there are models for that NPU. A manifest that cannot be read counts: opening it reports why. */
export function hasModelsFor(options: OpenOptions, target: NpuTarget): boolean {
  const path = join(folderOf(options), NPU_MANIFEST);
  if (!existsSync(path)) return false;
  const manifest = jsonOrNull(path) as NpuFolder["manifest"] | null;
  return manifest === null || manifest.target === target;
}

/**
 * @param root of the file system, which names the board's chip; tests pass another one
 * @throws TtsError NPU_MODEL_INVALID
 */
export function openFolder(options: OpenOptions, target: NpuTarget, root = "/"): NpuFolder {
  const folder = openNpuFolder(folderOf(options), target);
  assertNpuFolderFits(folder, options.bundle);
  assertNpuFolderSuits(folder, chipOf(root));
  return folder;
}

/** What a part keeps from one run to the next. */
export const statesOf = (part: NpuPart): StatePair[] =>
  part.inputs
    .filter(({ name }) => name.startsWith(STATE))
    .map(({ name }) => [name, NEXT + name.slice(STATE.length)]);

/** The error for a built model that does not match its graph. */
export const unfit = (path: string, what: string) =>
  new TtsError("NPU_MODEL_INVALID", `${path}: ${what}`, "build it again from the graph beside it");
