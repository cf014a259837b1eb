// How the tensors of a model on Rockchip's NPU lie in memory, on the stand-in for its runtime: f32 that the
// runtime converts or f16 that this program converts, in plain rows or in rows with a length of their own.

import { heapStats } from "bun:jsc";
import { beforeAll, describe, expect, test } from "bun:test";
import { setEnvironment } from "../../../ffi/libc.ts";
import { TENSOR_CHOICES, type TensorType } from "../../../ffi/npu/model.ts";
import { loadRknn, openRknnModel } from "../../../ffi/npu/rknn.ts";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { compiler, compileStandIns, noCompiler, standInEnvironment } from "../../_standins.ts";
import { maxDifference } from "../../_support.ts";
import {
  doublingGraph,
  inputAt,
  liveObjects,
  modelFile,
  Reference,
  RKNN,
  runOf,
  statefulGraph,
  statefulOptions,
} from "./_card.ts";

/** Of values up to 5 after a rounding of inputs, states and outputs to f16. */
const HALF_ERROR = 5e-3;
const VARIANTS = TENSOR_CHOICES.flatMap((tensors) =>
  [false, true].map((paddedRows): [TensorType, string, boolean] => [
    tensors,
    paddedRows ? "rows of their own length" : "plain rows",
    paddedRows,
  ]),
);
const half = (value: number) => new Float16Array([value])[0];

describe.skipIf(compiler === null)(`tensors on Rockchip's NPU${noCompiler}`, () => {
  beforeAll(() => {
    for (const [name, value] of Object.entries(standInEnvironment())) setEnvironment(name, value);
    loadOnnxRuntime();
    loadRknn({ override: compileStandIns().rknn, allowStandIn: true });
  });

  const open = (tensors: TensorType, paddedRows: boolean, onnx = statefulGraph(), states = true) => {
    const path = modelFile(RKNN, `${tensors}-${paddedRows}-${states}`, onnx, { paddedRows });
    return openRknnModel({ ...statefulOptions(path, 2, states ? undefined : []), tensors });
  };

  test.each(VARIANTS)("%s in %s: each lane gives what ONNX Runtime gives", (tensors, _title, paddedRows) => {
    const references = [new Reference(), new Reference()];
    const before = liveObjects(RKNN);
    const model = open(tensors, paddedRows);
    for (let step = 0; step < 10; step++) {
      const lane = [0, 0, 1][step % 3];
      const given = runOf(model, lane, inputAt(step));
      const expected = references[lane].step(inputAt(step));
      model.keep();
      if (tensors === "f32") expect(given).toEqual(expected);
      expect(maxDifference(given, expected)).toBeLessThan(HALF_ERROR);
    }
    expect(model.save(0)[1]).toEqual(Float32Array.of(7, 7)); // both rows, and nothing of what pads them
    model.close();
    expect(model.inputs[0].data.length).toBe(0);
    expect(liveObjects(RKNN)).toEqual(before);
  });

  test.each(VARIANTS)("%s in %s: every value has its place", (tensors, _title, paddedRows) => {
    const values = Array.from({ length: 2 * 3 * 11 }, (_, i) => i / 8 - 3);
    const model = open(tensors, paddedRows, doublingGraph([2, 3, 11]), false);
    expect(runOf(model, 0, values)).toEqual(values.map((value) => 2 * value));
    model.close();
  });

  test("f16 rounds to the nearest, then to the even one, and what is too large becomes infinite", () => {
    const values = [1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -25, 3 * 2 ** -26, 40_000, -65_520];
    const model = open("f16", false, doublingGraph([1, 6]), false);
    expect(runOf(model, 0, values)).toEqual(values.map((value) => half(2 * half(value))));
    model.close();
  });

  test.each(VARIANTS)("%s in %s: runs leave no trace in the heap", (tensors, _title, paddedRows) => {
    const model = open(tensors, paddedRows);
    const runs = (count: number) => {
      for (let run = 0; run < count; run++) {
        model.run(run % 2);
        model.keep();
      }
    };
    runs(2_000);
    Bun.gc(true);
    const before = heapStats();
    runs(5_000);
    const after = heapStats();
    expect(after.heapCapacity - before.heapCapacity).toBeLessThan(4 * 16_384);
    expect(after.extraMemorySize - before.extraMemorySize).toBeLessThan(4 * 16_384);
    model.close();
  });
});
