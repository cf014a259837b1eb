// What a GGUF file of a bundle must say before libllama may open it: a damaged file would end the process.

import { mapFile } from "../../ffi/libc.ts";
import { cpuCode, LlamaModel, loadLlama } from "../../ffi/llama.ts";
import type { Config, WeightType } from "../config.ts";
import { BUNDLE_HINT, fileError, TtsError } from "../errors.ts";
import { BUNDLE_FILES, type Bundle, bundlePath, FORMED_STAGES, fasterFirst } from "../formats/bundle.ts";
import { GGUF_TYPE, type GgufHead, parseGgufHead } from "../formats/gguf.ts";

/**
 * Types whose weights libllama puts in another order when it opens a file that is not arranged. It then uses
 * only that copy, and a mapped file would take memory for nothing.
 */
const REARRANGED: readonly WeightType[] = ["q4_0", "q4_k_m", "iq4_nl"];

export interface TransformerHead {
  layers: number;
  width: number;
  vocabulary: number;
}

/** Values of one file by key and type. */
class Values {
  constructor(
    readonly path: string,
    private readonly head: GgufHead,
  ) {}

  wrong(what: string): TtsError {
    return new TtsError("BUNDLE_INVALID", `${this.path}: ${what}`, BUNDLE_HINT);
  }

  private get(key: string, type: keyof typeof GGUF_TYPE): unknown {
    const found = this.head.values.get(key);
    if (found?.type !== GGUF_TYPE[type]) throw this.wrong(`has no ${key} of the type ${type}`);
    return found.value;
  }

  /** A value that must be exactly `expected`. */
  only(key: string, expected: string | number): void {
    const value = this.get(key, typeof expected === "string" ? "string" : "u32");
    if (value !== expected)
      throw this.wrong(`${key} is ${JSON.stringify(value)}, not ${JSON.stringify(expected)}`);
  }

  within(key: string, least: number, most: number, type: "u32" | "f32" = "u32"): number {
    const value = this.get(key, type) as number;
    if (!(value >= least && value <= most))
      throw this.wrong(`${key} is ${value}, not from ${least} to ${most}`);
    return value;
  }
}

/**
 * Opens a transformer of a bundle once its file is checked.
 * @throws TtsError BUNDLE_INVALID
 */
export function openTransformer(
  bundle: Bundle,
  file: "talker" | "predictorGguf",
  type: WeightType,
  head: TransformerHead,
): LlamaModel {
  const path = bundlePath(bundle, file);
  checkTransformerGguf(path, head);
  if (!bundle.manifest.arranged?.files.includes(BUNDLE_FILES[file]))
    return LlamaModel.open(path, { copied: REARRANGED.includes(type) });
  const what = foreignOrder(bundle, file);
  if (what === null) return LlamaModel.open(path, { arranged: true });
  throw new TtsError("BUNDLE_INVALID", what, "convert the checkpoint again here");
}

/** What is wrong with a file that is laid out for other kernels than those of this process, or null. */
function foreignOrder(bundle: Bundle, file: "talker" | "predictorGguf"): string | null {
  const { arranged } = bundle.manifest;
  if (!arranged?.files.includes(BUNDLE_FILES[file]) || arranged.code === cpuCode()) return null;
  return `${bundlePath(bundle, file)} is laid out for another processor or library (${arranged.code})`;
}

/** The same of the files that talker and code predictor would open. @throws TtsError LIBRARY_* */
export function foreignOrderOf(bundle: Bundle, config: Config): string | null {
  const { manifest } = bundle;
  if (manifest.arranged === null) return null;
  loadLlama(config.libraries.llama);
  const files = { talker: "talker", predictor: "predictorGguf" } as const;
  const opened = FORMED_STAGES.filter((stage) => {
    const choice = config[stage];
    return (choice === "auto" ? fasterFirst(manifest, stage)[0] : choice) === "llama";
  });
  return opened.map((stage) => foreignOrder(bundle, files[stage])).find((what) => what !== null) ?? null;
}

function checkTransformerGguf(path: string, { layers, vocabulary, width }: TransformerHead): void {
  readMapped(path, (bytes) => {
    const values = new Values(path, parseGgufHead(bytes, path));
    values.only("general.architecture", "qwen3");
    values.only("tokenizer.ggml.model", "none");
    values.only("qwen3.block_count", layers);
    values.only("qwen3.embedding_length", width);
    values.only("qwen3.vocab_size", vocabulary);
    values.within("qwen3.context_length", 1, 2 ** 24);
    values.within("qwen3.feed_forward_length", 1, 2 ** 20);
    const heads = values.within("qwen3.attention.head_count", 1, 1_024);
    const kvHeads = values.within("qwen3.attention.head_count_kv", 1, heads);
    if (heads % kvHeads !== 0) throw values.wrong(`${heads} attention heads share ${kvHeads} key heads`);
    const dim = values.within("qwen3.attention.key_length", 2, 1_024);
    if (dim % 2 !== 0) throw values.wrong(`qwen3.attention.key_length is ${dim}, which is odd`);
    values.only("qwen3.attention.value_length", dim);
    values.within("qwen3.attention.layer_norm_rms_epsilon", 0, 1, "f32");
    values.within("qwen3.rope.freq_base", 1, 1e12, "f32");
  });
}

function readMapped(path: string, read: (bytes: Uint8Array) => void): void {
  let file: ReturnType<typeof mapFile>;
  try {
    file = mapFile(path);
  } catch (cause) {
    throw fileError("BUNDLE_INVALID", path, cause, { use: "read", hint: BUNDLE_HINT });
  }
  try {
    read(file.bytes);
  } finally {
    file.close();
  }
}
