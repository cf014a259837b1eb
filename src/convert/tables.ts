// Writes tables.safetensors: the text embedding folded through its projection, the code embeddings, the
// predictor's input rows and its heads.

import { closeSync, openSync } from "node:fs";
import { quantizeRows } from "../../ffi/ggml.ts";
import { OrtSession, OrtTensor, PreparedRun } from "../../ffi/onnxruntime.ts";
import type { WeightType, WeightTypes } from "../config.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { Graph } from "../formats/onnx.ts";
import {
  byteLength,
  copyFloat32,
  safetensorsHeader,
  type Tensor,
  type TensorToWrite,
  toFloat32,
} from "../formats/safetensors.ts";
import { blockRowBytes, type HeadType, TABLE } from "../formats/tables.ts";
import { asBytes, writeAll } from "../io/bytes.ts";
import { CODES_PER_FRAME } from "../types.ts";

/** Rows folded in one run: few enough to bound memory, enough for fast matrix products. */
const FOLD_ROWS = 512;

/** Every code reads a whole head, so heads are stored as small as the layers below them. */
const HEAD_TYPE: Record<WeightType, HeadType> = {
  f32: "f32",
  f16: "f16",
  bf16: "f16",
  q8_0: "q8_0",
  q4_0: "q4_0",
  q4_k_m: "q4_0",
  iq4_nl: "q4_0",
};

type TableType = "f32" | "f16" | "q8_0";
/** Beside weights of 4 bits, 8 bits of a text row lose little, and halve the largest table. */
const TEXT_TYPE: Record<WeightType, TableType> = {
  f32: "f32",
  f16: "f16",
  bf16: "f16",
  q8_0: "f16",
  q4_0: "q8_0",
  q4_k_m: "q8_0",
  iq4_nl: "q8_0",
};

/**
 * Writes half precision where that is lossless or harmless; beside an f32 talker all stays f32. Calls
 * `advance` with the share that is done, 0 to 1.
 */
export function writeTables(
  path: string,
  checkpoint: Checkpoint,
  types: WeightTypes,
  threads: number,
  advance: (share: number) => void,
): void {
  const half = types.talker !== "f32";
  const tensors = [
    textTable(checkpoint, TEXT_TYPE[types.talker], threads),
    ...codeTables(checkpoint, half),
    ...headTables(checkpoint, HEAD_TYPE[types.predictor]),
    ...projectionTables(checkpoint, half, threads),
  ];
  const file = openSync(path, "wx");
  try {
    writeAll(file, safetensorsHeader(tensors));
    const total = tensors.reduce((sum, tensor) => sum + byteLength(tensor), 0);
    let done = 0;
    for (const { chunks } of tensors) {
      for (const chunk of chunks()) {
        writeAll(file, chunk);
        done += chunk.length;
        advance(done / total);
      }
    }
  } finally {
    closeSync(file);
  }
}

const stored = (values: Float32Array, half: boolean) => asBytes(half ? new Float16Array(values) : values);

/** W2 silu(W1 E + b1) + b2 for every text id, computed in f32. */
function textTable(checkpoint: Checkpoint, type: TableType, threads: number): TensorToWrite {
  const { weights, textVocabulary: rows, textHidden: width, talker } = checkpoint;
  const embedding = weights.take("talker.model.text_embedding.weight", [rows, width]);
  const projection = "talker.text_projection";
  const parameters = {
    w1: weights.take(`${projection}.linear_fc1.weight`, [width, width]),
    b1: weights.take(`${projection}.linear_fc1.bias`, [width]),
    w2: weights.take(`${projection}.linear_fc2.weight`, [talker.hidden, width]),
    b2: weights.take(`${projection}.linear_fc2.bias`, [talker.hidden]),
  };
  return throughGraph({
    name: TABLE.text,
    source: embedding,
    rows,
    graph: textFold(width, talker.hidden),
    parameters,
    type: type === "q8_0" && blockRowBytes(type, talker.hidden) === null ? "f16" : type,
    threads,
  });
}

