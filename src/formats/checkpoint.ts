// Opens an official checkpoint directory: checks its JSON files key by key and maps its weights.

import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type MappedFile, mapFile } from "../../ffi/libc.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME } from "../types.ts";
import type { AlignmentHead } from "./bundle.ts";
import { type CheckpointAbilities, readAbilities } from "./checkpoint-abilities.ts";
import { isPacked, missingFile, unpackedWeights, weightFiles } from "./checkpoint-files.ts";
import { invalid, type JsonFile, readJson, readJsonOrEmpty } from "./checkpoint-json.ts";
import { assertFinite, parseSafetensors, type Tensor } from "./safetensors.ts";

/** Shape of one Qwen3 transformer (talker or code predictor). */
export interface TransformerShape {
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  ropeTheta: number;
  rmsEps: number;
}

export interface CodecShape {
  codebookSize: number;
  codebookDim: number;
  latent: number;
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  headDim: number;
  rmsEps: number;
  ropeTheta: number;
  slidingWindow: number;
  decoderDim: number;
  upsamplingRatios: number[];
  upsampleRates: number[];
}

/** The Mimi encoder in front of the codec's quantizer. */
export interface CodecEncoderShape {
  codebookSize: number;
  codebookDim: number;
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  headDim: number;
  normEps: number;
  ropeTheta: number;
  /** Channels of the first convolution; doubled by each strided one. */
  filters: number;
  kernel: number;
  lastKernel: number;
  residualKernel: number;
  /** Residual units are narrower by this factor. */
  compress: number;
  /** Strides in the order of the encoder. */
  strides: number[];
}

/** An ECAPA-TDNN: entry, three blocks, aggregation. */
export interface SpeakerEncoderShape {
  /** Width of the x-vector, which is the talker's. */
  width: number;
  /** [5] each: entry, blocks 1 to 3, aggregation */
  channels: number[];
  kernels: number[];
  dilations: number[];
  attention: number;
  squeeze: number;
  /** How many parts a block's channels are split into. */
  scale: number;
}

/** Stride of the convolution between the encoder's transformer and its quantizer. */
export const ENCODER_DOWNSAMPLING = 2;
const LAYER_TYPES = ["full_attention", "sliding_attention"];
/** Names of the rotation that every position gets alike. */
const PLAIN_ROPE = ["default", "mrope"];
/** Types that weights may have. */
const FLOATS = ["F32", "F16", "BF16"];
const MLX_HINT = "MLX has packed these weights: take the checkpoint that they were made from";
/** Every Mimi of this family has these values; the encoder's graph supports no others. */
const CODEC_ENCODER_KNOWN = {
  audio_channels: 1,
  num_residual_layers: 1,
  num_semantic_quantizers: 1,
  use_causal_conv: true,
  use_conv_shortcut: false,
  pad_mode: "constant",
  hidden_act: "gelu",
} as const;

/**
 * Weights from one file or from the shards of an index, mapped or unpacked. Taking a tensor checks its shape
 * and that its values are finite.
 */
export class Weights {
  private constructor(
    readonly files: string[],
    private readonly tensors: Map<string, Tensor>,
    private readonly mapped: MappedFile[],
  ) {}

