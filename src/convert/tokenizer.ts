// Writes tokenizer.safetensors: the merges of the text tokenizer in the order in which they are searched.

import { writeFileSync } from "node:fs";
import { safetensorsHeader, type TensorToWrite } from "../formats/safetensors.ts";
import { type MergeTables, mergeShapes } from "../formats/tokenizer.ts";
import { asBytes } from "../io/bytes.ts";

export function writeTokenizer(path: string, merges: MergeTables): void {
  const shapes = Object.entries(mergeShapes(merges.ranks.length)) as [keyof MergeTables, number[]][];
  const tensors = shapes.map(([name, shape]): TensorToWrite => {
    return { name, dtype: "I32", shape, chunks: () => [asBytes(merges[name])] };
  });
  writeFileSync(
    path,
    Buffer.concat([safetensorsHeader(tensors), ...tensors.flatMap(({ chunks }) => [...chunks()])]),
  );
}
