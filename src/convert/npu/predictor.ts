// The code predictor for NPUs: f32, fixed shapes, standard operators. There are two graphs, and a device runs
// one of them: a step, with sampling and heads on the CPU, or a whole frame with everything inside. They
// share the layers (_predictor-layers.ts) and depend on no vendor.

import type { Checkpoint } from "../../formats/checkpoint.ts";
import { Graph } from "../../formats/onnx.ts";
import type { Tensor } from "../../formats/safetensors.ts";
import { CODES_PER_FRAME, NEXT, STATE } from "../../types.ts";
import { linear, reshape, slice } from "../onnx/layers.ts";
import { type Pass, PredictorLayers, rotaryOf } from "./_predictor-layers.ts";

/**
 * Rows of a step. A frame begins with two; for a device that mostly waits for weights, a second row costs
 * next to nothing.
 */
const STEP_ROWS = 2;
/** The largest top-k that a frame's graph supports. */
const MAX_TOP_K = 64;

/**
 * The sum through the layers reaches 1.5e5 in official models; half precision ends at 6.5e4. A sixteenth
 * leaves room on both sides.
 */
const SCALE = 2 ** -4;
/** Below every logit, and within half precision. */
const NEVER = -20_000;
const GROUPS = CODES_PER_FRAME - 1;

/**
 * One step of a frame: one row, or two at its beginning. The caller does sampling, heads and embeddings.
 *
 * Inputs: `x` f32 [2, hidden], the rows; `position` f32 [2, 16], with a 1 at each row's position; a row of
 * zeros means the row is ignored, which the last row must not be. Per layer L `state.k.L` and `state.v.L` f32
 * [kvHeads, 16, headDim]: only positions up to the row's own are read, so what an earlier frame left needs no
 * clearing. Outputs: `hidden` f32 [1, hidden], the last row after the final norm, for the heads; `next.k.L`
 * and `next.v.L`.
 * @param scale scales the sum through the layers; only tests set it
 */
export function predictorStepGraph(
  checkpoint: Checkpoint,
  shared: Record<string, string>,
  scale = SCALE,
): Graph {
  const { headDim, heads, hidden, kvHeads } = checkpoint.predictor;
  const g = new Graph({ name: "predictor-step", shared });
  const layers = new PredictorLayers(g, checkpoint, scale);
  const x = g.input("x", "f32", [STEP_ROWS, hidden]);
  const position = g.input("position", "f32", [STEP_ROWS, CODES_PER_FRAME]);
  const window = [kvHeads, CODES_PER_FRAME, headDim];
  const tables = rotaryOf(g, checkpoint.predictor, 0, CODES_PER_FRAME, [CODES_PER_FRAME, headDim / 2]);
  const row = (table: string) => reshape(g, g.op("MatMul", [position, table]), [STEP_ROWS, 1, headDim / 2]);
  const slots = g
    .ops("Split", STEP_ROWS, [position], { axis: 0, num_outputs: STEP_ROWS })
    .map((slot) => reshape(g, slot, [1, CODES_PER_FRAME, 1]));
  const others = slots.reduce((rest, slot) => g.op("Sub", [rest, slot]), g.float(1));
  const sharers = heads / kvHeads; // query heads per key head
  const blockedFrom = g.values(laterPositions(CODES_PER_FRAME, 1, layers.blocked), [
    CODES_PER_FRAME,
    CODES_PER_FRAME,
  ]);
  const perRow = reshape(g, g.op("MatMul", [position, blockedFrom]), [STEP_ROWS, 1, CODES_PER_FRAME]);
  const mask = reshape(g, g.op("Expand", [perRow, g.ints([STEP_ROWS, sharers, CODES_PER_FRAME])]), [
    1,
    STEP_ROWS * sharers,
    CODES_PER_FRAME,
  ]);
  /** The sum of 1 times one row and 0 times the others is that row to the bit. */
  const keep: Pass["keep"] = (part, layer, rows) => {
    const state = g.input(`${STATE}${part}.${layer}`, "f32", window);
    const next = rows.reduce(
      (sum, value, i) => g.op("Add", [sum, g.op("Mul", [value, slots[i]])]),
      g.op("Mul", [state, others]),
    );
    g.output(`${NEXT}${part}.${layer}`, next, "f32", window);
    return next;
  };
  const h = layers.pass(layers.enter(x), {
    rows: STEP_ROWS,
    rotary: { cos: row(tables.cos), sin: row(tables.sin) },
    mask,
    keep,
  });
  g.output("hidden", layers.leave(slice(g, h, 0, STEP_ROWS - 1)), "f32", [1, hidden]);
  return g;
}

/** A mask [positions * each, positions]: `each` rows per position, with `blocked` at all later positions. */
function laterPositions(positions: number, each: number, blocked: number): Float32Array {
  const isLater = (i: number) => i % positions > Math.floor(i / (positions * each));
  return Float32Array.from({ length: positions ** 2 * each }, (_, i) => (isLater(i) ? blocked : 0));
}

