// Nothing is allocated per frame, whatever runs the code predictor, with drafts and without.

import { test } from "bun:test";
import { openOptions } from "../_support.ts";
import { bundle, type Combination, leavesNoTrace } from "./frames.ts";

const FRAMES = 4_000;

const combinations = ["llama", "ort"].map(
  (predictor): Combination => [predictor, "ort", FRAMES, () => openOptions(bundle())],
);
/** As if three rows were proven and paid: whether they give the same bits does not matter here. */
const speculating = (): ReturnType<typeof openOptions> => {
  const options = openOptions(bundle());
  const manifest = { ...options.bundle.manifest, predictorPassMs: { ort: [3, 2, 1] } };
  return { ...options, bundle: { ...options.bundle, manifest } };
};
combinations.push(["ort", "ort", FRAMES, speculating]);
test.each(combinations)("%s and %s: %d frames leave no trace in the heap", leavesNoTrace);
