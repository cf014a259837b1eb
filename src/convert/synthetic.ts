// A checkpoint with random weights and the exact shape of an official model, to measure speed and memory
// without real weights. What it says is noise.

import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { byteAlphabet } from "../formats/checkpoint-tokenizer.ts";
import { safetensorsHeader, type TensorToWrite } from "../formats/safetensors.ts";
import { writeAll } from "../io/bytes.ts";
import { textOrEmpty } from "../io/read.ts";
import { CODES_PER_FRAME } from "../types.ts";

export const SYNTHETIC_SIZES = ["0.6b", "1.7b"] as const;
export type SyntheticSize = (typeof SYNTHETIC_SIZES)[number];

const TEXT_ROWS = 151_936;
const TEXT_WIDTH = 2_048;
const CODEC_ROWS = 3_072;
const CODES = 2_048;
const PREDICTOR = { hidden: 1_024, intermediate: 3_072, layers: 5 };
const TALKER = {
  "0.6b": { hidden: 1_024, intermediate: 3_072 },
  "1.7b": { hidden: 2_048, intermediate: 6_144 },
};
const LAYERS = 28;
const HEADS = 16;
const KV_HEADS = 8;
const HEAD_DIM = 128;
/** That of the official initialiser, small enough that values stay small through 28 layers. */
const DEVIATION = 0.02;
/** This many random numbers are drawn once and used over and over, from another place on for each tensor. */
const NOISE_VALUES = 1 << 20;
/** Holds the version of this generator: what an older one made measures something else. */
const VERSION_FILE = "synthetic-version";
/** Tensors of version 1 were equal, and so ONNX Runtime read weights of one layer for all of them. */
const VERSION = "2";

/** Whether {@link writeSyntheticCheckpoint} of this version wrote the folder. */
export const isSyntheticCheckpoint = (directory: string) =>
  textOrEmpty(join(directory, VERSION_FILE)) === VERSION;

/**
 * An official model of that size: every tensor of the checkpoint's main file, and the decoder as config.json
 * describes it.
 */
export function officialShape(size: SyntheticSize): {
  tensors: Pick<TensorToWrite, "name" | "shape">[];
  decoder: Record<string, unknown>;
} {
  return { tensors: mainTensors(size), decoder: decoderConfig() };
}

/** Writes the checkpoint: 2.5 GB (0.6b) or 4.6 GB (1.7b). */
export function writeSyntheticCheckpoint(
  directory: string,
  size: SyntheticSize,
  onTensor: (done: number, total: number) => void,
): void {
  mkdirSync(join(directory, "speech_tokenizer"), { recursive: true });
  const files: [string, TensorToWrite[]][] = [
    ["model.safetensors", mainTensors(size)],
    ["speech_tokenizer/model.safetensors", codecTensors()],
  ];
  const total = files.reduce((sum, [, tensors]) => sum + tensors.length, 0);
  let done = 0;
  for (const [name, tensors] of files) {
    const file = openSync(join(directory, name), "w");
    writeAll(file, safetensorsHeader(tensors));
    for (const tensor of tensors) {
      for (const chunk of tensor.chunks()) writeAll(file, chunk);
      onTensor(++done, total);
    }
    closeSync(file);
  }
  writeSyntheticConfigs(directory, size);
  writeFileSync(join(directory, VERSION_FILE), VERSION);
}

/** Bytes of uniform noise in one type, with this standard deviation around `centre`. */
function noise(dtype: "BF16" | "F32", centre = 0, deviation = DEVIATION): Uint8Array {
  const values = new Float32Array(NOISE_VALUES);
  let state = 12345;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = centre + deviation * Math.sqrt(3) * (state / 2 ** 31);
  }
  if (dtype === "F32") return new Uint8Array(values.buffer);
  const bits = new Uint32Array(values.buffer);
  return new Uint8Array(Uint16Array.from(bits, (word) => word >>> 16).buffer);
}

const NOISE: Record<string, Uint8Array> = {};

