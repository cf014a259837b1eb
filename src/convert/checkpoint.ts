// An official checkpoint directory: its JSON files, checked key by key, and its weights, mapped.

import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type MappedFile, mapFile } from "../../ffi/libc.ts";
import { TtsError } from "../errors.ts";
import { assertFinite, parseSafetensors, type Tensor } from "../safetensors.ts";
import { type ModelType, SAMPLES_PER_FRAME } from "../types.ts";

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

/** The files a directory must have to count as a checkpoint. */
export const CHECKPOINT_FILES = [
  "config.json",
  "generation_config.json",
  "vocab.json",
  "merges.txt",
  "tokenizer_config.json",
  "speech_tokenizer/config.json",
] as const;
const WEIGHT_FILES = ["model.safetensors", "speech_tokenizer/model.safetensors"] as const;
/** Present together where a voice reads IPA. */
export const READING_FILES = ["lexicon.tsv", "letters.tsv"] as const;

/** One JSON file with errors that name file and key. */
export class JsonFile {
  private constructor(
    readonly file: string,
    private readonly value: Record<string, unknown>,
    private readonly path = "",
  ) {}

  static read(file: string): JsonFile {
    let value: unknown;
    try {
      value = JSON.parse(readFileSync(file, "utf8"));
    } catch (cause) {
      const why = cause instanceof SyntaxError ? `is not JSON (${cause.message})` : `cannot be read (${(cause as Error).message})`;
      throw new TtsError("CHECKPOINT_INVALID", `${file} ${why}`, "download or copy the file again", { cause });
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(file, "holds no JSON object");
    return new JsonFile(file, value as Record<string, unknown>);
  }

  private get<T>(key: string, type: string, accept: (value: unknown) => boolean, fallback?: T): T {
    const value = this.value[key];
    if (value === undefined && fallback !== undefined) return fallback;
    if (!accept(value)) throw invalid(this.file, `${this.path}${key} is ${JSON.stringify(value) ?? "missing"}, not ${type}`);
    return value as T;
  }

  number(key: string, fallback?: number): number {
    return this.get(key, "a number", (value) => typeof value === "number" && Number.isFinite(value), fallback);
  }
  /** A whole number of at least 0. */
  count(key: string, fallback?: number): number {
    return this.get(key, "a whole number", (value) => Number.isSafeInteger(value) && (value as number) >= 0, fallback);
  }
  /** A whole number of at least 1. */
  size(key: string, fallback?: number): number {
    return this.get(key, "a whole number above 0", (value) => Number.isSafeInteger(value) && (value as number) > 0, fallback);
  }
  /** A row of a table that has `rows` of them. */
  id(key: string, rows: number): number {
    return this.get(key, `a number from 0 to ${rows - 1}`, (value) => isId(value, rows));
  }
  string(key: string, fallback?: string): string {
    return this.get(key, "a string", (value) => typeof value === "string", fallback);
  }
  boolean(key: string, fallback?: boolean): boolean {
    return this.get(key, "true or false", (value) => typeof value === "boolean", fallback);
  }
  counts(key: string): number[] {
    return this.get(
      key,
      "a list of whole numbers",
      (value) => Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n > 0),
    );
  }
  object(key: string): JsonFile {
    const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
    return new JsonFile(this.file, this.get(key, "an object", isObject), `${this.path}${key}.`);
  }
  has(key: string): boolean {
    return this.value[key] !== undefined && this.value[key] !== null;
  }
  entries(): [string, unknown][] {
    return Object.entries(this.value);
  }
}

