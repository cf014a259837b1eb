// What this program knows of a vendor's toolkit, which builds models from graphs. It was written from the
// vendors' documents and never tried with a toolkit or a device; the README of a folder says so.

import type { NpuManifest, NpuPart } from "../../formats/npu-folder.ts";
import type { RknnChip } from "../../npu-vendors.ts";
import type { CalibrationFormat } from "./_calibration.ts";

/** What the toolkit builds for. */
export type Build = Pick<NpuManifest, "chip" | "cores">;

export interface Toolkit {
  /** The target's operators beyond those that all targets have, see _limits.ts. */
  operators: readonly string[];
  calibration: CalibrationFormat;
  /** For the README: the device, how its models are built (`how`), and what users should know (`facts`). */
  device(chip: RknnChip | null): string;
  how: readonly string[];
  facts(chip: RknnChip | null): readonly string[];
  /** The toolkit's files to build the parts: path in the folder and content. */
  files(parts: readonly NpuPart[], build: Build): [path: string, text: string][];
}

/** A part's name: that of its graph file, without the suffix. */
export const partName = ({ file }: NpuPart) => file.replace(/\.onnx$/, "");
