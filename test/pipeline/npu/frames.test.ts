// Nothing is allocated per frame on NPUs either. Runs on stand-ins for their libraries.

import { test } from "bun:test";
import { npuOptions } from "../../_npu.ts";
import { compiler, noCompiler } from "../../_standins.ts";
import { bundle, type Combination, leavesNoTrace } from "../frames.ts";

/** Stand-ins take longer than the real libraries; this many frames still show 33 bytes a frame. */
const FRAMES = 2_000;

const combinations: Combination[] = [
  ["ort", "rknn", FRAMES, () => npuOptions(bundle(), 1, "rknn", "rknn")],
  ["axcl", "axcl", FRAMES, () => npuOptions(bundle(), 1, "axcl", "axcl")],
  ["ort", "axengine", FRAMES, () => npuOptions(bundle(), 1, "axcl", "axEngine")],
];
test.skipIf(compiler === null).each(combinations)(
  `%s and %s: %d frames leave no trace in the heap${noCompiler}`,
  leavesNoTrace,
);