/** Whether a value of a JSON file is a row number below `rows`. */
export const isId = (value: unknown, rows: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < rows;

export function invalid(file: string, what: string, hint = "is this an official Qwen3-TTS 12 Hz checkpoint?"): TtsError {
  return new TtsError("CHECKPOINT_INVALID", `${file}: ${what}`, hint);
}

/** Weights of one file or of the shards of an index, mapped. Every tensor that is taken is checked for shape and numbers. */
export class Weights {
  private constructor(
    readonly files: string[],
    private readonly tensors: Map<string, Tensor>,
    private readonly mapped: MappedFile[],
  ) {}

  static open(directory: string): Weights {
    const files = weightFiles(directory);
    const mapped = files.map((file) => mapFile(file));
    const tensors = new Map<string, Tensor>();
    for (const { path, bytes } of mapped) for (const [name, tensor] of parseSafetensors(bytes, path)) tensors.set(name, tensor);
    return new Weights(files, tensors, mapped);
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** @throws TtsError CHECKPOINT_INVALID when missing, of another shape, or not finite. */
  take(name: string, shape: readonly number[]): Tensor {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw invalid(this.files[0], `tensor ${name} is missing`, "the checkpoint is incomplete");
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

  /** Layers that the config does not count would be left out without a word. */
  checkLayers(prefix: string, layers: number): void {
    if (!this.has(`${prefix}.layers.${layers}.input_layernorm.weight`)) return;
    throw invalid(this.files[0], `${prefix} has more than the ${layers} layers of the config`, "config and weights do not belong together");
  }

  close(): void {
    for (const file of this.mapped) file.close();
  }
}

/** `model.safetensors`, or the shards that `model.safetensors.index.json` names. */
function weightFiles(directory: string): string[] {
  const single = join(directory, "model.safetensors");
  if (existsSync(single)) return [single];
  const index = join(directory, "model.safetensors.index.json");
  if (!existsSync(index)) throw invalid(single, "is missing", "the checkpoint is incomplete");
  const names = new Set(
    JsonFile.read(index)
      .object("weight_map")
      .entries()
      .map(([, shard]) => String(shard)),
  );
  const files = [...names].map((name) => join(directory, basename(name)));
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw invalid(missing, "is missing", "the checkpoint is incomplete");
  return files;
}

export interface Checkpoint {
  directory: string;
  name: string;
  modelType: ModelType;
  modelSize: string;
  config: JsonFile;
  generation: JsonFile;
  talker: TransformerShape;
  predictor: TransformerShape;
  codec: CodecShape;
  /** Rows of the talker's codec embedding and head. */
  codecVocabulary: number;
  /** Codes per codebook. */
  codes: number;
  textVocabulary: number;
  textHidden: number;
  weights: Weights;
  codecWeights: Weights;
  close(): void;
}

/** Files whose content decides what a bundle holds, relative to the directory. */
export function sourceFiles(directory: string): string[] {
  const weights = WEIGHT_FILES.flatMap((name) => {
    const folder = join(directory, name, "..");
    return weightFiles(folder).map((file) => (name.includes("/") ? `speech_tokenizer/${basename(file)}` : basename(file)));
  });
  const reading = READING_FILES.filter((name) => existsSync(join(directory, name)));
  return [...CHECKPOINT_FILES, ...reading, ...weights];
}

/**
 * Opens a checkpoint directory and checks its configuration.
 * @throws TtsError CHECKPOINT_INVALID with file, key and value.
 */
export function openCheckpoint(directory: string): Checkpoint {
  const missing = CHECKPOINT_FILES.find((name) => !existsSync(join(directory, name)));
  if (missing !== undefined) throw invalid(join(directory, missing), "is missing", "the checkpoint is incomplete");
  const config = JsonFile.read(join(directory, "config.json"));
  const modelType = config.string("tts_model_type");
  if (!["custom_voice", "voice_design", "base"].includes(modelType)) throw invalid(config.file, `tts_model_type is "${modelType}"`);
  const talker = config.object("talker_config");
  const predictor = talker.object("code_predictor_config");
  if (talker.count("num_code_groups") !== 16) throw invalid(config.file, "num_code_groups is not 16");
  const shapes = { talker: transformerShape(talker), predictor: transformerShape(predictor) };
  const codecFile = JsonFile.read(join(directory, "speech_tokenizer/config.json"));
  const codes = predictor.size("vocab_size");
  const codec = codecShape(codecFile);
  checkCodec(codecFile.file, codec, codes);
  const weights = Weights.open(directory);
  const codecWeights = Weights.open(join(directory, "speech_tokenizer"));
  weights.checkLayers("talker.model", shapes.talker.layers);
  weights.checkLayers("talker.code_predictor.model", shapes.predictor.layers);
  codecWeights.checkLayers("decoder.pre_transformer", codec.layers);
  return {
    directory: resolve(directory),
    name: basename(resolve(directory)),
    modelType: modelType as ModelType,
    modelSize: config.string("tts_model_size", ""),
    config,
    generation: JsonFile.read(join(directory, "generation_config.json")),
    ...shapes,
    codec,
    codecVocabulary: talker.size("vocab_size"),
    codes,
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

function checkCodec(file: string, codec: CodecShape, codes: number): void {
  if (codec.codebookSize !== codes)
    throw invalid(file, `codebook_size is ${codec.codebookSize}, the code predictor gives codes below ${codes}`);
  const samples = [...codec.upsamplingRatios, ...codec.upsampleRates].reduce((product, rate) => product * rate, 1);
  if (samples !== SAMPLES_PER_FRAME) throw invalid(file, `upsampling gives ${samples} samples a frame, not ${SAMPLES_PER_FRAME} samples`);
}

function transformerShape(config: JsonFile): TransformerShape {
  return {
    hidden: config.size("hidden_size"),
    intermediate: config.size("intermediate_size"),
    layers: config.size("num_hidden_layers"),
    heads: config.size("num_attention_heads"),
    kvHeads: config.size("num_key_value_heads"),
    headDim: config.size("head_dim"), // never hidden / heads: 0.6B differs
    ropeTheta: config.number("rope_theta"),
    rmsEps: config.number("rms_norm_eps"),
  };
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
    ropeTheta: config.number("rope_theta"),
    slidingWindow: config.size("sliding_window"),
    decoderDim: config.size("decoder_dim"),
    upsamplingRatios: config.counts("upsampling_ratios"),
    upsampleRates: config.counts("upsample_rates"),
  };
}
