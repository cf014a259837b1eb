// Writes GGUF version 3, key-value pairs and aligned tensors, as a stream: the talker and the predictor's
// layers.

import { closeSync, openSync } from "node:fs";
import type { Checkpoint, TransformerShape, Weights } from "../formats/checkpoint.ts";
import { fitsHalf, type Tensor, toBf16, toFloat32 } from "../formats/safetensors.ts";
import { asBytes, writeAll } from "../io/bytes.ts";

const ALIGNMENT = 32;
const VALUE_TYPE = { u32: 4, f32: 6, string: 8 } as const;
const TENSOR_TYPE = { f32: 0, f16: 1, bf16: 30 } as const;
/** What matrices become. */
export type TensorType = keyof typeof TENSOR_TYPE;

type Value = { type: "u32" | "f32"; value: number } | { type: "string"; value: string };

interface GgufTensor {
  name: string;
  /** Torch order, [out, in]; GGUF stores it reversed. */
  shape: readonly number[];
  type: TensorType;
  bytes: () => Uint8Array;
}

const u32 = (value: number): Value => ({ type: "u32", value });
const f32 = (value: number): Value => ({ type: "f32", value });
const text = (value: string): Value => ({ type: "string", value });

/** Appends little-endian values to a growing list of chunks. */
class Bytes {
  private readonly chunks: Buffer[] = [];
  u32(value: number): this {
    const chunk = Buffer.alloc(4);
    chunk.writeUInt32LE(value);
    return this.push(chunk);
  }
  u64(value: number): this {
    const chunk = Buffer.alloc(8);
    chunk.writeBigUInt64LE(BigInt(value));
    return this.push(chunk);
  }
  string(value: string): this {
    const utf8 = Buffer.from(value);
    return this.u64(utf8.length).push(utf8);
  }
  push(chunk: Buffer): this {
    this.chunks.push(chunk);
    return this;
  }
  value(item: Value): this {
    switch (item.type) {
      case "u32":
        return this.u32(VALUE_TYPE.u32).u32(item.value);
      case "f32": {
        const chunk = Buffer.alloc(4);
        chunk.writeFloatLE(item.value);
        return this.u32(VALUE_TYPE.f32).push(chunk);
      }
      case "string":
        return this.u32(VALUE_TYPE.string).string(item.value);
    }
  }
  done(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

const padded = (length: number) => Math.ceil(length / ALIGNMENT) * ALIGNMENT;
const byteLength = ({ shape, type }: GgufTensor) =>
  shape.reduce((product, size) => product * size, type === "f32" ? 4 : 2);

function writeGguf(
  path: string,
  values: Record<string, Value>,
  tensors: readonly GgufTensor[],
  onTensor: () => void,
): void {
  const head = new Bytes()
    .push(Buffer.from("GGUF"))
    .u32(3)
    .u64(tensors.length)
    .u64(Object.keys(values).length);
  for (const [key, value] of Object.entries(values)) head.string(key).value(value);
  let offset = 0;
  for (const tensor of tensors) {
    head.string(tensor.name).u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) head.u64(size);
    head.u32(TENSOR_TYPE[tensor.type]).u64(offset);
    offset += padded(byteLength(tensor));
  }
  const file = openSync(path, "wx");
  try {
    const header = head.done();
    writeAll(file, header);
    writeAll(file, Buffer.alloc(padded(header.length) - header.length));
    for (const tensor of tensors) {
      const bytes = tensor.bytes();
      writeAll(file, bytes);
      writeAll(file, Buffer.alloc(padded(bytes.length) - bytes.length));
      onTensor();
    }
  } finally {
    closeSync(file);
  }
}

/** [GGUF name, checkpoint name, shape] of one layer of a Qwen3 transformer. */
function layerTensors(shape: TransformerShape): [string, string, number[]][] {
  const { hidden, intermediate, heads, kvHeads, headDim } = shape;
  return [
    ["attn_norm", "input_layernorm", [hidden]],
    ["attn_q", "self_attn.q_proj", [heads * headDim, hidden]],
    ["attn_k", "self_attn.k_proj", [kvHeads * headDim, hidden]],
    ["attn_v", "self_attn.v_proj", [kvHeads * headDim, hidden]],
    ["attn_q_norm", "self_attn.q_norm", [headDim]],
    ["attn_k_norm", "self_attn.k_norm", [headDim]],
    ["attn_output", "self_attn.o_proj", [hidden, heads * headDim]],
    ["ffn_norm", "post_attention_layernorm", [hidden]],
    ["ffn_gate", "mlp.gate_proj", [intermediate, hidden]],
    ["ffn_up", "mlp.up_proj", [intermediate, hidden]],
    ["ffn_down", "mlp.down_proj", [hidden, intermediate]],
  ];
}

/**
 * Their inputs are products that no norm bounds: official activations reach 1.45e5. llama.cpp's f16 kernel
 * rounds its input to f16, which ends at 65,504, and gives NaN.
 */
const UNBOUNDED_INPUT = /\.(attn_output|ffn_down)\./;

/** Norms become f32. In a bf16 file, which is then quantised, only bf16 matrices stay as they are. */
function fromTensor(name: string, tensor: Tensor, matrixType: TensorType): GgufTensor {
  const type = typeOf(name, tensor, matrixType);
  const bytes = () => {
    if (type === "bf16") return toBf16(tensor);
    if (type === "f32") return asBytes(toFloat32(tensor));
    return tensor.dtype === "F16" ? tensor.bytes : asBytes(new Float16Array(toFloat32(tensor)));
  };
  return { name, shape: tensor.shape, type, bytes };
}

function typeOf(name: string, tensor: Tensor, matrixType: TensorType): TensorType {
  if (tensor.shape.length !== 2) return "f32";
  if (matrixType === "f16") return UNBOUNDED_INPUT.test(name) || !fitsHalf(tensor) ? "bf16" : "f16";
  return matrixType === "bf16" && tensor.dtype === "BF16" ? "bf16" : "f32";
}

function transformerTensors(
  weights: Weights,
  prefix: string,
  shape: TransformerShape,
  type: TensorType,
): GgufTensor[] {
  const tensors: GgufTensor[] = [];
  for (let layer = 0; layer < shape.layers; layer++) {
    for (const [name, source, size] of layerTensors(shape)) {
      tensors.push(
        fromTensor(
          `blk.${layer}.${name}.weight`,
          weights.take(`${prefix}.layers.${layer}.${source}.weight`, size),
          type,
        ),
      );
    }
  }
  tensors.push(fromTensor("output_norm.weight", weights.take(`${prefix}.norm.weight`, [shape.hidden]), type));
  return tensors;
}

function transformerValues(shape: TransformerShape, vocabulary: number): Record<string, Value> {
  return {
    "general.architecture": text("qwen3"),
    "qwen3.context_length": u32(32768),
    "qwen3.embedding_length": u32(shape.hidden),
    "qwen3.block_count": u32(shape.layers),
    "qwen3.feed_forward_length": u32(shape.intermediate),
    "qwen3.attention.head_count": u32(shape.heads),
    "qwen3.attention.head_count_kv": u32(shape.kvHeads),
    "qwen3.attention.key_length": u32(shape.headDim),
    "qwen3.attention.value_length": u32(shape.headDim),
    "qwen3.attention.layer_norm_rms_epsilon": f32(shape.rmsEps),
    "qwen3.rope.freq_base": f32(shape.ropeTheta),
    "qwen3.vocab_size": u32(vocabulary),
    "tokenizer.ggml.model": text("none"),
  };
}

/** The talker, with codec_head as its output. A token id is a codec id. */
export function writeTalkerGguf(
  path: string,
  checkpoint: Checkpoint,
  matrixType: TensorType,
  onTensor: () => void,
): void {
  const { weights, talker, codecVocabulary } = checkpoint;
  const size = [codecVocabulary, talker.hidden];
  const tensors = [
    fromTensor("token_embd.weight", weights.take("talker.model.codec_embedding.weight", size), matrixType),
    fromTensor("output.weight", weights.take("talker.codec_head.weight", size), matrixType),
    ...transformerTensors(weights, "talker.model", talker, matrixType),
  ];
  writeGguf(path, transformerValues(talker, codecVocabulary), tensors, onTensor);
}

/**
 * The code predictor's layers alone: embeddings in, hidden states out. Its one-row vocabulary is never used.
 */
export function writePredictorGguf(
  path: string,
  checkpoint: Checkpoint,
  matrixType: TensorType,
  onTensor: () => void,
): void {
  const { weights, predictor } = checkpoint;
  const unused: GgufTensor = {
    name: "token_embd.weight",
    shape: [1, predictor.hidden],
    type: "f32",
    bytes: () => new Uint8Array(4 * predictor.hidden),
  };
  const tensors = [
    unused,
    ...transformerTensors(weights, "talker.code_predictor.model", predictor, matrixType),
  ];
  writeGguf(path, transformerValues(predictor, 1), tensors, onTensor);
}
