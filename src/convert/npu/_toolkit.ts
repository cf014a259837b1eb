// What a vendor's toolkit, which builds models of graphs, is to this program. Written from the vendors'
// documents; nothing of it has met a toolkit or a device, and the README of a folder says so.

import type { NpuPart } from "../../formats/npu-folder.ts";
import type { CalibrationFormat } from "./_calibration.ts";

export interface Toolkit {
  /** Operators that the target has beside those of all of them, see _limits.ts. */
  operators: readonly string[];
  calibration: CalibrationFormat;
  /** For the README: whom the models are for, how they are built, and what is to be known of them. */
  device: string;
  how: readonly string[];
  facts: readonly string[];
  /** What it is given to build the parts: path in the folder and content. */
  files(parts: readonly NpuPart[]): [path: string, text: string][];
}

/** A part's name: that of its graph, without the suffix. */
export const partName = ({ file }: NpuPart) => file.replace(/\.onnx$/, "");
