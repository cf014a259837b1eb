// What the vocoder's graphs for NPUs hold as files: operators and sizes within the limits of both toolkits.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { vocoderNpuGraph } from "../../../src/convert/npu/vocoder.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { NPU_TARGETS, type NpuTarget } from "../../../src/npu-vendors.ts";
import { GOLDEN, scratchFolder } from "../../_support.ts";
import { type OnnxModel, readOnnx } from "../_onnx-model.ts";
import { fullSize } from "./_full-size.ts";

/** Nothing is scaled, and every Snake has the most folds. */
const RANGES = { scales: [1, 1, 1, 1, 1], folds: {} };

const SHARED_OPERATORS = [
  "Add",
  "Clip",
  "Concat",
  "Conv",
  "Div",
  "Erf",
  "Gemm",
  "Identity",
  "LayerNormalization",
  "MatMul",
  "Mul",
];
const OPERATORS: Record<NpuTarget, string[]> = {
  rknn: [
    ...SHARED_OPERATORS,
    ...[
      "Abs",
      "Pow",
      "ReduceMean",
      "Relu",
      "Reshape",
      "Sigmoid",
      "Slice",
      "Softmax",
      "Sqrt",
      "Sub",
      "Transpose",
    ],
  ],
  axcl: [...SHARED_OPERATORS, "Reshape", "Sigmoid", "Sin", "Slice", "Softmax", "Sub", "Transpose"],
};
/** Operator inputs that are parameters, not data. */
const PARAMETERS: Record<string, number[]> = { ReduceMean: [1], Reshape: [1], Slice: [1, 2, 3] };

describe.each(NPU_TARGETS)("what is written for %s", (target) => {
  let read: OnnxModel | undefined;
  const model = () => {
    if (read !== undefined) return read;
    const checkpoint = openCheckpoint(join(GOLDEN, "tiny-custom")); // no block of it is left out
    const path = join(scratchFolder(), `written-${target}.onnx`);
    vocoderNpuGraph(checkpoint, { frames: 4, target, end: "samples", ranges: RANGES }).savePortable(path);
    read = readOnnx(readFileSync(path));
    return read;
  };

  test("has only operators of its NPU, in an opset that both toolkits read", () => {
    const { nodes, opset } = model();
    expect(opset).toEqual({ "": 18 });
    expect(nodes.filter(({ domain, type }) => domain !== "" || !OPERATORS[target].includes(type))).toEqual(
      [],
    );
    const of = (wanted: string) => nodes.filter(({ type }) => type === wanted);
    // parts of Gelu, or by a root
    const roots = of("Sqrt").flatMap(({ outputs }) => outputs);
    const divisions = of("Div").filter(({ inputs }) => !roots.includes(inputs[1]));
    expect(of("Erf").flatMap(({ inputs }) => inputs)).toEqual(divisions.flatMap(({ outputs }) => outputs));
  });

  test("has names for all nodes, once each, and tensors whose names may be file names", () => {
    const { inputs, nodes, outputs } = model();
    const names = nodes.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(
      [...names, ...[...inputs, ...outputs].map(({ name }) => name)].filter(
        (name) => !/^[\w.]{1,40}$/.test(name),
      ),
    ).toEqual([]);
  });

  test("takes and gives f32 of fixed shapes, with at most three dimensions", () => {
    const { inputs, outputs } = model();
    expect(
      [...inputs, ...outputs].filter(
        ({ shape, type }) => type !== 1 || shape.length > 3 || shape.some((size) => size < 1),
      ),
    ).toEqual([]);
    expect(inputs.filter(({ name }) => name.startsWith("state.")).length).toBe(
      outputs.filter(({ name }) => name.startsWith("next.")).length,
    );
  });

  test("has whole numbers only as parameters of operators", () => {
    const { constants, nodes } = model();
    const used = nodes.flatMap(({ inputs, type }) =>
      inputs.map((input, i) => ({ input, isParameter: PARAMETERS[type]?.includes(i) ?? false })),
    );
    expect(
      used.filter(({ input, isParameter }) => isParameter !== (constants.get(input)?.type === 7)),
    ).toEqual([]);
    expect([...constants.values()].filter(({ type }) => type !== 1 && type !== 7)).toEqual([]);
  });

  test("pads and strides nothing, and its kernels and dilations are within the limits", () => {
    const { constants, nodes } = model();
    const convolutions = nodes.filter(({ type }) => type === "Conv");
    expect(convolutions.length).toBeGreaterThan(30);
    for (const { attributes, inputs } of convolutions) {
      const { dilations = [1], group = 1, kernel_shape: kernel, pads, strides } = attributes;
      expect([pads, strides]).toEqual([[0, 0], [1]]);
      expect(constants.get(inputs[1])!.shape[2]).toBe((kernel as number[])[0]);
      expect((kernel as number[])[0]).toBeLessThanOrEqual(Number(group) > 1 ? 8 : 31);
      expect((dilations as number[])[0]).toBeLessThanOrEqual(31);
    }
  });

  test("at full size, too, no size is beyond 8191", () => {
    const options = { target, end: "samples", ranges: RANGES } as const;
    expect(vocoderNpuGraph(fullSize(), { ...options, frames: 4 }).nodes.length).toBeGreaterThan(500);
    expect(() => vocoderNpuGraph(fullSize(), { ...options, frames: 5 })).toThrow(
      expect.objectContaining({
        code: "MODEL_UNSUITABLE",
        message: expect.stringMatching(/9600.*no size may be above 8191/),
      }),
    );
  });
});
