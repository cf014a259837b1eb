// The code predictor as two graphs: its layers, with their KV cache in and out, and its heads. Embeddings and
// the input projection are in the bundle's tables: these graphs see only rows of the predictor's own width.

import { LIMITS, type WeightType } from "../../config.ts";
import type { Checkpoint, TransformerShape } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import { CODES_PER_FRAME, PREDICTOR_POSITIONS } from "../../types.ts";
import { type Product, reshape, slice, transpose } from "./layers.ts";
import { type Attend, BITS, product, rotaryRows, transformer } from "./transformer.ts";

/**
 * The layers. Inputs: `x` f32 [lanes, rows, hidden]; `last` i32 [1], the position after the last row;
 * `positions` i32 [1], a number larger by one; per layer L `past.k.L` and `past.v.L` f32 [1, lanes *
 * kvHeads, 17, headDim]. Outputs: `states` f32 [lanes * rows, hidden], after the final norm; `present.k.L`
 * and `present.v.L`, shaped as the past ones. Give both the same memory, and new rows are written in place.
 */
export function predictorLayersGraph(
  checkpoint: Checkpoint,
  type: WeightType,
  shared: Record<string, string>,
): Graph {
  const { weights, predictor: shape } = checkpoint;
  const { headDim, hidden } = shape;
  const g = new Graph({ name: "predictor", shared });
  const x = g.input("x", "f32", ["lanes", "rows", hidden]);
  const states = transformer(g, x, {
    ...{ prefix: "talker.code_predictor.model", weights, shape },
    cacheShape: [1, "heads", PREDICTOR_POSITIONS, headDim],
    attend: attention(g, x, shape),
    times: (value, weight) => product(g, value, weight, BITS[type]),
  });
  g.output("states", states, "f32", ["rows in all", hidden]);
  return g;
}

/**
 * The heads. Inputs: `hidden` f32 [rows, hidden], after the final norm; `group` i32 [1], 1 to 15. Outputs:
 * `logits` f32 [rows, codes].
 * @param rows 1 for a part of an NPU folder, whose shapes are fixed
 */
export function predictorHeadsGraph(checkpoint: Checkpoint, type: WeightType, rows: 1 | "rows"): Graph {
  const { codes, predictor } = checkpoint;
  const g = new Graph({ name: "predictor-heads" });
  const states = g.input("hidden", "f32", [rows, predictor.hidden]);
  const group = g.op("Cast", [g.input("group", "i32", [1])], { to: 7 });
  g.output(
    "logits",
    logitsOf(g, checkpoint, group, states, (value, weight) => product(g, value, weight, BITS[type])),
    "f32",
    [rows, codes],
  );
  return g;
}

/** Applies the head of `group`, i64 [1], to normed states. */
function logitsOf(
  g: Graph,
  { codes, predictor, weights }: Checkpoint,
  group: string,
  states: string,
  times: Product,
): string {
  const head = (index: number) =>
    weights.take(`talker.code_predictor.lm_head.${index - 1}.weight`, [codes, predictor.hidden]);
  return chooseHead(g, g.op("Squeeze", [group]), [1, CODES_PER_FRAME], (index) => times(states, head(index)));
}

/**
 * Attention of the rows of all lanes, as one sequence whose heads are those of all lanes:
 * GroupQueryAttention takes several rows of one sequence alone, and the lanes are always at the same
 * position. A spare row is added and thrown away, because on x64 a single row has a kernel of its own, which
 * rounds otherwise.
 */
function attention(g: Graph, x: string, { headDim, heads, kvHeads, ropeTheta }: TransformerShape): Attend {
  const { cos, sin } = rotaryRows(g, PREDICTOR_POSITIONS, headDim, ropeTheta);
  const [last, positions] = [g.input("last", "i32", [1]), g.input("positions", "i32", [1])];
  const sizes = g.op("Shape", [x], { end: 2 });
  const rows = slice(g, sizes, 0, 1);
  const isUpTo = Array.from({ length: LIMITS.lanes }, (_, count) =>
    g.op("LessOrEqual", [g.op("Squeeze", [slice(g, sizes, 0, 0, 1)]), g.ints([count], [])]),
  );
  const width = (heads + 2 * kvHeads) * headDim;
  const spare = g.values(new Float32Array(width), [1, 1, width]);
  /** @param qkv [1, rows, width of all lanes] */
  const attend = (qkv: string, spareRow: string, past: string[], count: number) => {
    const [mixed, ...present] = g.ortOps(
      "GroupQueryAttention",
      3,
      [g.op("Concat", [qkv, spareRow], { axis: 1 }), "", "", ...past, last, positions, cos, sin],
      { num_heads: count * heads, kv_num_heads: count * kvHeads, do_rotary: 1 },
    );
    return [slice(g, mixed, 1, 0, -1), ...present];
  };
  const alone = (parts: string[], past: string[]) =>
    attend(reshape(g, g.op("Concat", parts, { axis: 1 }), [1, -1, width]), spare, past, 1);
  const together = (parts: string[], past: string[], count: number) => {
    /** [lanes * rows, heads, headDim] -> [1, rows, lanes * heads * headDim] */
    const beside = (part: string, i: number) => {
      const wide = (i === 0 ? heads : kvHeads) * headDim;
      const shape = (sides: string[]) => g.op("Concat", sides, { axis: 0 });
      const apart = g.op("Reshape", [part, shape([sizes, g.ints([wide])])]);
      const joined = shape([g.ints([1]), rows, g.ints([count * wide])]);
      return g.op("Reshape", [transpose(g, apart, [1, 0, 2]), joined]);
    };
    const spareRow = g.op("Expand", [g.float(0), g.ints([1, 1, count * width])]);
    const qkv = g.op("Concat", parts.map(beside), { axis: 2 });
    const [mixed, ...present] = attend(qkv, spareRow, past, count);
    return [transpose(g, reshape(g, mixed, [-1, count, heads * headDim]), [1, 0, 2]), ...present];
  };
  return (parts: string[], past: string[]): string[] => {
    const from = (count: number): string[] =>
      count === LIMITS.lanes
        ? together(parts, past, count)
        : g.choose(
            isUpTo[count],
            () => (count === 1 ? alone(parts, past) : together(parts, past, count)),
            () => from(count + 1),
          );
    return from(1);
  };
}

/**
 * What `build` makes for `group`, one of `from` to below `to`. Nested branches halve the range until one
 * group is left, so only that one is computed.
 */
function chooseHead(
  g: Graph,
  group: string,
  [from, to]: [from: number, to: number],
  build: (group: number) => string,
): string {
  if (to - from === 1) return build(from);
  const middle = (from + to) >> 1;
  const isLow = g.op("Less", [group, g.ints([middle], [])]);
  const half = (range: [number, number]) => () => [chooseHead(g, group, range, build)];
  return g.choose(isLow, half([from, middle]), half([middle, to]))[0];
}
