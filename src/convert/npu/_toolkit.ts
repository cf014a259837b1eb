// What this program knows of a vendor's toolkit, which builds models from graphs.

import type { NpuManifest, NpuPart } from "../../formats/npu-folder.ts";
import type { RknnChip } from "../../npu-vendors.ts";
import type { NpuLayout } from "../onnx/vocoder.ts";

/** What a graph is made of where the vendors differ. */
export interface GraphStyle extends NpuLayout {
  /** Whether the NPU computes sines. If not, they are made of other operators. */
  hasSine: boolean;
  /**
   * Whether the toolkit makes one operator of an RMSNorm as it is written. If not, it is LayerNormalization
   * of [x, -x], whose mean is zero.
   */
  fusesRmsNorm: boolean;
}

/** What the toolkit builds for. */
export type Build = Pick<NpuManifest, "chip" | "cores">;

export interface Toolkit {
  /** The target's operators beyond those that all targets have, see _limits.ts. */
  operators: readonly string[];
  style: GraphStyle;
  /** Whether it quantises, and measures the ranges of all values on calibration inputs. */
  calibrates: boolean;
  /**
   * For the README: the device, how its models are built (`how`), what was tried beyond ONNX Runtime, and
   * what users should know (`facts`).
   */
  device(chip: RknnChip | null): string;
  tried: string;
  how: readonly string[];
  facts(chip: RknnChip | null): readonly string[];
  /** The toolkit's files to build the parts: path in the folder and content. */
  files(parts: readonly NpuPart[], build: Build): [path: string, text: string][];
}

/** A part's name: that of its graph file, without the suffix. */
export const partName = ({ file }: NpuPart) => file.replace(/\.onnx$/, "");