function random(
  name: string,
  dtype: "BF16" | "F32",
  shape: number[],
  centre = 0,
  deviation = DEVIATION,
): TensorToWrite {
  const length = shape.reduce((product, dim) => product * dim, dtype === "F32" ? 4 : 2);
  function* chunks() {
    NOISE[`${dtype}:${centre}:${deviation}`] ??= noise(dtype, centre, deviation);
    const block = NOISE[`${dtype}:${centre}:${deviation}`];
    let from = (block.length / NOISE_VALUES) * Number(Bun.hash.wyhash(name) % BigInt(NOISE_VALUES));
    for (let at = 0; at < length; ) {
      const chunk = block.subarray(from, Math.min(block.length, from + length - at));
      yield chunk;
      at += chunk.length;
      from = 0;
    }
  }
  return { name, dtype, shape, chunks };
}

function transformer(prefix: string, layers: number, hidden: number, intermediate: number): TensorToWrite[] {
  const one = (name: string, shape: number[]) =>
    random(`${prefix}.${name}`, "BF16", shape, shape.length === 1 ? 1 : 0);
  const tensors = Array.from({ length: layers }, (_, layer) => {
    const part = (name: string, shape: number[]) => one(`layers.${layer}.${name}.weight`, shape);
    return [
      part("input_layernorm", [hidden]),
      part("self_attn.q_proj", [HEADS * HEAD_DIM, hidden]),
      part("self_attn.k_proj", [KV_HEADS * HEAD_DIM, hidden]),
      part("self_attn.v_proj", [KV_HEADS * HEAD_DIM, hidden]),
      part("self_attn.o_proj", [hidden, HEADS * HEAD_DIM]),
      part("self_attn.q_norm", [HEAD_DIM]),
      part("self_attn.k_norm", [HEAD_DIM]),
      part("post_attention_layernorm", [hidden]),
      part("mlp.gate_proj", [intermediate, hidden]),
      part("mlp.up_proj", [intermediate, hidden]),
      part("mlp.down_proj", [hidden, intermediate]),
    ];
  });
  return [...tensors.flat(), one("norm.weight", [hidden])];
}

function mainTensors(size: SyntheticSize): TensorToWrite[] {
  const { hidden, intermediate } = TALKER[size];
  const bf16 = (name: string, ...shape: number[]) => random(name, "BF16", shape);
  const groups = Array.from({ length: CODES_PER_FRAME - 1 }, (_, group) => group);
  const predictor = "talker.code_predictor";
  const projection = [
    bf16(`${predictor}.small_to_mtp_projection.weight`, PREDICTOR.hidden, hidden),
    bf16(`${predictor}.small_to_mtp_projection.bias`, PREDICTOR.hidden),
  ];
  return [
    bf16("talker.model.text_embedding.weight", TEXT_ROWS, TEXT_WIDTH),
    bf16("talker.text_projection.linear_fc1.weight", TEXT_WIDTH, TEXT_WIDTH),
    bf16("talker.text_projection.linear_fc1.bias", TEXT_WIDTH),
    bf16("talker.text_projection.linear_fc2.weight", hidden, TEXT_WIDTH),
    bf16("talker.text_projection.linear_fc2.bias", hidden),
    bf16("talker.model.codec_embedding.weight", CODEC_ROWS, hidden),
    bf16("talker.codec_head.weight", CODEC_ROWS, hidden),
    ...transformer("talker.model", LAYERS, hidden, intermediate),
    ...transformer(`${predictor}.model`, PREDICTOR.layers, PREDICTOR.hidden, PREDICTOR.intermediate),
    ...groups.map((group) => bf16(`${predictor}.model.codec_embedding.${group}.weight`, CODES, hidden)),
    ...groups.map((group) => bf16(`${predictor}.lm_head.${group}.weight`, CODES, PREDICTOR.hidden)),
    ...(hidden === PREDICTOR.hidden ? [] : projection),
  ];
}

/**
 * The decoder's widths: codebook vectors, latent, transformer, and the convolution stack from 1536 channels
 * down.
 */
const CODEC = {
  book: 512,
  latent: 1_024,
  hidden: 512,
  intermediate: 1_024,
  layers: 8,
  heads: 16,
  headDim: 64,
  decoder: 1_536,
  rates: [8, 5, 4, 3],
};

