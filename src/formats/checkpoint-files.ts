// Names and hashes the files of a checkpoint that decide what a bundle holds. It must be quick: every start
// compares them with the cached bundle.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, normalize, relative } from "node:path";
import { remedyFor } from "../../ffi/load/embedded.ts";
import { hashFile, newHash } from "../io/hash.ts";
import type { Manifest } from "./bundle.ts";
import { invalid, type JsonFile, readJson } from "./checkpoint-json.ts";

/** A voice that reads IPA has both. */
export const READING_FILES = ["lexicon.tsv", "letters.tsv"] as const;
/** Without these it is no checkpoint. */
export const REQUIRED_FILES = ["config.json", "speech_tokenizer/config.json"] as const;
/** The tokenizer is in the first two, or else in {@link WHOLE_TOKENIZER}. */
export const TOKENIZER_FILES = ["vocab.json", "merges.txt"] as const;
export const WHOLE_TOKENIZER = "tokenizer.json";
/** What a checkpoint may have beside its weights. */
export const OPTIONAL_FILES = [
  "generation_config.json",
  ...TOKENIZER_FILES,
  WHOLE_TOKENIZER,
  "tokenizer_config.json",
  "added_tokens.json",
  ...READING_FILES,
] as const;
/** Folders of a checkpoint that hold weights. */
export const WEIGHT_FOLDERS = ["", "speech_tokenizer"] as const;
const WEIGHTS = "model.safetensors";
const WEIGHTS_SUFFIX = ".safetensors";
const INDEX_SUFFIX = ".safetensors.index.json";
/** One of several files, as most programs name them. */
const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.safetensors$/;
/** More than any checkpoint has: a name may claim any number. */
const MOST_SHARDS = 1_000;
/** The suffix of weights compressed with zstd, as a binary carries them: at most a tenth of their size. */
export const PACKED_SUFFIX = ".zst";

/** The first of {@link REQUIRED_FILES} or of the tokenizer's that a checkpoint lacks, or null. */
export function missingFile(has: (name: string) => boolean): string | null {
  const tokenizer = has(WHOLE_TOKENIZER) ? [] : TOKENIZER_FILES;
  return [REQUIRED_FILES[0], ...tokenizer, ...REQUIRED_FILES].find((name) => !has(name)) ?? null;
}

/**
 * Finds the weights among the names in a folder: `model.safetensors`, plain or with {@link PACKED_SUFFIX},
 * the files of an index, one file of any name, or a numbered set.
 * @returns names of files, or of the index that names them; null where nothing says which files belong
 */
export function weightsAmong(names: readonly string[]): { files: string[] } | { index: string } | null {
  const whole = [WEIGHTS, WEIGHTS + PACKED_SUFFIX].find((name) => names.includes(name));
  if (whole !== undefined) return { files: [whole] };
  const indexes = names.filter((name) => name.endsWith(INDEX_SUFFIX));
  const index = indexes.length === 1 ? indexes[0] : `model${INDEX_SUFFIX}`;
  if (names.includes(index)) return { index };
  const files = names.filter((name) => name.endsWith(WEIGHTS_SUFFIX));
  const [, stem, , count] = SHARD.exec(files[0] ?? "") ?? [];
  const numbered = Array.from({ length: Math.min(Number(count ?? 0), MOST_SHARDS) }, (_, i) => {
    return `${stem}-${String(i + 1).padStart(5, "0")}-of-${count}${WEIGHTS_SUFFIX}`;
  });
  if (numbered.length > 0 && files.every((name) => numbered.includes(name))) return { files: numbered };
  return files.length === 1 ? { files } : null;
}

/**
 * The files that an index names, relative to its folder.
 * @throws TtsError CHECKPOINT_INVALID for names that lead out of it
 */
export function indexedFiles(index: JsonFile): string[] {
  const files = index
    .object("weight_map")
    .entries()
    .map(([tensor, file]) => {
      const path = typeof file === "string" ? normalize(file) : "";
      if (path === "" || path === "." || path.startsWith("..") || isAbsolute(path))
        throw index.wrong(`${tensor} is in ${JSON.stringify(file)}, which is no file of the checkpoint`);
      return path;
    });
  if (files.length === 0) throw index.wrong("weight_map names no file");
  return [...new Set(files)];
}

/** The weights in a folder. @throws TtsError CHECKPOINT_INVALID where a file is missing */
export function weightFiles(directory: string): string[] {
  const usual = join(directory, WEIGHTS);
  const found = weightsAmong(existsSync(directory) ? readdirSync(directory) : []);
  if (found === null) throw invalid(usual, "is missing", "the checkpoint is incomplete");
  const names = "index" in found ? indexedFiles(readJson(join(directory, found.index))) : found.files;
  const files = names.map((name) => join(directory, name));
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw invalid(missing, "is missing", "the checkpoint is incomplete");
  return files;
}

/**
 * Files whose content decides what a bundle holds, relative to the directory.
 * @throws TtsError CHECKPOINT_INVALID where one is a device or a pipe, which might never end
 */
export function sourceFiles(directory: string): string[] {
  const config = join(directory, REQUIRED_FILES[0]);
  if (!existsSync(config)) throw invalid(config, "is missing"); // no checkpoint at all
  const weights = WEIGHT_FOLDERS.flatMap((folder) =>
    weightFiles(join(directory, folder)).map((file) => relative(directory, file)),
  );
  const optional = OPTIONAL_FILES.filter((name) => existsSync(join(directory, name)));
  const files = [...REQUIRED_FILES, ...optional, ...weights];
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
      { bytes: content.length, sha256: newHash().update(content).digest("hex") },
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