  static open(directory: string): Weights {
    const files = weightFiles(directory);
    const mapped = files.map((file) => (isPacked(file) ? inMemory(file) : mapFile(file)));
    const tensors = new Map<string, Tensor>();
    for (const { path, bytes } of mapped)
      for (const [name, tensor] of parseSafetensors(bytes, path)) tensors.set(name, tensor);
    return new Weights(files, tensors, mapped);
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** @throws TtsError CHECKPOINT_INVALID when missing, of another shape, or not finite. */
  take(name: string, shape: readonly number[]): Tensor {
    const tensor = this.tensors.get(name);
    if (tensor === undefined)
      throw invalid(this.files[0], `tensor ${name} is missing`, "the checkpoint is incomplete");
    if (!FLOATS.includes(tensor.dtype))
      throw invalid(tensor.file, `tensor ${name} is ${tensor.dtype}`, this.hintForType(name));
    if (tensor.shape.join() !== shape.join()) {
      throw invalid(
        tensor.file,
        `tensor ${name} has shape [${tensor.shape}], the config says [${shape}]`,
        "config and weights do not belong together",
      );
    }
    assertFinite(tensor);
    return tensor;
  }

  private hintForType(name: string): string {
    const isPackedByMlx = this.has(name.replace(/\.weight$/, ".scales"));
    return isPackedByMlx ? MLX_HINT : `weights must be ${FLOATS.join(", ")}`;
  }

  /** Refuses more layers than the config counts: they would be left out silently. */
  checkLayers(prefix: string, layers: number): void {
    if (!this.has(`${prefix}.layers.${layers}.input_layernorm.weight`)) return;
    throw invalid(
      this.files[0],
      `${prefix} has more than the ${layers} layers of the config`,
      "config and weights do not belong together",
    );
  }

  /** Lets the pages that have been read leave memory. */
  release(): void {
    for (const file of this.mapped) file.release();
  }

  close(): void {
    for (const file of this.mapped) file.close();
  }
}

/** A packed file as if it were mapped. */
function inMemory(path: string): MappedFile {
  return { path, bytes: unpackedWeights(path), release: () => {}, close: () => {} };
}

export interface Checkpoint {
  directory: string;
  name: string;
  abilities: CheckpointAbilities;
  config: JsonFile;
  generation: JsonFile;
  talker: TransformerShape;
  predictor: TransformerShape;
  codec: CodecShape;
  /** The encoders that turn a recording into codes and a speaker vector; null except in Base models. */
  encoders: { codec: CodecEncoderShape; speaker: SpeakerEncoderShape } | null;
  /** Rows of the talker's codec embedding and head. */
  codecVocabulary: number;
  /** Codes per codebook. */
  codes: number;
  alignment: AlignmentHead | null;
  textVocabulary: number;
  textHidden: number;
  weights: Weights;
  codecWeights: Weights;
  close(): void;
}

/**
 * Opens a checkpoint directory and checks its configuration.
 * @throws TtsError CHECKPOINT_INVALID with file, key and value.
 */
export function openCheckpoint(directory: string): Checkpoint {
  const missing = missingFile((name) => existsSync(join(directory, name)));
  if (missing !== null) throw invalid(join(directory, missing), "is missing", "the checkpoint is incomplete");
  const config = readJson(join(directory, "config.json"));
  const codecFile = readJson(join(directory, "speech_tokenizer/config.json"));
  for (const file of [config, codecFile]) refusePacked(file);
  const abilities = readAbilities(directory, config);
  const talker = config.object("talker_config");
  const predictor = talker.object("code_predictor_config");
  if (talker.count("num_code_groups") !== 16) throw invalid(config.file, "num_code_groups is not 16");
  const shapes = { talker: transformerShape(talker), predictor: transformerShape(predictor) };
  const codes = predictor.size("vocab_size");
  const codec = codecShape(codecFile);
  checkCodec(codecFile.file, codec, codes);
  const encoders =
    abilities.modelType === "base" ? encoderShapes(config, codecFile, codes, shapes.talker.hidden) : null;
  const weights = Weights.open(directory);
  const codecWeights = Weights.open(join(directory, "speech_tokenizer"));
  weights.checkLayers("talker.model", shapes.talker.layers);
  weights.checkLayers("talker.code_predictor.model", shapes.predictor.layers);
  codecWeights.checkLayers("decoder.pre_transformer", codec.layers);
  if (encoders !== null) codecWeights.checkLayers("encoder.encoder_transformer", encoders.codec.layers);
  return {
    directory: resolve(directory),
    name: basename(resolve(directory)),
    abilities,
    config,
    generation: readJsonOrEmpty(join(directory, "generation_config.json")),
    ...shapes,
    codec,
    encoders,
    codecVocabulary: talker.size("vocab_size"),
    codes,
    alignment: alignmentHead(abilities.modelSize, shapes.talker),
    textVocabulary: talker.size("text_vocab_size"),
    textHidden: talker.size("text_hidden_size"),
    weights,
    codecWeights,
    close: () => {
      weights.close();
      codecWeights.close();
    },
  };
}

/**
 * By the size that a checkpoint names: the head that was found to follow the text, or was trained to. A model
 * that is too small for it only bears the name.
 */
const ALIGNMENT_HEADS: Readonly<Record<string, readonly [layer: number, head: number]>> = {
  "0b6": [6, 5],
  "1b7": [3, 0],
  starter: [2, 0],
};

function alignmentHead(
  modelSize: string,
  { headDim, heads, kvHeads, layers }: TransformerShape,
): AlignmentHead | null {
  if (!Object.hasOwn(ALIGNMENT_HEADS, modelSize)) return null;
  const [layer, head] = ALIGNMENT_HEADS[modelSize];
  return layer < layers && head < heads
    ? { layer, head, keyHead: Math.floor((head * kvHeads) / heads), width: headDim }
    : null;
}

/** Packed weights would be told by their types, too, but not who can read them. */
function refusePacked(config: JsonFile): void {
  if (config.has("quantization")) throw invalid(config.file, "has quantization, the mark of MLX", MLX_HINT);
  if (!config.has("quantization_config")) return;
  const method = config.object("quantization_config").string("quant_method", "MLX");
  throw invalid(
    config.file,
    `its weights are packed by ${method} (quantization_config)`,
    "take the checkpoint that they were made from",
  );
}

function checkCodec(file: string, codec: CodecShape, codes: number): void {
  if (codec.codebookSize !== codes)
    throw invalid(
      file,
      `codebook_size is ${codec.codebookSize}, the code predictor gives codes below ${codes}`,
    );
  const samples = [...codec.upsamplingRatios, ...codec.upsampleRates].reduce(
    (product, rate) => product * rate,
    1,
  );
  if (samples !== SAMPLES_PER_FRAME)
    throw invalid(file, `upsampling gives ${samples} samples a frame, not ${SAMPLES_PER_FRAME} samples`);
}

function transformerShape(config: JsonFile): TransformerShape {
  return {
    hidden: config.size("hidden_size"),
    intermediate: config.size("intermediate_size"),
    layers: config.size("num_hidden_layers"),
    heads: config.size("num_attention_heads"),
    kvHeads: config.size("num_key_value_heads"),
    headDim: config.size("head_dim"), // never hidden / heads: 0.6B differs
    ropeTheta: ropeTheta(config),
    rmsEps: config.number("rms_norm_eps"),
  };
}

/**
 * Transformers 5 moved theta into `rope_parameters`, where it may stand once for each type of layer. The
 * three axes of `mrope_section` are one here: they only differ for pictures.
 */
function ropeTheta(config: JsonFile, fallback?: number): number {
  const outside = config.has("rope_theta") ? config.number("rope_theta") : fallback;
  const key = ["rope_parameters", "rope_scaling"].find((name) => config.has(name));
  if (key === undefined) return config.number("rope_theta", fallback);
  const rope = config.object(key);
  const types = config.has("layer_types") ? config.strings("layer_types") : LAYER_TYPES;
  const perType = types.filter((type) => LAYER_TYPES.includes(type) && rope.has(type));
  const parts = perType.length > 0 ? [...new Set(perType)].map((type) => rope.object(type)) : [rope];
  const thetas = parts.map((part) => {
    const kind = part.string("rope_type", part.string("type", "default"));
    if (!PLAIN_ROPE.includes(kind)) throw config.wrong(`rope_type is "${kind}", which is not supported`);
    return part.number("rope_theta", outside);
  });
  if (new Set(thetas).size > 1) throw config.wrong(`${key} has several rope_theta: ${thetas.join(", ")}`);
  return thetas[0];
}

function codecShape(file: JsonFile): CodecShape {
  const config = file.object("decoder_config");
  return {
    codebookSize: config.size("codebook_size"),
    codebookDim: config.size("codebook_dim"),
    latent: config.size("latent_dim"),
    hidden: config.size("hidden_size"),
    intermediate: config.size("intermediate_size"),
    layers: config.size("num_hidden_layers"),
    heads: config.size("num_attention_heads"),
    headDim: config.size("head_dim", 64),
    rmsEps: config.number("rms_norm_eps"),
    ropeTheta: ropeTheta(config),
    slidingWindow: config.size("sliding_window"),
    decoderDim: config.size("decoder_dim"),
    upsamplingRatios: config.counts("upsampling_ratios"),
    upsampleRates: config.counts("upsample_rates"),
  };
}

function encoderShapes(
  config: JsonFile,
  codecFile: JsonFile,
  codes: number,
  talkerHidden: number,
): Checkpoint["encoders"] {
  const shapes = { codec: codecEncoderShape(codecFile), speaker: speakerEncoderShape(config) };
  const { codebookSize, strides } = shapes.codec;
  if (codebookSize !== codes) {
    throw invalid(
      codecFile.file,
      `encoder_config.codebook_size is ${codebookSize}, the code predictor takes codes below ${codes}`,
    );
  }
  const samples = strides.reduce((product, stride) => product * stride, ENCODER_DOWNSAMPLING);
  if (samples !== SAMPLES_PER_FRAME)
    throw invalid(codecFile.file, `the encoder takes ${samples} samples a frame, not ${SAMPLES_PER_FRAME}`);
  if (shapes.speaker.width !== talkerHidden) {
    throw invalid(
      config.file,
      `speaker_encoder_config.enc_dim is ${shapes.speaker.width}, the talker is ${talkerHidden} wide`,
    );
  }
  return shapes;
}

/** `sliding_window` is not read: the official code does not apply it. */
function codecEncoderShape(file: JsonFile): CodecEncoderShape {
  file.only("encoder_valid_num_quantizers", CODES_PER_FRAME);
  const config = file.object("encoder_config");
  for (const [key, known] of Object.entries(CODEC_ENCODER_KNOWN)) config.only(key, known);
  const [hidden, heads] = [config.size("hidden_size"), config.size("num_attention_heads")];
  return {
    codebookSize: config.size("codebook_size"),
    codebookDim: config.size("codebook_dim"),
    hidden,
    intermediate: config.size("intermediate_size"),
    layers: config.size("num_hidden_layers"),
    heads,
    headDim: config.size("head_dim", hidden / heads),
    normEps: config.number("norm_eps", 1e-5),
    ropeTheta: ropeTheta(config, 10_000),
    filters: config.size("num_filters"),
    kernel: config.size("kernel_size", 7),
    lastKernel: config.size("last_kernel_size", 3),
    residualKernel: config.size("residual_kernel_size", 3),
    compress: config.size("compress", 2),
    strides: config.counts("upsampling_ratios").toReversed(),
  };
}

/** Absent keys get the official defaults, which are those of 0.6B. */
function speakerEncoderShape(file: JsonFile): SpeakerEncoderShape {
  const config = file.object("speaker_encoder_config", {});
  config.only("sample_rate", SAMPLE_RATE_HZ);
  config.only("mel_dim", 128);
  const shape = {
    width: config.size("enc_dim", 1024),
    channels: config.counts("enc_channels", [512, 512, 512, 512, 1536]),
    kernels: config.counts("enc_kernel_sizes", [5, 3, 3, 3, 1]),
    dilations: config.counts("enc_dilations", [1, 2, 3, 4, 1]),
    attention: config.size("enc_attention_channels", 128),
    squeeze: config.size("enc_se_channels", 128),
    scale: config.size("enc_res2net_scale", 8),
  };
  const { channels, dilations, kernels, scale } = shape;
  const [entry, ...rest] = channels;
  const fits =
    rest.length === 4 &&
    rest[3] === 3 * entry &&
    rest.slice(0, 3).every((size) => size === entry) &&
    entry % scale === 0;
  if (!fits)
    throw invalid(
      file.file,
      `speaker_encoder_config.enc_channels is [${channels}]: not four equal multiples of ${scale} and their triple`,
    );
  if (kernels.length !== 5 || dilations.length !== 5)
    throw invalid(file.file, "speaker_encoder_config has not five kernels and dilations");
  return shape;
}
