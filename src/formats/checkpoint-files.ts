// Names and hashes the files of a checkpoint that decide what a bundle holds. It must be quick: every start
// compares them with the cached bundle.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { remedyFor } from "../../ffi/load/embedded.ts";
import { hashFile } from "../io/hash.ts";
import type { Manifest } from "./bundle.ts";
import { invalid, readJson } from "./checkpoint-json.ts";

export const CHECKPOINT_FILES = [
  "config.json",
  "generation_config.json",
  "vocab.json",
  "merges.txt",
  "tokenizer_config.json",
  "speech_tokenizer/config.json",
] as const;
/** A voice that reads IPA has both. */
export const READING_FILES = ["lexicon.tsv", "letters.tsv"] as const;
/** Folders of a checkpoint that hold weights. */
const WEIGHT_FOLDERS = ["", "speech_tokenizer"] as const;
/** The suffix of weights compressed with zstd, as a binary carries them: at most a tenth of their size. */
export const PACKED_SUFFIX = ".zst";

/**
 * `model.safetensors`, plain or with {@link PACKED_SUFFIX}, or the shards that `model.safetensors.index.json`
 * names.
 */
export function weightFiles(directory: string): string[] {
  const single = join(directory, "model.safetensors");
  const here = [single, single + PACKED_SUFFIX].find((file) => existsSync(file));
  if (here !== undefined) return [here];
  const index = join(directory, "model.safetensors.index.json");
  if (!existsSync(index)) throw invalid(single, "is missing", "the checkpoint is incomplete");
  const shards = readJson(index).object("weight_map").entries();
  const files = [...new Set(shards.map(([, shard]) => join(directory, basename(String(shard)))))];
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw invalid(missing, "is missing", "the checkpoint is incomplete");
  return files;
}

/**
 * Files whose content decides what a bundle holds, relative to the directory.
 * @throws TtsError CHECKPOINT_INVALID where one is a device or a pipe, which might never end
 */
export function sourceFiles(directory: string): string[] {
  const config = join(directory, CHECKPOINT_FILES[0]);
  if (!existsSync(config)) throw invalid(config, "is missing"); // no checkpoint at all
  const weights = WEIGHT_FOLDERS.flatMap((folder) =>
    weightFiles(join(directory, folder)).map((file) => join(folder, basename(file))),
  );
  const reading = READING_FILES.filter((name) => existsSync(join(directory, name)));
  const files = [...CHECKPOINT_FILES, ...reading, ...weights];
  for (const path of files.map((name) => join(directory, name)))
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false)
      throw invalid(path, "is no regular file", "copy the file itself");
  return files;
}

/** Total size of the source files. @throws TtsError CHECKPOINT_INVALID if one is missing */
export const sourceBytes = (directory: string) =>
  sourceFiles(directory).reduce((sum, name) => {
    const stat = statSync(join(directory, name), { throwIfNoEntry: false });
    if (stat === undefined)
      throw invalid(join(directory, name), "is missing", "the checkpoint is incomplete");
    return sum + stat.size;
  }, 0);

/**
 * SHA-256 and size of each source file. A packed file counts under its plain name, by its unpacked content.
 */
export function hashFiles(source: string, onBytes: (count: number) => void = () => {}): Manifest["source"] {
  const entries = sourceFiles(source).map((name) => {
    const path = join(source, name);
    if (!isPacked(name)) return [name, { bytes: statSync(path).size, sha256: hashFile(path, onBytes) }];
    const content = unpackedWeights(path);
    onBytes(statSync(path).size);
    return [
      name.slice(0, -PACKED_SUFFIX.length),
      { bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") },
    ];
  });
  return Object.fromEntries(entries);
}

export const isPacked = (path: string) => path.endsWith(PACKED_SUFFIX);

/**
 * The unpacked bytes of a packed file.
 * @throws TtsError CHECKPOINT_INVALID when it is damaged
 */
export function unpackedWeights(path: string): Uint8Array<ArrayBuffer> {
  try {
    return Bun.zstdDecompressSync(readFileSync(path)) as Buffer<ArrayBuffer>;
  } catch (cause) {
    throw invalid(
      path,
      `does not unpack (${(cause as Error).message})`,
      remedyFor(dirname(path)) ?? "copy the file again",
    );
  }
}
