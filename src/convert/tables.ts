// Writes tables.safetensors: the text embedding folded through its projection, code embeddings, and what the predictor reads row by row.

import { closeSync, openSync } from "node:fs";
import { OrtSession, OrtTensor, PreparedRun } from "../../ffi/onnxruntime.ts";
import { copyFloat32, elementCount, safetensorsHeader, type Tensor, type TensorToWrite, toFloat32 } from "../safetensors.ts";
import { matVec, TABLE } from "../tables.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { asBytes, writeAll } from "./bytes.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { Graph } from "./onnx/graph.ts";

/** Rows folded in one run: bounds memory, long enough to keep matrix products busy. */
const FOLD_ROWS = 512;

/** @param half store at half precision where that is lossless or harmless; an f32 bundle never does */
export function writeTables(path: string, checkpoint: Checkpoint, half: boolean, threads: number, onTensor: () => void): void {
  const tensors = [textTable(checkpoint, half, threads), ...codeTables(checkpoint, half), ...predictorTables(checkpoint, half)];
  const file = openSync(path, "wx");
  try {
    writeAll(file, safetensorsHeader(tensors));
    for (const tensor of tensors) {
      for (const chunk of tensor.chunks()) writeAll(file, chunk);
      onTensor();
    }
  } finally {
    closeSync(file);
  }
}

const stored = (values: Float32Array, half: boolean) => asBytes(half ? new Float16Array(values) : values);

/** W2 silu(W1 E + b1) + b2 for every text id, computed in f32. */
function textTable(checkpoint: Checkpoint, half: boolean, threads: number): TensorToWrite {
  const { weights, textVocabulary: rows, textHidden: width, talker } = checkpoint;
  const embedding = weights.take("talker.model.text_embedding.weight", [rows, width]);
  const projection = "talker.text_projection";
  const parameters = {
    w1: weights.take(`${projection}.linear_fc1.weight`, [width, width]),
    b1: weights.take(`${projection}.linear_fc1.bias`, [width]),
    w2: weights.take(`${projection}.linear_fc2.weight`, [talker.hidden, width]),
    b2: weights.take(`${projection}.linear_fc2.bias`, [talker.hidden]),
  };
  function* chunks() {
    const session = OrtSession.fromBytes("text projection", foldGraph(width, talker.hidden).encode(), { threads });
    const fixed = Object.entries(parameters).map(([name, tensor]): [string, OrtTensor] => [name, ownTensor(tensor)]);
    // The same buffers for all runs: garbage of this size would pile up to that of the table.
    const input = new Float32Array(new ArrayBuffer(4 * FOLD_ROWS * width));
    const folded = new Float32Array(new ArrayBuffer(4 * FOLD_ROWS * talker.hidden));
    const rounded = half ? new Float16Array(folded.length) : null;
    for (let from = 0; from < rows; from += FOLD_ROWS) {
      const count = Math.min(FOLD_ROWS, rows - from);
      copyRows(embedding, from, count, input);
      const tensors = { x: new OrtTensor(input, [count, width]), y: new OrtTensor(folded, [count, talker.hidden]) };
      new PreparedRun(session, { ...Object.fromEntries(fixed), x: tensors.x }, { y: tensors.y }).run();
      for (const tensor of Object.values(tensors)) tensor.close();
      weights.release();
      const values = folded.subarray(0, count * talker.hidden);
      if (rounded === null) yield asBytes(values);
      else {
        rounded.set(values);
        yield asBytes(rounded.subarray(0, values.length));
      }
    }
    for (const [, tensor] of fixed) tensor.close();
    session.close();
  }
  return { name: TABLE.text, dtype: half ? "F16" : "F32", shape: [rows, talker.hidden], chunks };
}

/** A tensor with memory of its own, as native code needs it. */
function ownTensor(tensor: Tensor): OrtTensor {
  return new OrtTensor(new Float32Array(toFloat32(tensor).slice().buffer), tensor.shape);
}

/** Rows of an embedding as f32 at the front of `target`. */
function copyRows(tensor: Tensor, from: number, count: number, target: Float32Array): void {
  const rowBytes = tensor.bytes.length / tensor.shape[0];
  copyFloat32({ ...tensor, bytes: tensor.bytes.subarray(from * rowBytes, (from + count) * rowBytes) }, target);
}

