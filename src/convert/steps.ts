// Runs work on a checkpoint step by step and guesses the time left.

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../formats/bundle.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { hashFiles, sourceBytes } from "../formats/checkpoint-files.ts";
import { hashFile } from "../io/hash.ts";
import type { Progress } from "../types.ts";

/** No time left is given before this share is done: a guess would be too rough. */
const GUESS_AFTER_SHARE = 0.05;
/** Seconds that hashing 1e9 bytes takes. */
const HASH_COST = 0.6;

export interface Step {
  title: string;
  /** Seconds on some machine. They serve to guess the time left, so only their ratios matter. */
  cost: number;
  /** A long step calls `advance` repeatedly with the share that is done, 0 to 1. */
  run: (advance: (share: number) => void) => void;
}

export function runSteps(
  steps: readonly Step[],
  checkpoint: Checkpoint,
  onProgress: (progress: Progress) => void,
): void {
  const startedMs = performance.now();
  const total = steps.reduce((sum, { cost }) => sum + cost, 0);
  let before = 0;
  for (const { title, cost, run } of steps) {
    const report = (share: number) => {
      // Otherwise the pages of a checkpoint would pile up to its whole size.
      checkpoint.weights.release();
      checkpoint.codecWeights.release();
      const done = before + share * cost;
      const seconds = (performance.now() - startedMs) / 1000;
      const secondsLeft = done < GUESS_AFTER_SHARE * total ? undefined : (seconds * (total - done)) / done;
      onProgress({ step: title, done, total, secondsLeft });
    };
    report(0);
    run(report);
    before += cost;
    Bun.gc(true); // a step leaves hundreds of megabytes, which by themselves trigger no collection
  }
}

/**
 * Puts size and SHA-256 of every file in `folder` into `sums`.
 * @param bytes a guess of their total
 */
export function sumStep(folder: string, sums: Manifest["files"], bytes: number): Step {
  let done = 0;
  return {
    title: "sums of the bundle",
    cost: (HASH_COST * bytes) / 1e9,
    run: (advance) => {
      const add = (count: number) => {
        done += count;
        advance(Math.min(1, done / bytes));
      };
      for (const name of readdirSync(folder)) {
        const path = join(folder, name);
        sums[name] = { bytes: statSync(path).size, sha256: hashFile(path, add) };
      }
    },
  };
}

/** Puts size and SHA-256 of each source file into `hashes`. */
export function hashStep(source: string, hashes: Manifest["source"]): Step {
  const bytes = sourceBytes(source);
  let done = 0;
  return {
    title: "hashes of the source",
    cost: (HASH_COST * bytes) / 1e9,
    run: (advance) => {
      const add = (count: number) => {
        done += count;
        advance(done / bytes);
      };
      Object.assign(hashes, hashFiles(source, add));
    },
  };
}