/**
 * All 15 codes of a frame, drawn inside the graph. The code with the largest logit / temperature + noise,
 * where noise is -ln(-ln u) with independent uniform 0 < u < 1, is a draw from the softmax at that
 * temperature.
 *
 * Inputs: `x` f32 [2, hidden], the first two rows; `noise` f32 [15, codes], all zeros to take the likeliest
 * codes; `sharpness` f32 [1, 1], 1 / temperature; `limit` f32 [1, L + 1] with L = min(64, codes), all zeros
 * but one 1: at k - 1 it limits the choice to the k best (equals of the k-th stay), at L it sets no limit.
 * Outputs: `codes` f32 [15], whole numbers; `logits` f32 [15, codes], as the heads gave them.
 */
export function predictorFrameGraph(
  checkpoint: Checkpoint,
  shared: Record<string, string>,
  scale = SCALE,
): Graph {
  const { codes, predictor: shape } = checkpoint;
  const { headDim, heads, hidden, kvHeads } = shape;
  const sharers = heads / kvHeads;
  const g = new Graph({ name: "predictor-frame", shared });
  const layers = new PredictorLayers(g, checkpoint, scale);
  const choice = new Choice(g, codes);
  const input = inputRows(g, checkpoint);
  const memory = new Map<string, string>();
  const keep: Pass["keep"] = (part, layer, rows) => {
    const before = memory.get(`${part}.${layer}`);
    const all = g.op("Concat", before === undefined ? rows : [before, ...rows], { axis: 1 });
    memory.set(`${part}.${layer}`, all);
    return all;
  };
  let x = g.input("x", "f32", [STEP_ROWS, hidden]);
  const drawn: string[] = [];
  const logits: string[] = [];
  for (let group = 1; group <= GROUPS; group++) {
    const rows = group === 1 ? STEP_ROWS : 1;
    const rotary = rotaryOf(g, shape, group + 1 - rows, group + 1, [rows, 1, headDim / 2]);
    const mask =
      rows === 1 ? null : g.values(laterPositions(rows, sharers, layers.blocked), [1, rows * sharers, rows]);
    const h = layers.pass(layers.enter(x), { rows, rotary, mask, keep });
    const last = rows === 1 ? h : slice(g, h, 0, rows - 1);
    const head = checkpoint.weights.take(`talker.code_predictor.lm_head.${group - 1}.weight`, [
      codes,
      hidden,
    ]);
    logits.push(linear(g, layers.leave(last), head));
    const code = choice.draw(logits[group - 1], group);
    drawn.push(g.op("Cast", [code], { to: 1 }));
    if (group < GROUPS) x = input(group, code); // code 15 is only fed back to the talker
  }
  g.output("codes", g.op("Concat", drawn, { axis: 0 }), "f32", [GROUPS]);
  g.output("logits", g.op("Concat", logits, { axis: 0 }), "f32", [GROUPS, codes]);
  return g;
}

/** Draws codes with temperature, limit and noise. */
class Choice {
  private readonly noise: string[];
  private readonly sharpness: string;
  private readonly limit: string;
  private readonly most: number;

  constructor(
    private readonly g: Graph,
    codes: number,
  ) {
    this.most = Math.min(MAX_TOP_K, codes);
    this.noise = g.ops("Split", GROUPS, [g.input("noise", "f32", [GROUPS, codes])], {
      axis: 0,
      num_outputs: GROUPS,
    });
    this.sharpness = g.input("sharpness", "f32", [1, 1]);
    this.limit = g.input("limit", "f32", [1, this.most + 1]);
  }

  /** `logits` [1, codes] -> i64 [1] */
  draw(logits: string, group: number): string {
    const { g, limit, most, noise, sharpness } = this;
    const [best] = g.ops("TopK", 2, [logits, g.ints([most])], { axis: -1, largest: 1, sorted: 1 });
    const thresholds = g.op("Concat", [best, g.values(Float32Array.of(NEVER), [1, 1])], { axis: 1 });
    const threshold = g.op("ReduceSum", [g.op("Mul", [thresholds, limit]), g.ints([-1])], { keepdims: 1 });
    const scores = g.op("Add", [g.op("Mul", [logits, sharpness]), noise[group - 1]]);
    const kept = g.op("Where", [g.op("GreaterOrEqual", [logits, threshold]), scores, g.float(NEVER)]);
    return g.op("ArgMax", [kept], { axis: -1, keepdims: 0 });
  }
}

/** The input row [1, hidden] of a group's code, i64 [1]. */
function inputRows(
  g: Graph,
  { codes, predictor, talker, weights }: Checkpoint,
): (group: number, code: string) => string {
  const name = "talker.code_predictor";
  const projection = `${name}.small_to_mtp_projection`;
  let project: (row: string) => string = (row) => row;
  if (weights.has(`${projection}.weight`)) {
    const weight = weights.take(`${projection}.weight`, [predictor.hidden, talker.hidden]);
    const bias = weights.take(`${projection}.bias`, [predictor.hidden]);
    project = (row) => linear(g, row, weight, bias);
  }
  const table = (group: number): Tensor =>
    weights.take(`${name}.model.codec_embedding.${group - 1}.weight`, [codes, talker.hidden]);
  return (group, code) => project(g.op("Gather", [g.tensor(table(group)), code], { axis: 0 }));
}
