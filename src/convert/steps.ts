// Work on a checkpoint, step by step, with a guess of the time left.

import { statSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../formats/bundle.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { hashFiles, sourceFiles } from "../formats/checkpoint-files.ts";
import type { Progress } from "../types.ts";

/** Before this share is done nobody can tell how long the rest will take. */
const GUESS_AFTER_SHARE = 0.05;
/** Seconds that hashing 1e9 bytes takes. */
const HASH_COST = 0.6;

export interface Step {
  title: string;
  /** In seconds of some machine: only ratios matter, they make the time left a good guess. */
  cost: number;
  /** `advance` is told which share of the step is done, more than once if it takes long. */
  run: (advance: (share: number) => void) => void;
}

/** Does the steps in order. */
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
      // The pages of a checkpoint would else pile up to its whole size.
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
    Bun.gc(true); // what a step leaves is hundreds of megabytes that the collector does not see as pressing
  }
}

/** Puts what the source is made of into `hashes`. */
export function hashStep(source: string, hashes: Manifest["source"]): Step {
  const bytes = sourceFiles(source).reduce((sum, name) => sum + statSync(join(source, name)).size, 0);
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
