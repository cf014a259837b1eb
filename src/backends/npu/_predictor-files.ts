// Which form of the code predictor was built for an NPU, and its files.

import type { NpuModel } from "../../../ffi/npu/model.ts";
import { TtsError } from "../../errors.ts";
import { type NpuFolder, type NpuPart, npuPartPath } from "../../formats/npu-folder.ts";
import type { NpuTarget } from "../../npu-vendors.ts";
import type { OpenOptions } from "../stage.ts";
import { openFolder, unfit } from "./_folder.ts";

/** A part and the file that runs it. */
export interface PartFile {
  part: NpuPart;
  path: string;
}

export type BuiltPredictor =
  | { kind: "frame"; frame: PartFile }
  | { kind: "step"; step: PartFile; heads: PartFile };

/** @throws TtsError NPU_MODEL_INVALID */
export function findPredictor(options: OpenOptions, target: NpuTarget): BuiltPredictor {
  const folder = openFolder(options, target);
  const { frame, heads, step } = folder.manifest.predictor;
  if (frame === null || step === null || heads === null) {
    throw new TtsError(
      "NPU_MODEL_INVALID",
      `${folder.directory} has no code predictor`,
      "use {predictor} ort or llama",
    );
  }
  if (!isBuilt(folder, frame) && isBuilt(folder, step))
    return { kind: "step", step: fileOf(folder, step), heads: fileOf(folder, heads) };
  return { kind: "frame", frame: fileOf(folder, frame) };
}

const fileOf = (folder: NpuFolder, part: NpuPart): PartFile => ({ part, path: npuPartPath(folder, part) });

function isBuilt(folder: NpuFolder, part: NpuPart): boolean {
  try {
    npuPartPath(folder, part);
    return true;
  } catch {
    return false;
  }
}

/**
 * The memory of a tensor.
 * @param length number of values that it must have
 * @throws TtsError NPU_MODEL_INVALID
 */
export function tensorOf(
  model: NpuModel,
  side: "inputs" | "outputs",
  name: string,
  length: number,
  path: string,
): Float32Array {
  const data = model[side].find((tensor) => tensor.name === name)?.data;
  if (data?.length === length) return data;
  const is = data === undefined ? "is missing" : `has ${data.length} values, not ${length}`;
  throw unfit(path, `its ${name} ${is}`);
}