function foldGraph(width: number, hidden: number): Graph {
  const g = new Graph({ name: "text projection" });
  const x = g.input("x", "f32", ["rows", width]);
  const [w1, b1] = [g.input("w1", "f32", [width, width]), g.input("b1", "f32", [width])];
  const [w2, b2] = [g.input("w2", "f32", [hidden, width]), g.input("b2", "f32", [hidden])];
  const inner = g.op("Gemm", [x, w1, b1], { transB: 1 });
  const silu = g.op("Mul", [inner, g.op("Sigmoid", [inner])]);
  g.output("y", g.op("Gemm", [silu, w2, b2], { transB: 1 }), "f32", ["rows", hidden]);
  return g;
}

/** Half precision keeps a bf16 table as it is: that loses nothing. */
function storeTensor(name: string, tensor: Tensor, half: boolean): TensorToWrite {
  const keep = half && (tensor.dtype === "BF16" || tensor.dtype === "F16");
  return {
    name,
    dtype: keep ? (tensor.dtype as "BF16" | "F16") : half ? "F16" : "F32",
    shape: tensor.shape,
    chunks: () => [keep ? tensor.bytes : stored(toFloat32(tensor), half)],
  };
}

/** The talker's embedding of code 0 and the predictor's of codes 1 to 15, all as wide as the talker: they sum to the feedback. */
function codeEmbedding(checkpoint: Checkpoint, group: number): Tensor {
  const { weights, talker, codecVocabulary, codes } = checkpoint;
  if (group === 0) return weights.take("talker.model.codec_embedding.weight", [codecVocabulary, talker.hidden]);
  return weights.take(`talker.code_predictor.model.codec_embedding.${group - 1}.weight`, [codes, talker.hidden]);
}

function codeTables(checkpoint: Checkpoint, half: boolean): TensorToWrite[] {
  return Array.from({ length: CODES_PER_FRAME }, (_, group) => storeTensor(TABLE.code(group), codeEmbedding(checkpoint, group), half));
}

/** Heads in f32, and, where the predictor is narrower than the talker, its input projection and every code's row through it. */
function predictorTables(checkpoint: Checkpoint, half: boolean): TensorToWrite[] {
  const { weights, talker, predictor, codes } = checkpoint;
  const tensors: TensorToWrite[] = [];
  for (let group = 1; group < CODES_PER_FRAME; group++) {
    const head = weights.take(`talker.code_predictor.lm_head.${group - 1}.weight`, [codes, predictor.hidden]);
    tensors.push(storeTensor(TABLE.head(group), head, false));
  }
  const projection = "talker.code_predictor.small_to_mtp_projection";
  if (!weights.has(`${projection}.weight`)) return tensors;
  const weight = weights.take(`${projection}.weight`, [predictor.hidden, talker.hidden]);
  const bias = weights.take(`${projection}.bias`, [predictor.hidden]);
  tensors.push(storeTensor(TABLE.projectionWeight, weight, false), storeTensor(TABLE.projectionBias, bias, false));
  for (let group = 0; group < CODES_PER_FRAME - 1; group++) {
    tensors.push(projectedTable(TABLE.predictorInput(group), codeEmbedding(checkpoint, group), codes, weight, bias, half));
  }
  return tensors;
}

function projectedTable(name: string, source: Tensor, codes: number, weight: Tensor, bias: Tensor, half: boolean): TensorToWrite {
  const [hidden, width] = weight.shape;
  function* chunks() {
    const [rows, w, b] = [toFloat32(source), toFloat32(weight), toFloat32(bias)];
    if (elementCount(source) < codes * width) throw new RangeError(`${name} has fewer than ${codes} rows`);
    const out = new Float32Array(codes * hidden);
    for (let code = 0; code < codes; code++) matVec(w, rows, code * width, width, out, code * hidden, hidden, b.subarray(0, hidden));
    yield stored(out, half);
  }
  return { name, dtype: half ? "F16" : "F32", shape: [codes, hidden], chunks };
}