interface FoldedTable {
  name: string;
  source: Tensor;
  /** How many rows of `source` are taken, from the first on. */
  rows: number;
  /** `x` [rows, in] -> `y` [rows, out], with `parameters` as further inputs. */
  graph: { model: Graph; out: number };
  parameters: Record<string, Tensor>;
  type: TableType;
  threads: number;
}

/** A table whose rows go through a graph, computed in f32 while it is written. */
function throughGraph({ name, source, rows, graph, parameters, type, threads }: FoldedTable): TensorToWrite {
  const width = source.shape[1];
  function* chunks() {
    const session = OrtSession.fromBytes(name, graph.model.encode(), { threads });
    const fixed = Object.fromEntries(
      Object.entries(parameters).map(([key, tensor]) => [key, ownTensor(tensor)]),
    );
    // All runs share these buffers: else garbage would pile up to the size of the table.
    const input = new Float32Array(new ArrayBuffer(4 * FOLD_ROWS * width));
    const folded = new Float32Array(new ArrayBuffer(4 * FOLD_ROWS * graph.out));
    const rounded = new Float16Array(type === "f16" ? folded.length : 0);
    for (let from = 0; from < rows; from += FOLD_ROWS) {
      const count = Math.min(FOLD_ROWS, rows - from);
      copyRows(source, from, count, input);
      const tensors = {
        x: new OrtTensor(input, [count, width]),
        y: new OrtTensor(folded, [count, graph.out]),
      };
      new PreparedRun(session, { ...fixed, x: tensors.x }, { y: tensors.y }).run();
      for (const tensor of Object.values(tensors)) tensor.close();
      const values = folded.subarray(0, count * graph.out);
      if (type === "f32") yield asBytes(values);
      else if (type === "q8_0") yield quantizeRows(type, values, graph.out);
      else {
        rounded.set(values);
        yield asBytes(rounded.subarray(0, values.length));
      }
    }
    for (const tensor of Object.values(fixed)) tensor.close();
    session.close();
  }
  if (type === "q8_0") return { name, dtype: "U8", shape: [rows, blockRowBytes(type, graph.out)!], chunks };
  return { name, dtype: type === "f16" ? "F16" : "F32", shape: [rows, graph.out], chunks };
}

/** A tensor with its own memory, which native code needs. */
function ownTensor(tensor: Tensor): OrtTensor {
  return new OrtTensor(new Float32Array(toFloat32(tensor).slice().buffer), tensor.shape);
}

/** Rows of an embedding as f32 at the front of `target`. */
function copyRows(tensor: Tensor, from: number, count: number, target: Float32Array): void {
  const rowBytes = tensor.bytes.length / tensor.shape[0];
  copyFloat32(
    { ...tensor, bytes: tensor.bytes.subarray(from * rowBytes, (from + count) * rowBytes) },
    target,
  );
}

function textFold(width: number, hidden: number): FoldedTable["graph"] {
  const model = new Graph({ name: "text projection" });
  const x = model.input("x", "f32", ["rows", width]);
  const [w1, b1] = [model.input("w1", "f32", [width, width]), model.input("b1", "f32", [width])];
  const [w2, b2] = [model.input("w2", "f32", [hidden, width]), model.input("b2", "f32", [hidden])];
  const inner = model.op("Gemm", [x, w1, b1], { transB: 1 });
  const silu = model.op("Mul", [inner, model.op("Sigmoid", [inner])]);
  model.output("y", model.op("Gemm", [silu, w2, b2], { transB: 1 }), "f32", ["rows", hidden]);
  return { model, out: hidden };
}

function linearFold(width: number, out: number): FoldedTable["graph"] {
  const model = new Graph({ name: "input projection" });
  const x = model.input("x", "f32", ["rows", width]);
  const [weight, bias] = [model.input("weight", "f32", [out, width]), model.input("bias", "f32", [out])];
  model.output("y", model.op("Gemm", [x, weight, bias], { transB: 1 }), "f32", ["rows", out]);
  return { model, out };
}

