// The merges of the text tokenizer (byte-level BPE), in ids. Those of a bundle are read where they lie in the
// mapped tokenizer.safetensors: opening it costs nothing for each of 151,000 pieces.

import { type MappedFile, mapFile } from "../../ffi/libc.ts";
import { BUNDLE_HINT, TtsError } from "../errors.ts";
import { type Bundle, bundlePath } from "./bundle.ts";
import { parseSafetensors, type Tensor } from "./safetensors.ts";

/** More than any model has. */
export const MOST_MERGES = 2 ** 20;

/** By their names in the file; all are I32. */
export interface MergeTables {
  /** [256]: the id of each byte's piece, -1 where the vocabulary has none. */
  bytes: Int32Array;
  /** [n, 2]: the ids of two pieces that join; pairs ascend and none comes twice. */
  merges: Int32Array;
  /** [n]: of two merges the one with the lower rank comes first; below {@link MOST_MERGES}. */
  ranks: Int32Array;
  /** [n]: the id of the joined piece. */
  results: Int32Array;
}

/** The shapes for `count` merges. */
export const mergeShapes = (count: number): Record<keyof MergeTables, number[]> => {
  return { bytes: [256], merges: [count, 2], ranks: [count], results: [count] };
};

/** Finds merges. One that is found has a rank and a result that may be used. */
export class Merges {
  constructor(
    readonly tables: MergeTables,
    private readonly textVocabulary: number,
    private readonly file: MappedFile | null = null,
  ) {}

  /**
   * Ids of merges are checked as they are found, the other ids here.
   * @throws TtsError BUNDLE_INVALID
   */
  static open(bundle: Bundle): Merges {
    const path = bundlePath(bundle, "tokenizer");
    const { textVocabulary } = bundle.manifest.shape;
    let file: MappedFile | null = null;
    try {
      file = mapFile(path);
      const tables = tablesIn(parseSafetensors(file.bytes, path), path);
      const wrong = tables.bytes.find((id) => id < -1 || id >= textVocabulary);
      if (wrong !== undefined) throw new Error(`${path}: a byte has the id ${wrong} of ${textVocabulary}`);
      return new Merges(tables, textVocabulary, file);
    } catch (cause) {
      file?.close();
      throw new TtsError("BUNDLE_INVALID", (cause as Error).message, BUNDLE_HINT, { cause });
    }
  }

  /**
   * The place of this pair in `ranks` and `results`, or -1.
   * @throws TtsError BUNDLE_INVALID
   */
  find(left: number, right: number): number {
    const { merges } = this.tables;
    let [low, high] = [0, merges.length / 2 - 1];
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = merges[2 * middle] - left || merges[2 * middle + 1] - right;
      if (order === 0) return this.checked(middle);
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  private checked(at: number): number {
    const [rank, result] = [this.tables.ranks[at], this.tables.results[at]];
    if (rank >= 0 && rank < MOST_MERGES && result >= 0 && result < this.textVocabulary) return at;
    const what = `${this.file?.path}: merge ${at} has the rank ${rank} and the id ${result}`;
    throw new TtsError("BUNDLE_INVALID", what, BUNDLE_HINT);
  }

  close(): void {
    this.file?.close();
  }
}

/** Views of the file. */
function tablesIn(tensors: Map<string, Tensor>, path: string): MergeTables {
  const count = tensors.get("ranks")?.shape[0] ?? 0;
  if (count > MOST_MERGES) throw new Error(`${path}: has ${count} merges, more than ${MOST_MERGES}`);
  const views = Object.entries(mergeShapes(count)).map(([name, shape]) => {
    const { bytes, dtype, offset, shape: found } = tensors.get(name) ?? {};
    if (dtype !== "I32" || found?.join() !== shape.join())
      throw new Error(`${path}: table ${name} is ${dtype} [${found}], not I32 [${shape}]`);
    if (offset! % 4 !== 0) throw new Error(`${path}: table ${name} lies at the odd byte ${offset}`);
    return [name, new Int32Array(bytes!.buffer, bytes!.byteOffset, bytes!.length / 4)];
  });
  return Object.fromEntries(views);
}
