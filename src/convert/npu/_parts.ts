// What the conversions of vocoder and code predictor share: where the graph of a part lies, what it costs,
// and what the manifest says of it.

import { join } from "node:path";
import type { NpuPart } from "../../formats/npu-folder.ts";
import type { PartChain } from "./_chain.ts";

/** A guess, in seconds of a model of full size, as those beside it: only their ratios matter. */
export const GRAPH_COST = 4;
export const THREADS = 2;

const fileOf = (part: string) => `${part}.onnx`;
export const graphPath = (folder: string, part: string) => join(folder, fileOf(part));

export function describePart(chain: PartChain, index: number, name: string, runs: NpuPart["runs"]): NpuPart {
  return {
    file: fileOf(name),
    runs,
    inputs: chain.infos(index, "inputs"),
    outputs: chain.infos(index, "outputs"),
  };
}
