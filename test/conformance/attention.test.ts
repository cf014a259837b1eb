// Both talkers give the alignment head's scores: those that the checkpoint's weights give by plain
// arithmetic. Watching changes no bit, and a recalled prompt is watched as one that was computed.

import { describe, expect, test } from "bun:test";
import type { Talker } from "../../src/backends/stage.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { type Checkpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import { toFloat32 } from "../../src/formats/safetensors.ts";
import { Embedder } from "../../src/stages/embed.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import { maxDifference, openOptions, STARTER, sharedFloats, starterCases, starterRun } from "../_support.ts";

/** Scores lie between about -20 and 20. */
const MAX_ERROR = 1e-3;

const run = starterRun(starterCases()[0]);
const { alignment } = run.bundle.manifest;
const embedder = new Embedder(run.bundle);
const width = embedder.hidden;
const [from, end] = [run.prompt.prefixRows, run.prompt.rows.length];
const tokens = end - 1 - from;
const codes = run.golden.ints("codes");
const frames = codes.length / CODES_PER_FRAME;
/** f32 [prompt and frames, hidden] */
const rows = allRows();

function allRows(): Float32Array {
  const all = sharedFloats((end + frames) * width);
  all.set(embedder.prompt(run.prompt.rows, run.voice));
  for (let frame = 0; frame < frames; frame++) {
    const at = (end + frame) * width;
    embedder.feedback(codes, frame * CODES_PER_FRAME, all, at);
    embedder.addText(run.bundle.manifest.prompt.text.ttsPad, all, at);
  }
  return all;
}

/** Of every row of `x` [rows, in]: its product with a weight [out, in]. */
function times(x: Float32Array, weight: Float32Array, out: number): Float32Array {
  const size = weight.length / out;
  return Float32Array.from({ length: (x.length / size) * out }, (_, i) => {
    const [row, column] = [Math.floor(i / out), i % out];
    let sum = 0;
    for (let d = 0; d < size; d++) sum += x[row * size + d] * weight[column * size + d];
    return sum;
  });
}

function norm(x: Float32Array, weight: Float32Array, eps: number): Float32Array {
  const size = weight.length;
  const scales = Array.from({ length: x.length / size }, (_, row) => {
    const squares = x.subarray(row * size, (row + 1) * size).reduce((sum, value) => sum + value * value, 0);
    return 1 / Math.sqrt(squares / size + eps);
  });
  return x.map((value, i) => value * scales[Math.floor(i / size)] * weight[i % size]);
}

