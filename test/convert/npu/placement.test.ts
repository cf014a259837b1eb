// Nothing of the vocoder's graphs waits for an RK3588's CPU, whatever their size and number of frames. This
// needs no toolkit: it goes by the table of _placement.ts.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { vocoderNpuGraph } from "../../../src/convert/npu/vocoder.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { Graph } from "../../../src/formats/onnx.ts";
import { GOLDEN, STARTER } from "../../_support.ts";
import { fullSize } from "./_full-size.ts";
import { onCpu } from "./_placement.ts";

const RANGES = { scales: [1, 1, 1, 1, 1], folds: {} };
const CHECKPOINTS = {
  starter: () => openCheckpoint(STARTER),
  tiny: () => openCheckpoint(join(GOLDEN, "tiny-custom")),
  "full size": fullSize,
};
const CASES = (["samples", "front"] as const).flatMap((end) =>
  [1, 2, 3, 4].map((frames) => [end, frames] as const),
);

describe.each(Object.entries(CHECKPOINTS))("%s", (_name, open) => {
  test.each(CASES)("to the %s, %d a run, leaves nothing to the CPU", (end, frames) => {
    const graph = vocoderNpuGraph(open(), { target: "rknn", end, frames, ranges: RANGES });
    expect(graph.nodes.length).toBeGreaterThan(20);
    expect(onCpu(graph)).toEqual([]);
  });
});

test("the table tells what the toolkit put on the CPU in earlier graphs", () => {
  const g = new Graph({ name: "earlier" });
  const x = g.op("Concat", [g.input("state.exit", "f32", [1, 96, 6]), g.input("x", "f32", [1, 96, 2])], {
    axis: 2,
  });
  const least = g.op("Min", [x, g.op("Max", [x, x])]);
  g.output("samples", g.op("Reshape", [g.op("Sin", [least]), g.ints([1, 192, 4])]), "f32", [1, 192, 4]);
  expect(onCpu(g)).toEqual([
    "state.exit [1,96,6]: rows of no multiple of 8",
    "x [1,96,2]: rows of no multiple of 8",
    "samples [1,192,4]: rows of no multiple of 8",
    "Max [1,96,8] -> [1,96,8]: not on the NPU",
    "Min [1,96,8] -> [1,96,8]: not on the NPU",
    "Sin [1,96,8] -> [1,96,8]: not on the NPU",
    "Reshape [1,96,8] -> [1,192,4]: rows of no multiple of 8",
  ]);
});