const f32: Maker = (name, ...shape) => {
  const inputs = Math.max(
    1,
    shape.slice(1).reduce((product, size) => product * size, 1),
  );
  return random(`decoder.${name}`, "F32", shape, 0, 0.5 / Math.sqrt(inputs));
};
const ones: Maker = (name, ...shape) => random(`decoder.${name}`, "F32", shape, 1, 0.01);
const conv = (name: string, out: number, inputs: number, kernel: number) => [
  f32(`${name}.weight`, out, inputs, kernel),
  f32(`${name}.bias`, out),
];
/** A transposed convolution: its weight has the inputs on the first axis. */
const transposed = (name: string, inputs: number, out: number, kernel: number) => [
  f32(`${name}.weight`, inputs, out, kernel),
  f32(`${name}.bias`, out),
];
const snake = (name: string, channels: number) => [
  f32(`${name}.alpha`, channels),
  f32(`${name}.beta`, channels),
];
const codebook = (prefix: string) => [
  ones(`${prefix}._codebook.cluster_usage`, CODES),
  f32(`${prefix}._codebook.embedding_sum`, CODES, CODEC.book / 2),
];

function codecTensors(): TensorToWrite[] {
  const { latent, hidden, decoder, rates, book } = CODEC;
  const books = Array.from({ length: CODES_PER_FRAME - 1 }, (_, i) => `quantizer.rvq_rest.vq.layers.${i}`);
  const layers = Array.from({ length: CODEC.layers }, (_, layer) => `pre_transformer.layers.${layer}`);
  const last = decoder / 2 ** rates.length;
  return [
    ...["quantizer.rvq_first.vq.layers.0", ...books].flatMap(codebook),
    f32("quantizer.rvq_first.output_proj.weight", book, book / 2, 1),
    f32("quantizer.rvq_rest.output_proj.weight", book, book / 2, 1),
    ...conv("pre_conv.conv", latent, book, 3),
    f32("pre_transformer.input_proj.weight", hidden, latent),
    f32("pre_transformer.input_proj.bias", hidden),
    ...layers.flatMap(codecLayer),
    ones("pre_transformer.norm.weight", hidden),
    f32("pre_transformer.output_proj.weight", latent, hidden),
    f32("pre_transformer.output_proj.bias", latent),
    ...["upsample.0", "upsample.1"].flatMap(upsampling),
    ...conv("decoder.0.conv", decoder, latent, 7),
    ...rates.flatMap(decoderBlock),
    ...snake(`decoder.${rates.length + 1}`, last),
    ...conv(`decoder.${rates.length + 2}.conv`, 1, last, 7),
  ];
}

function upsampling(prefix: string): TensorToWrite[] {
  const { latent } = CODEC;
  return [
    ...transposed(`${prefix}.0.conv`, latent, latent, 2),
    ...conv(`${prefix}.1.dwconv.conv`, latent, 1, 7),
    ones(`${prefix}.1.norm.weight`, latent),
    f32(`${prefix}.1.norm.bias`, latent),
    f32(`${prefix}.1.pwconv1.weight`, 4 * latent, latent),
    f32(`${prefix}.1.pwconv1.bias`, 4 * latent),
    f32(`${prefix}.1.pwconv2.weight`, latent, 4 * latent),
    f32(`${prefix}.1.pwconv2.bias`, latent),
    ones(`${prefix}.1.gamma`, latent),
  ];
}

function decoderBlock(rate: number, i: number): TensorToWrite[] {
  const [inputs, out] = [CODEC.decoder / 2 ** i, CODEC.decoder / 2 ** (i + 1)];
  const prefix = `decoder.${i + 1}.block`;
  const units = [2, 3, 4].flatMap((unit) => [
    ...snake(`${prefix}.${unit}.act1`, out),
    ...conv(`${prefix}.${unit}.conv1.conv`, out, out, 7),
    ...snake(`${prefix}.${unit}.act2`, out),
    ...conv(`${prefix}.${unit}.conv2.conv`, out, out, 1),
  ]);
  return [
    ...snake(`${prefix}.0`, inputs),
    ...transposed(`${prefix}.1.conv`, inputs, out, 2 * rate),
    ...units,
  ];
}

type Maker = (name: string, ...shape: number[]) => TensorToWrite;

