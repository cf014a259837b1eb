// The run-time form of a model: a folder of files and the manifest `bundle.json` that describes them (see models/MODEL.md).

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TtsError } from "./errors.ts";
import type { ModelType, SamplerSettings } from "./types.ts";

export const BUNDLE_FORMAT = "qwen3-tts-bundle";
/** Raised whenever the files of older bundles can no longer be used. */
export const BUNDLE_VERSION = 2;

/** File names inside a bundle. Encoders are there only in Base models, reading files only for voices that read IPA. */
export const BUNDLE_FILES = {
  manifest: "bundle.json",
  talker: "talker.gguf",
  predictorGguf: "predictor.gguf",
  predictorOnnx: "predictor.onnx",
  vocoder: "vocoder.onnx",
  speakerEncoder: "speaker-encoder.onnx",
  codecEncoder: "codec-encoder.onnx",
  tokenizer: "tokenizer.gguf",
  tables: "tables.safetensors",
  lexicon: "lexicon.tsv",
  letters: "letters.tsv",
} as const;

/** Ids of the text side, from config.json. */
export interface TextIds {
  ttsPad: number;
  ttsBos: number;
  ttsEos: number;
}

/** Ids of the codec side: rows of the talker's codec embedding. */
export interface CodecIds {
  bos: number;
  eos: number;
  pad: number;
  think: number;
  nothink: number;
  thinkBos: number;
  thinkEos: number;
}

/** What turns a text into rows of integers; pure data, all from config.json. */
export interface PromptSpec {
  modelType: ModelType;
  /** Whether an instruction has any effect (official rule: not on the 0.6B models, not on Base). */
  takesInstruct: boolean;
  text: TextIds;
  codec: CodecIds;
  /** Lower-case name -> codec id; dialects included. */
  languages: Record<string, number>;
  /** Lower-case name -> codec id, in the checkpoint's order. */
  speakers: Record<string, number>;
  /** Speaker -> the dialect it speaks. */
  dialects: Record<string, string>;
  /** Strings that the tokenizer reads as one id wherever they stand. */
  controlTokens: string[];
}

export interface Manifest {
  format: typeof BUNDLE_FORMAT;
  version: number;
  name: string;
  modelSize: string;
  /** Weight type of talker and predictor. f32 bundles run with f32 KV and without flash attention: they match the official code. */
  weights: string;
  /** Widths and counts that programs need before any file is opened. */
  shape: {
    hidden: number;
    predictorHidden: number;
    codecVocabulary: number;
    codes: number;
    textVocabulary: number;
    layers: number;
    predictorLayers: number;
  };
  prompt: PromptSpec;
  /** generation_config.json. maxNewTokens counts the closing token: one more than frames. */
  sampling: { talker: SamplerSettings; predictor: SamplerSettings; maxNewTokens: number };
  /** null: text is tokenised as written. */
  reading: { maxPhones: number } | null;
  /** Every file of the bundle but this one. */
  files: string[];
  /** Relative path -> what was converted. */
  source: Record<string, { bytes: number; sha256: string }>;
  libraries: { llama: string; onnxruntime: string };
}

export interface Bundle {
  directory: string;
  manifest: Manifest;
}

const bundlePath = (bundle: Bundle, file: keyof typeof BUNDLE_FILES) => join(bundle.directory, BUNDLE_FILES[file]);

export { bundlePath };

/** Whether a folder looks like a bundle, whole or not. */
export function isBundle(directory: string): boolean {
  return existsSync(join(directory, BUNDLE_FILES.manifest));
}

/**
 * Reads the manifest and checks that every file is there.
 * @throws TtsError BUNDLE_INVALID
 */
export function openBundle(directory: string): Bundle {
  const file = join(directory, BUNDLE_FILES.manifest);
  const fail = (what: string) =>
    new TtsError("BUNDLE_INVALID", `${file} ${what}`, "convert the checkpoint again: tts convert DIR -o BUNDLE");
  let manifest: Manifest;
  try {
    manifest = JSON.parse(readFileSync(file, "utf8")) as Manifest;
  } catch (cause) {
    throw fail(`cannot be read: ${(cause as Error).message}`);
  }
  if (manifest.format !== BUNDLE_FORMAT) throw fail(`is not a bundle manifest (format ${JSON.stringify(manifest.format)})`);
  if (manifest.version !== BUNDLE_VERSION) throw fail(`has format version ${manifest.version}, this program reads ${BUNDLE_VERSION}`);
  if (!Array.isArray(manifest.files)) throw fail("lists no files");
  const missing = manifest.files.find((name) => !existsSync(join(directory, name)));
  if (missing !== undefined) throw fail(`is there, but ${missing} is missing beside it`);
  return { directory, manifest };
}
