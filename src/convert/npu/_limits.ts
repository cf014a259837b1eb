// Checks a vocoder's graph against an NPU's limits: its operators, and the largest tensor, kernel and
// dilation. The shapes of all values are derived from those of the inputs, operator by operator; only
// operators that such a graph has are known here.

import type { Graph, Node } from "../../formats/onnx.ts";

/** From the vendors' operator lists: RK3588 (toolkit 2.3.2) and AX650 (Pulsar2 7.0). */
const LIMITS = {
  size: 8_191,
  rank: 3,
  kernel: 31,
  depthwiseKernel: 8,
  dilation: 31,
  matrixDepth: 8_192,
} as const;
const OPERATORS = [
  ...["Add", "Clip", "Concat", "Conv", "Gemm", "Identity", "LayerNormalization", "MatMul", "Mul"],
  ...["Reshape", "Sigmoid", "Slice", "Softmax", "Sub", "Transpose"],
  ...["Div", "Erf"], // as parts of Gelu; RMSNorm divides too
];

type Shape = readonly number[];

/**
 * The first thing that is beyond the NPU, in words, or null.
 * @param operators the NPU's beyond those that all targets have
 */
export function beyondLimits(graph: Graph, operators: readonly string[]): string | null {
  const shapes = givenShapes(graph);
  for (const node of graph.nodes) {
    const wrong = wrongNode(node, [...OPERATORS, ...operators], shapes, graph);
    if (wrong !== null) return `${node.outputs[0]}: ${wrong}`;
    const result = resultShape(node, shapes, graph.integers);
    for (const output of node.outputs) shapes.set(output, result);
  }
  for (const [name, shape] of shapes) {
    if (shape.length > LIMITS.rank) return `${name} has ${shape.length} dimensions`;
    if (shape.some((size) => !(size <= LIMITS.size)))
      return `${name} is [${shape}], and no size may be above ${LIMITS.size}`;
  }
  return null;
}

/** The shapes of all values of a graph. */
export function shapesOf(graph: Graph): ReadonlyMap<string, Shape> {
  const shapes = givenShapes(graph);
  for (const node of graph.nodes)
    for (const output of node.outputs) shapes.set(output, resultShape(node, shapes, graph.integers));
  return shapes;
}

const givenShapes = (graph: Graph) =>
  new Map<string, Shape>(Array.from(graph.shapes, ([name, shape]) => [name, shape.map(Number)]));

/** A division of Gelu's, or by the root of a mean square. */
const mayDivide = (graph: Graph, { inputs, outputs }: Node) =>
  graph.nodes.some(({ type, ...node }) => {
    if (type === "Erf") return node.inputs[0] === outputs[0];
    return type === "Sqrt" && node.outputs[0] === inputs[1];
  });

function wrongNode(
  node: Node,
  known: readonly string[],
  shapes: Map<string, Shape>,
  graph: Graph,
): string | null {
  const { attributes, domain, inputs, type } = node;
  if (domain !== "" || !known.includes(type)) return `${type} is not one of its operators`;
  const unknown = inputs.find((input) => !shapes.has(input));
  if (unknown !== undefined) return `${unknown} comes from nowhere`;
  if (type === "Div" && !mayDivide(graph, node)) return "it divides";
  const [first, second] = inputs.map((input) => shapes.get(input)!);
  if ((type === "MatMul" || type === "Gemm") && first.at(-1)! > LIMITS.matrixDepth)
    return `a product of depth ${first.at(-1)}`;
  if (type !== "Conv") return null;
  const group = Number(attributes.group ?? 1);
  const [kernel, [dilation]] = [second[2], (attributes.dilations as number[] | undefined) ?? [1]];
  if (kernel > (group > 1 ? LIMITS.depthwiseKernel : LIMITS.kernel) || dilation > LIMITS.dilation)
    return `kernel ${kernel}, dilation ${dilation}`;
  const plain = (value: unknown, wanted: number) =>
    ((value as number[] | undefined) ?? [wanted]).every((entry) => entry === wanted);
  return plain(attributes.pads, 0) && plain(attributes.strides, 1) ? null : "it pads or strides";
}

function resultShape(
  { attributes, inputs, type }: Node,
  shapes: Map<string, Shape>,
  integers: ReadonlyMap<string, Shape>,
): Shape {
  const all = inputs.map((input) => shapes.get(input)!);
  const [first, second] = all;
  const numbers = (input: number) => integers.get(inputs[input])!;
  switch (type) {
    case "Concat": {
      const axis = ((attributes.axis as number) + first.length) % first.length;
      return first.with(
        axis,
        all.reduce((sum, shape) => sum + shape[axis], 0),
      );
    }
    case "Conv": {
      const [dilation] = (attributes.dilations as number[] | undefined) ?? [1];
      return [first[0], second[0], first[2] - (second[2] - 1) * dilation];
    }
    case "Gemm":
      return [first[0], attributes.transB === 1 ? second[0] : second[1]];
    case "MatMul":
      return [...first.slice(0, -1), second.at(-1)!];
    case "Reshape": {
      const wanted = numbers(1);
      const rest =
        first.reduce((product, size) => product * size, 1) /
        wanted.reduce((product, size) => product * Math.abs(size), 1);
      return wanted.map((size) => (size === -1 ? rest : size));
    }
    case "ReduceMean":
      return first.with(numbers(1)[0], 1); // one axis, from the end, and kept
    case "Slice": {
      const [[from], [to], [axis]] = [numbers(1), numbers(2), numbers(3)];
      const size = first[axis];
      return first.with(axis, Math.min(to, size) - (from < 0 ? Math.max(0, size + from) : from));
    }
    case "Transpose":
      return (attributes.perm as number[]).map((axis) => first[axis]);
    case "Add":
    case "Div":
    case "Mul":
    case "Sub":
      return broadcast(first, second);
    default:
      return first;
  }
}

function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const padded = (shape: Shape) => [...new Array<number>(rank - shape.length).fill(1), ...shape];
  const [left, right] = [padded(a), padded(b)];
  return left.map((size, axis) => Math.max(size, right[axis]));
}
