// Nothing is allocated per frame on NPUs either. Runs on stand-ins for their libraries.

import { test } from "bun:test";
import { npuOptions, withManifest } from "../../_npu.ts";
import { compiler, noCompiler } from "../../_standins.ts";
import { bundle, type Combination, leavesNoTrace } from "../frames.ts";

/** Stand-ins take longer than the real libraries; this many frames still show 33 bytes a frame. */
const FRAMES = 2_000;

/** Random weights: their sound does not matter here. */
const HALVES = { tensors: "f16", selfTest: { file: "self-test.safetensors", leastSnrDb: 0 } };

const combinations: Combination[] = [
  ["ort", "rknn", FRAMES, () => npuOptions(bundle(), 1, "rknn", "rknn")],
  ["ort", "rknn", FRAMES, () => withManifest(npuOptions(bundle(), 1, "rknn", "rknn"), HALVES)],
  ["axcl", "axcl", FRAMES, () => npuOptions(bundle(), 1, "axcl", "axcl")],
  ["ort", "axengine", FRAMES, () => npuOptions(bundle(), 1, "axcl", "axEngine")],
];
test.skipIf(compiler === null).each(combinations)(
  `%s and %s: %d frames leave no trace in the heap${noCompiler}`,
  leavesNoTrace,
);