function codecLayer(prefix: string): TensorToWrite[] {
  const { hidden, intermediate, heads, headDim } = CODEC;
  const width = heads * headDim;
  return [
    ones(`${prefix}.input_layernorm.weight`, hidden),
    ...["q", "k", "v"].map((part) => f32(`${prefix}.self_attn.${part}_proj.weight`, width, hidden)),
    f32(`${prefix}.self_attn.o_proj.weight`, hidden, width),
    ones(`${prefix}.self_attn_layer_scale.scale`, hidden),
    ones(`${prefix}.post_attention_layernorm.weight`, hidden),
    f32(`${prefix}.mlp.gate_proj.weight`, intermediate, hidden),
    f32(`${prefix}.mlp.up_proj.weight`, intermediate, hidden),
    f32(`${prefix}.mlp.down_proj.weight`, hidden, intermediate),
    ones(`${prefix}.mlp_layer_scale.scale`, hidden),
  ];
}

/**
 * The JSON files, with the official numbers. The vocabulary is bytes and fillers, so that every id exists.
 */
/** Writes everything but the weights. */
export function writeSyntheticConfigs(directory: string, size: SyntheticSize): void {
  const save = (name: string, value: unknown) => writeFileSync(join(directory, name), JSON.stringify(value));
  const { hidden, intermediate } = TALKER[size];
  const attention = {
    num_attention_heads: HEADS,
    num_key_value_heads: KV_HEADS,
    head_dim: HEAD_DIM,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
  };
  const predictor = {
    ...attention,
    hidden_size: PREDICTOR.hidden,
    intermediate_size: PREDICTOR.intermediate,
    num_hidden_layers: PREDICTOR.layers,
    vocab_size: CODES,
  };
  const codecIds = {
    codec_pad_id: 2148,
    codec_bos_id: 2149,
    codec_eos_token_id: 2150,
    codec_think_id: 2154,
    codec_nothink_id: 2155,
    codec_think_bos_id: 2156,
    codec_think_eos_id: 2157,
  };
  const talker = {
    ...attention,
    ...codecIds,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: LAYERS,
    num_code_groups: CODES_PER_FRAME,
    vocab_size: CODEC_ROWS,
    text_vocab_size: TEXT_ROWS,
    text_hidden_size: TEXT_WIDTH,
    codec_language_id: { english: 2050 },
    spk_id: { noise: 3066 },
    spk_is_dialect: { noise: false },
    code_predictor_config: predictor,
  };
  const ids = {
    im_start_token_id: 151_644,
    im_end_token_id: 151_645,
    tts_pad_token_id: 151_671,
    tts_bos_token_id: 151_672,
    tts_eos_token_id: 151_673,
  };
  save("config.json", {
    model_type: "qwen3_tts",
    tts_model_type: "custom_voice",
    tts_model_size: size === "0.6b" ? "0b6" : "1b7",
    ...ids,
    talker_config: talker,
  });
  save("generation_config.json", {
    do_sample: true,
    temperature: 0.9,
    top_k: 50,
    top_p: 1,
    repetition_penalty: 1.05,
    subtalker_dosample: true,
    max_new_tokens: 8192,
  });
  save("speech_tokenizer/config.json", { decoder_config: decoderConfig() });
  saveVocabulary(save);
  writeFileSync(join(directory, "merges.txt"), "a s\n");
}

function decoderConfig(): Record<string, unknown> {
  const { heads, headDim, book, decoder, layers, rates } = CODEC;
  return {
    codebook_size: CODES,
    codebook_dim: book,
    latent_dim: CODEC.latent,
    hidden_size: CODEC.hidden,
    intermediate_size: CODEC.intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    head_dim: headDim,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    sliding_window: 72,
    decoder_dim: decoder,
    upsampling_ratios: [2, 2],
    upsample_rates: rates,
  };
}

const FIRST_ADDED = 151_643;

function saveVocabulary(save: (name: string, value: unknown) => void): void {
  const tokens = [...byteAlphabet(), "as"];
  for (let id = tokens.length; id < FIRST_ADDED; id++) tokens.push(`filler${id}`);
  save("vocab.json", Object.fromEntries(tokens.map((token, id) => [token, id])));
  const added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map((content, i): [number, string] => [
    FIRST_ADDED + i,
    content,
  ]);
  const speech = ["<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"].map((content, i): [number, string] => [
    151_671 + i,
    content,
  ]);
  save("tokenizer_config.json", {
    added_tokens_decoder: Object.fromEntries(
      [...added, ...speech].map(([id, content]) => [id, { content, special: true }]),
    ),
  });
}
