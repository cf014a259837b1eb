// Which files of a checkpoint decide what a bundle holds, and their hashes. Light: every start compares them with the cached bundle.

import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Manifest } from "../bundle.ts";
import { invalid, readJson } from "./_json.ts";

export const CHECKPOINT_FILES = [
  "config.json",
  "generation_config.json",
  "vocab.json",
  "merges.txt",
  "tokenizer_config.json",
  "speech_tokenizer/config.json",
] as const;
/** Present together where a voice reads IPA. */
export const READING_FILES = ["lexicon.tsv", "letters.tsv"] as const;
/** Folders of a checkpoint that hold weights. */
const WEIGHT_FOLDERS = ["", "speech_tokenizer"] as const;
const HASH_BLOCK_BYTES = 1 << 22;

/** `model.safetensors`, or the shards that `model.safetensors.index.json` names. */
export function weightFiles(directory: string): string[] {
  const single = join(directory, "model.safetensors");
  if (existsSync(single)) return [single];
  const index = join(directory, "model.safetensors.index.json");
  if (!existsSync(index)) throw invalid(single, "is missing", "the checkpoint is incomplete");
  const shards = readJson(index).object("weight_map").entries();
  const files = [...new Set(shards.map(([, shard]) => join(directory, basename(String(shard)))))];
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw invalid(missing, "is missing", "the checkpoint is incomplete");
  return files;
}

/** Files whose content decides what a bundle holds, relative to the directory. */
export function sourceFiles(directory: string): string[] {
  const weights = WEIGHT_FOLDERS.flatMap((folder) => weightFiles(join(directory, folder)).map((file) => join(folder, basename(file))));
  const reading = READING_FILES.filter((name) => existsSync(join(directory, name)));
  return [...CHECKPOINT_FILES, ...reading, ...weights];
}

/** SHA-256 and size of each of them. */
export function hashFiles(source: string, onBytes: (count: number) => void = () => {}): Manifest["source"] {
  const entries = sourceFiles(source).map((name) => {
    const path = join(source, name);
    return [name, { bytes: statSync(path).size, sha256: hashFile(path, onBytes) }];
  });
  return Object.fromEntries(entries);
}

function hashFile(path: string, onBytes: (count: number) => void): string {
  const hash = createHash("sha256");
  const block = Buffer.alloc(HASH_BLOCK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let count = readSync(file, block); count > 0; count = readSync(file, block)) {
      hash.update(block.subarray(0, count));
      onBytes(count);
    }
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}