/** [rows, heads, dim], each rotated by the place of its row. */
function rotated(x: Float32Array, heads: number, dim: number, theta: number): Float32Array {
  return x.map((value, i) => {
    const d = i % dim;
    const angle = Math.floor(i / (heads * dim)) * theta ** ((-2 * (d % (dim / 2))) / dim);
    const other = d < dim / 2 ? -x[i + dim / 2] : x[i - dim / 2];
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** Scores of the alignment head in row `row` for the text's positions, by the weights alone. */
function reference({ talker: shape, weights }: Checkpoint): (row: number) => Float32Array {
  const { headDim: dim, heads, hidden, intermediate, kvHeads, rmsEps, ropeTheta } = shape;
  const { head, keyHead, layer: watched } = alignment!;
  let x = rows;
  for (let layer = 0; ; layer++) {
    const take = (part: string, size: number[]) =>
      toFloat32(weights.take(`talker.model.layers.${layer}.${part}.weight`, size));
    const project = (part: "q" | "k" | "v", count: number) =>
      times(normed, take(`self_attn.${part}_proj`, [count * dim, hidden]), count * dim);
    const turned = (part: "q" | "k", count: number) =>
      rotated(
        norm(project(part, count), take(`self_attn.${part}_norm`, [dim]), rmsEps),
        count,
        dim,
        ropeTheta,
      );
    const normed = norm(x, take("input_layernorm", [hidden]), rmsEps);
    const [query, key] = [turned("q", heads), turned("k", kvHeads)];
    const score = (row: number, to: number, h: number, keyOf: number) => {
      let sum = 0;
      for (let d = 0; d < dim; d++)
        sum += query[(row * heads + h) * dim + d] * key[(to * kvHeads + keyOf) * dim + d];
      return sum / Math.sqrt(dim);
    };
    if (layer === watched)
      return (row) => Float32Array.from({ length: tokens }, (_, i) => score(row, from + i, head, keyHead));
    const value = project("v", kvHeads);
    const mixed = new Float32Array(query.length);
    for (let row = 0; row < x.length / hidden; row++)
      for (let h = 0; h < heads; h++) {
        const keyOf = Math.floor((h * kvHeads) / heads);
        const terms = Array.from({ length: row + 1 }, (_, to) => Math.exp(score(row, to, h, keyOf)));
        const total = terms.reduce((sum, term) => sum + term);
        terms.forEach((term, to) => {
          for (let d = 0; d < dim; d++)
            mixed[(row * heads + h) * dim + d] += (term / total) * value[(to * kvHeads + keyOf) * dim + d];
        });
      }
    const attended = times(mixed, take("self_attn.o_proj", [hidden, heads * dim]), hidden);
    const after = x.map((old, i) => old + attended[i]);
    const inner = norm(after, take("post_attention_layernorm", [hidden]), rmsEps);
    const up = times(inner, take("mlp.up_proj", [intermediate, hidden]), intermediate);
    const gated = times(inner, take("mlp.gate_proj", [intermediate, hidden]), intermediate).map(
      (gate, i) => (gate / (1 + Math.exp(-gate))) * up[i],
    );
    const down = times(gated, take("mlp.down_proj", [hidden, intermediate]), hidden);
    x = after.map((old, i) => old + down[i]);
  }
}

const checkpoint = openCheckpoint(STARTER);
const expected = reference(checkpoint);

/** Moves a lane on by all frames; `seen` is called with the row of each result. */
function speak(talker: Talker, lane: number, seen: (row: number) => void): number[] {
  const [hidden, logits] = [sharedFloats(width), sharedFloats(talker.codecVocabulary)];
  const bits: number[] = [];
  const note = (row: number) => {
    bits.push(...hidden, ...logits);
    seen(row);
  };
  talker.prefill(lane, rows, 0, from, hidden, logits);
  talker.prefill(lane, rows, from, end, hidden, logits);
  note(end - 1);
  for (let row = end; row < end + frames; row++) {
    talker.step(Int32Array.of(lane), 1, rows.subarray(row * width), hidden, logits);
    note(row);
  }
  return bits;
}

describe.each(TALKERS.map((backend) => [backend.name, backend] as const))("talker %s", (_name, backend) => {
  const open = (watched: boolean) => backend.open(openOptions(run.bundle, 2, { alignment: watched }));
  const scoresOf = (talker: Talker, lane: number) => {
    const scores = new Float32Array(tokens);
    talker.scores(lane, from, tokens, scores);
    return scores;
  };

  test("gives the scores of the alignment head, and the bits it gives unwatched", () => {
    const [watched, unwatched] = [open(true), open(false)];
    expect([watched.isWatched, unwatched.isWatched]).toEqual([true, false]);
    let error = 0;
    const bits = speak(watched, 1, (row) => {
      error = Math.max(error, maxDifference(scoresOf(watched, 1), expected(row)));
    });
    expect(error).toBeLessThan(MAX_ERROR);
    expect(bits).toEqual(speak(unwatched, 1, () => {}));
    for (const talker of [watched, unwatched]) talker.close();
  });

  test("watches a prompt that is put back", () => {
    const talker = open(true);
    const results = sharedFloats(talker.codecVocabulary);
    talker.prefill(0, rows, 0, from, results, results);
    talker.prefill(0, rows, from, end, results, results);
    const memory = talker.save(0);
    const scores = scoresOf(talker, 0);
    expect(talker.restore(1, memory)).toBe(true);
    expect(scoresOf(talker, 1)).toEqual(scores);
    talker.close();
  });
});
