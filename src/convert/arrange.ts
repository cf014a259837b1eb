// Puts the weights of a GGUF file in the order of this processor's kernels, in place.

import { closeSync, openSync, writeSync } from "node:fs";
import { mapFile } from "../../ffi/libc.ts";
import { LlamaModel } from "../../ffi/llama.ts";
import { type GgufTensor, parseGgufHead } from "../formats/gguf.ts";

/** @returns whether the file has another order now, and so needs `arranged` when it is opened */
export function arrangeGguf(path: string): boolean {
  const model = LlamaModel.open(path, { copied: true });
  try {
    const weights = model.arrangedWeights() ?? [];
    const places = new Map(tensorsIn(path).map((tensor) => [tensor.name, tensor]));
    const file = openSync(path, "r+");
    try {
      for (const { name, bytes } of weights) {
        const place = places.get(name)!;
        if (bytes.length > place.bytes) throw new RangeError(`${name} has grown to ${bytes.length} bytes`);
        for (let at = 0; at < bytes.length; )
          at += writeSync(file, bytes, at, bytes.length - at, place.at + at);
      }
    } finally {
      closeSync(file);
    }
    return weights.length > 0;
  } finally {
    model.close();
  }
}

function tensorsIn(path: string): GgufTensor[] {
  const file = mapFile(path);
  try {
    return parseGgufHead(file.bytes, path).tensors;
  } finally {
    file.close();
  }
}