/** `half` keeps a bf16 or f16 table unchanged, which loses nothing. */
function storeTensor(name: string, tensor: Tensor, half: boolean): TensorToWrite {
  const keep = half && (tensor.dtype === "BF16" || tensor.dtype === "F16");
  return {
    name,
    dtype: keep ? (tensor.dtype as "BF16" | "F16") : half ? "F16" : "F32",
    shape: tensor.shape,
    chunks: () => [keep ? tensor.bytes : stored(toFloat32(tensor), half)],
  };
}

/**
 * The talker's embedding for code 0, the predictor's for codes 1 to 15. All are as wide as the talker, and
 * their rows sum to the feedback.
 */
function codeEmbedding(checkpoint: Checkpoint, group: number): Tensor {
  const { weights, talker, codecVocabulary, codes } = checkpoint;
  if (group === 0)
    return weights.take("talker.model.codec_embedding.weight", [codecVocabulary, talker.hidden]);
  return weights.take(`talker.code_predictor.model.codec_embedding.${group - 1}.weight`, [
    codes,
    talker.hidden,
  ]);
}

function codeTables(checkpoint: Checkpoint, half: boolean): TensorToWrite[] {
  return Array.from({ length: CODES_PER_FRAME }, (_, group) =>
    storeTensor(TABLE.code(group), codeEmbedding(checkpoint, group), half),
  );
}

function headTables({ codes, predictor, weights }: Checkpoint, type: HeadType): TensorToWrite[] {
  return Array.from({ length: CODES_PER_FRAME - 1 }, (_, i) => {
    return headTable(
      TABLE.head(i + 1),
      weights.take(`talker.code_predictor.lm_head.${i}.weight`, [codes, predictor.hidden]),
      type,
    );
  });
}

function headTable(name: string, tensor: Tensor, type: HeadType): TensorToWrite {
  const [codes, width] = tensor.shape;
  const plain = (half: boolean): TensorToWrite => {
    return {
      name,
      dtype: half ? "F16" : "F32",
      shape: tensor.shape,
      chunks: () => [stored(toFloat32(tensor), half)],
    };
  };
  if (type === "f32" || type === "f16") return plain(type === "f16");
  const rowBytes = blockRowBytes(type, width);
  if (rowBytes === null) return plain(false);
  return {
    name,
    dtype: "U8",
    shape: [codes, rowBytes],
    chunks: () => [quantizeRows(type, toFloat32(tensor), width)],
  };
}

/**
 * Only for a predictor narrower than the talker: its input projection in f32, and every code's row put
 * through it.
 */
function projectionTables(checkpoint: Checkpoint, half: boolean, threads: number): TensorToWrite[] {
  const { weights, talker, predictor, codes } = checkpoint;
  const tensors: TensorToWrite[] = [];
  const projection = "talker.code_predictor.small_to_mtp_projection";
  if (!weights.has(`${projection}.weight`)) return tensors;
  const weight = weights.take(`${projection}.weight`, [predictor.hidden, talker.hidden]);
  const bias = weights.take(`${projection}.bias`, [predictor.hidden]);
  tensors.push(
    storeTensor(TABLE.projectionWeight, weight, false),
    storeTensor(TABLE.projectionBias, bias, false),
  );
  const graph = linearFold(talker.hidden, predictor.hidden);
  for (let group = 0; group < CODES_PER_FRAME - 1; group++) {
    const [name, source] = [TABLE.predictorInput(group), codeEmbedding(checkpoint, group)];
    tensors.push(
      throughGraph({
        ...{ name, source, rows: codes, graph, threads },
        ...{ parameters: { weight, bias }, type: half ? "f16" : "f32" },
      }),
    );
  }
  return tensors;
}
