// What the conversions of vocoder and code predictor share: the place of a part's graph, its cost, and its
// entry in the manifest.

import { join } from "node:path";
import type { NpuPart } from "../../formats/npu-folder.ts";
import type { PartChain } from "./_chain.ts";

/** Guessed seconds for one graph of a full-size model. Only the ratio to other costs matters. */
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
