// Where rknn-toolkit2 2.5.0 puts the operators of the vocoder's graphs on an RK3588, by type and shapes. It
// was read in the toolkit's own table of operators; `make npu-check` compares the two.

import { shapesOf } from "../../../src/convert/npu/_limits.ts";
import type { Graph, Node } from "../../../src/formats/onnx.ts";

type Shape = readonly number[];
/** Why the operator runs on the CPU, or null where it runs on the NPU. */
type Placement = (input: Shape, output: Shape, producer: string | undefined) => string | null;

const ON_NPU: Placement = () => null;
/** The NPU reshapes rows of this many numbers, and of whole multiples. */
const ROW = 8;
const isWhole = (shape: Shape) => shape.at(-1)! % ROW === 0;
const trimmed = (shape: Shape) => shape.slice(shape.findIndex((size) => size !== 1)).join();

/**
 * A Reshape that adds or removes leading ones alone is taken out. One behind a Transpose becomes a Gather
 * along the new rows.
 */
const reshaped: Placement = (input, output, producer) => {
  const isFree = trimmed(input) === trimmed(output);
  const fits = isWhole(output) && (isWhole(input) || producer === "Transpose");
  return isFree || fits ? null : "rows of no multiple of 8";
};

/** All else runs on the CPU: Min, Max, Sin, Exp, Log, Floor, Round, Sign, Reciprocal, ReduceMax, Tile ... */
const PLACEMENTS: Readonly<Record<string, Placement>> = {
  ...Object.fromEntries(
    [
      ...["Abs", "Add", "Clip", "Concat", "Conv", "Gemm", "Identity", "LayerNormalization", "MatMul", "Mul"],
      ...["Relu", "Sigmoid", "Slice", "Softmax", "Sub"],
      ...["Div", "Erf"], // of Gelu
      ...["Pow", "ReduceMean", "Sqrt"], // of RMSNorm
    ].map((type) => [type, ON_NPU]),
  ),
  Reshape: reshaped,
  Transpose: ([rows, ...rest], _output, producer) =>
    producer === "Reshape" && rows === 2 && rest.length === 1 ? "rows that become two moments" : null,
};

/** The operators that would run on the CPU, each with its shapes and the cause. */
export function onCpu(graph: Graph): string[] {
  const shapes = shapesOf(graph);
  const shapeOf = (name: string) => shapes.get(name) ?? [];
  const edges = [...graph.shapes.keys()].filter((name) => /^(state\.|[a-z]+$)/.test(name));
  const outputs = graph.nodes.filter(({ type }) => type === "Identity").map((node) => node.outputs[0]);
  const atEdges = [...edges, ...outputs].flatMap((name) => {
    const shape = shapeOf(name);
    return isWhole(shape) ? [] : [`${name} [${shape}]: rows of no multiple of 8`];
  });
  const producers = new Map(graph.nodes.map(({ outputs: [output], type }) => [output, type]));
  const inside = graph.nodes.flatMap(({ inputs: [first], outputs: [last], type }: Node) => {
    const [input, output] = [shapeOf(first), shapeOf(last)];
    const cause = (PLACEMENTS[type] ?? (() => "not on the NPU"))(input, output, producers.get(first));
    return cause === null ? [] : [`${type} [${input}] -> [${output}]: ${cause}`];
  });
  return [...atEdges, ...inside];
}
