// Nothing is allocated per frame, whatever runs the code predictor.

import { test } from "bun:test";
import { openOptions } from "../_support.ts";
import { bundle, type Combination, leavesNoTrace } from "./frames.ts";

const FRAMES = 10_000;

const combinations = ["llama", "ort"].map(
  (predictor): Combination => [predictor, "ort", FRAMES, () => openOptions(bundle())],
);
test.each(combinations)("%s and %s: %d frames leave no trace in the heap", leavesNoTrace);
