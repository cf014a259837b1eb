// The run-time form of a model: a folder of files and the manifest `bundle.json` that describes them (see
// models/MODEL.md).

import { existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { DEFAULT_WEIGHTS, WEIGHT_CHOICES, type WeightType, type WeightTypes } from "../config.ts";
import { BUNDLE_HINT, TtsError } from "../errors.ts";
import { hashFile, newHash } from "../io/hash.ts";
import { jsonOrNull } from "../io/read.ts";
import { MODEL_TYPES, type ModelType, type SamplerSettings } from "../types.ts";
import { JsonFile } from "./json.ts";

export const BUNDLE_FORMAT = "qwen3-tts-bundle";
/** Raised whenever the files of older bundles can no longer be used. */
export const BUNDLE_VERSION = 8;
/** No model has larger sizes: only a damaged manifest does. */
const LARGEST = {
  width: 16_384,
  layers: 256,
  weights: 2 ** 40,
  heads: 1_024,
  codes: 65_536,
  vocabulary: 2 ** 20,
  bytes: 2 ** 50,
  frames: 2 ** 20,
  phones: 100_000,
} as const;

/**
 * File names inside a bundle. Only Base models have encoders; only voices that read IPA have reading files.
 */
export const BUNDLE_FILES = {
  manifest: "bundle.json",
  talker: "talker.gguf",
  talkerOnnx: "talker.onnx",
  predictorGguf: "predictor.gguf",
  predictorOnnx: "predictor.onnx",
  predictorHeads: "predictor-heads.onnx",
  vocoder: "vocoder.onnx",
  speakerEncoder: "speaker-encoder.onnx",
  codecEncoder: "codec-encoder.onnx",
  tokenizer: "tokenizer.safetensors",
  tables: "tables.safetensors",
  lexicon: "lexicon.tsv",
  letters: "letters.tsv",
} as const;

/**
 * Talker and code predictor have a form for each library, of which a bundle may hold one alone: its main
 * file, and all its files.
 */
export const FORMS = {
  talker: {
    llama: { main: BUNDLE_FILES.talker, files: /^talker\.gguf$/ },
    ort: { main: BUNDLE_FILES.talkerOnnx, files: /^talker(-\d+)?\.(onnx(\.data)?|safetensors)$/ },
  },
  predictor: {
    llama: { main: BUNDLE_FILES.predictorGguf, files: /^predictor\.gguf$/ },
    ort: {
      main: BUNDLE_FILES.predictorOnnx,
      files: /^predictor(-heads|-\d+)?\.(onnx(\.data)?|safetensors)$/,
    },
  },
} as const;
export const FORMED_STAGES = ["talker", "predictor"] as const;
export type FormedStage = (typeof FORMED_STAGES)[number];
export type Form = keyof (typeof FORMS)["talker"];
/** Talkers of other types have no form for ONNX Runtime: it would compute with one of these. */
const ORT_TALKER_TYPES: readonly WeightType[] = ["f32", "q8_0", "q4_0"];
export const isFormable = (stage: FormedStage, form: Form, weights: WeightTypes) =>
  stage === "predictor" || form === "llama" || ORT_TALKER_TYPES.includes(weights.talker);
/** @throws TtsError MODEL_UNSUITABLE */
export function assertFormable(stage: FormedStage, form: Form, weights: WeightTypes): void {
  if (isFormable(stage, form, weights)) return;
  throw new TtsError(
    "MODEL_UNSUITABLE",
    `a ${stage} in ${weights[stage]} has no ${form} form`,
    `choose {${stage}} llama, or one of ${ORT_TALKER_TYPES.join(", ")}: tts convert DIR -o BUNDLE --weights ${DEFAULT_WEIGHTS}`,
  );
}
/** The forms that a bundle holds. */
export const formsOf = ({ files }: Pick<Manifest, "files">, stage: FormedStage) =>
  (Object.keys(FORMS[stage]) as Form[]).filter((form) => Object.hasOwn(files, FORMS[stage][form].main));

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

/** The data that turns a text into rows of integers, all from config.json. */
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
  /** Text -> the id that the tokenizer reads it as, wherever it occurs. */
  controlTokens: Record<string, number>;
}

/** What a file must be. */
export interface FileSum {
  bytes: number;
  /** Of its content, as hex digits. */
  sha256: string;
}

/** An attention head that looks at the text token being said. */
export interface AlignmentHead {
  layer: number;
  head: number;
  /** The key head that it shares with others. */
  keyHead: number;
  width: number;
}

/** Files whose weights only one kind of processor can use as they lie. */
export interface Arrangement {
  /** The CPU code that they are for, as libllama's wrapper names it. */
  code: string;
  files: string[];
}

export interface Manifest {
  format: typeof BUNDLE_FORMAT;
  version: number;
  name: string;
  modelSize: string;
  /**
   * A stage in f32 runs with an f32 KV cache and without flash attention, so that it matches the official
   * code.
   */
  weights: WeightTypes;
  /** Widths and counts that programs need before any file is opened. */
  shape: {
    hidden: number;
    predictorHidden: number;
    codecVocabulary: number;
    codes: number;
    textVocabulary: number;
    layers: number;
    predictorLayers: number;
    /** Numbers in the matrices of their layers. */
    talkerWeights: number;
    predictorWeights: number;
    predictorKvHeads: number;
  };
  /**
   * Predictor backend -> milliseconds per frame, measured when the bundle was made; `auto` takes the fastest.
   * May be empty.
   */
  predictorMs: Record<string, number>;
  /**
   * Predictor backend -> milliseconds of a pass of 1, 2, 3 ... rows of a frame with the drafts that it
   * takes, as many rows as were proven to give the bits of single ones. May be empty: nothing is proven
   * then.
   */
  predictorPassMs: Record<string, number[]>;
  /** The same of the talker, a prompt shared out among the frames of a sentence. */
  talkerMs: Record<string, number>;
  /** The talker's attention head that follows the text, with the width of its keys; null: none is known. */
  alignment: AlignmentHead | null;
  /** Weights in the order of one processor's kernels; null where all may be read on any. */
  arranged: Arrangement | null;
  prompt: PromptSpec;
  /**
   * From generation_config.json. maxNewTokens counts the closing token, so it is the most frames plus one.
   */
  sampling: { talker: SamplerSettings; predictor: SamplerSettings; maxNewTokens: number };
  /** null: text is tokenised as written. */
  reading: { maxPhones: number } | null;
  /** Every file of the bundle except the manifest. */
  files: Record<string, FileSum>;
  /** Source files, relative to the checkpoint. */
  source: Record<string, FileSum>;
  libraries: { llama: string; onnxruntime: string };
}

export interface Bundle {
  directory: string;
  manifest: Manifest;
}

/** Milliseconds of a pass of 1, 2 ... rows of this predictor backend: one row where no more are proven. */
export const provenPassMs = ({ manifest }: Bundle, backend: string): readonly number[] =>
  manifest.predictorPassMs[backend] ?? [1];

/** Guesses that are right half of the time make a predictor that takes them about so much faster. */
const GUESSING_SHARE = 0.8;
/** Predictor backend -> milliseconds per frame to be expected, by which `auto` chooses. */
export const expectedMs = ({
  predictorMs,
  predictorPassMs,
}: Pick<Manifest, "predictorMs" | "predictorPassMs">) =>
  Object.fromEntries(
    Object.entries(predictorMs).map(([backend, ms]) => {
      const guesses = (predictorPassMs[backend]?.length ?? 1) > 1;
      return [backend, guesses ? GUESSING_SHARE * ms : ms];
    }),
  );

/** The forms that a bundle holds, the one first that was faster at conversion. */
export function fasterFirst(
  manifest: Pick<Manifest, "files" | "talkerMs" | "predictorMs" | "predictorPassMs">,
  stage: FormedStage,
): Form[] {
  const times: Record<string, number> = stage === "talker" ? manifest.talkerMs : expectedMs(manifest);
  const timeOf = (form: Form) => times[form] ?? Number.MAX_VALUE;
  return formsOf(manifest, stage).toSorted((a, b) => timeOf(a) - timeOf(b));
}

/** For people, and in folder names. */
export const weightsInWords = ({ talker, predictor }: WeightTypes) =>
  talker === predictor ? talker : `${talker}-${predictor}`;

export const bundlePath = (bundle: Bundle, file: keyof typeof BUNDLE_FILES) =>
  join(bundle.directory, BUNDLE_FILES[file]);

/**
 * SHA-256 of the checkpoint's weights; of shards, that of their sums in the order of their names. "" where
 * the bundle names none.
 */
export function weightsHash({ source }: Pick<Manifest, "source">): string {
  const files = Object.keys(source).filter((file) => file.startsWith("model"));
  const sums = files.toSorted().map((file) => source[file].sha256);
  return sums.length > 1 ? newHash().update(sums.join("")).digest("hex") : (sums[0] ?? "");
}

/** Whether a folder looks like a bundle, whole or not. */
export function isBundle(directory: string): boolean {
  return existsSync(join(directory, BUNDLE_FILES.manifest));
}

/**
 * Reads the manifest and checks every value in it. Also checks that every file exists with its full size.
 * @throws TtsError BUNDLE_INVALID
 */
export function openBundle(directory: string): Bundle {
  const path = join(directory, BUNDLE_FILES.manifest);
  const file = JsonFile.read(path, { code: "BUNDLE_INVALID", hint: BUNDLE_HINT, unreadable: BUNDLE_HINT });
  const [format, version] = ["format", "version"].map((key) => new Map(file.entries()).get(key));
  if (format !== BUNDLE_FORMAT)
    throw file.wrong(`is not a bundle manifest (format ${JSON.stringify(format)})`);
  if (version !== BUNDLE_VERSION) {
    const what = `${path} has format version ${JSON.stringify(version)}, this program reads ${BUNDLE_VERSION}`;
    throw new TtsError("BUNDLE_INVALID", what, BUNDLE_HINT);
  }
  const manifest = readManifest(file);
  for (const [name, { bytes }] of Object.entries(manifest.files)) checkSize(join(directory, name), bytes);
  return { directory, manifest };
}

/** Whether another version of this program made the bundle. False where its manifest cannot be read. */
export function isOutdated(directory: string): boolean {
  const { version } = (jsonOrNull(join(directory, BUNDLE_FILES.manifest)) ?? {}) as { version?: unknown };
  return typeof version === "number" && version !== BUNDLE_VERSION;
}

/**
 * What is wrong with the first file whose content is not what the manifest says, or null. Reads every byte.
 * @param largest files beyond so many bytes are left out
 */
export function damageOf({ directory, manifest }: Bundle, largest: number = LARGEST.bytes): string | null {
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    if (bytes > largest) continue;
    const path = join(directory, name);
    try {
      checkSize(path, bytes);
      if (hashFile(path) !== sha256) return `${path} has other bytes than it was made with`;
    } catch (error) {
      return (error as Error).message;
    }
  }
  return null;
}

function checkSize(path: string, bytes: number): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() && stat.size === bytes) return;
  const what =
    stat === undefined
      ? "is missing"
      : !stat.isFile()
        ? "is no file"
        : `has ${stat.size} bytes, the manifest says ${bytes}`;
  throw new TtsError("BUNDLE_INVALID", `${path} ${what}`, BUNDLE_HINT);
}

function readManifest(file: JsonFile): Manifest {
  const shape = readShape(file.object("shape"));
  const prompt = readPrompt(file.object("prompt"), shape);
  const reading = file.has("reading")
    ? { maxPhones: file.object("reading").within("maxPhones", 1, LARGEST.phones) }
    : null;
  const files = readSums(file.object("files"));
  const odd = Object.keys(files).find(
    (name) => name !== basename(name) || [".", "..", ""].includes(name) || name.includes("\0"),
  );
  if (odd !== undefined) throw file.wrong(`files names ${JSON.stringify(odd)}, which is no plain file name`);
  const lacks = (name: string) => !Object.hasOwn(files, name);
  const needed = neededFiles(prompt.modelType, reading !== null).find(lacks);
  if (needed !== undefined) throw file.wrong(`files does not name ${needed}`);
  for (const forms of Object.values(FORMS))
    if (Object.values(forms).every(({ main }) => lacks(main)))
      throw file.wrong(
        `files names none of ${Object.values(forms)
          .map(({ main }) => main)
          .join(", ")}`,
      );
  const sampling = file.object("sampling");
  const [libraries, weights] = [file.object("libraries"), file.object("weights")];
  return {
    format: BUNDLE_FORMAT,
    version: BUNDLE_VERSION,
    name: file.string("name"),
    modelSize: file.string("modelSize"),
    weights: {
      talker: weights.choice("talker", WEIGHT_CHOICES),
      predictor: weights.choice("predictor", WEIGHT_CHOICES),
    },
    shape,
    predictorMs: file.object("predictorMs").record((times, backend) => times.number(backend)),
    predictorPassMs: file.object("predictorPassMs").record((times, backend) => times.sizes(backend)),
    talkerMs: file.object("talkerMs").record((times, backend) => times.number(backend)),
    alignment: file.has("alignment") ? readAlignment(file.object("alignment"), shape.layers) : null,
    arranged: file.has("arranged") ? readArrangement(file.object("arranged")) : null,
    prompt,
    sampling: {
      talker: readSampler(sampling.object("talker")),
      predictor: readSampler(sampling.object("predictor")),
      maxNewTokens: sampling.within("maxNewTokens", 0, LARGEST.frames),
    },
    reading,
    files,
    source: readSums(file.object("source")),
    libraries: { llama: libraries.string("llama"), onnxruntime: libraries.string("onnxruntime") },
  };
}

const readArrangement = (file: JsonFile): Arrangement => ({
  code: file.string("code"),
  files: file.strings("files"),
});

const readAlignment = (file: JsonFile, layers: number): AlignmentHead => ({
  layer: file.within("layer", 0, layers - 1),
  head: file.within("head", 0, LARGEST.heads - 1),
  keyHead: file.within("keyHead", 0, LARGEST.heads - 1),
  width: file.within("width", 2, LARGEST.heads),
});

const readSums = (file: JsonFile): Record<string, FileSum> =>
  file.record((sums, name) => {
    const entry = sums.object(name);
    return { bytes: entry.within("bytes", 0, LARGEST.bytes), sha256: entry.string("sha256") };
  });

function neededFiles(modelType: ModelType, reads: boolean): string[] {
  const { codecEncoder, letters, lexicon, speakerEncoder, tables, tokenizer, vocoder } = BUNDLE_FILES;
  const encoders = modelType === "base" ? [speakerEncoder, codecEncoder] : [];
  return [vocoder, tokenizer, tables, ...encoders, ...(reads ? [lexicon, letters] : [])];
}

function readShape(file: JsonFile): Manifest["shape"] {
  const shape = {
    hidden: file.within("hidden", 1, LARGEST.width),
    predictorHidden: file.within("predictorHidden", 1, LARGEST.width),
    codecVocabulary: file.within("codecVocabulary", 2, LARGEST.vocabulary - 1),
    codes: file.within("codes", 2, LARGEST.codes),
    textVocabulary: file.within("textVocabulary", 1, LARGEST.vocabulary - 1),
    layers: file.within("layers", 1, LARGEST.layers),
    predictorLayers: file.within("predictorLayers", 1, LARGEST.layers),
    talkerWeights: file.within("talkerWeights", 1, LARGEST.weights),
    predictorWeights: file.within("predictorWeights", 1, LARGEST.weights),
    predictorKvHeads: file.within("predictorKvHeads", 1, LARGEST.heads),
  };
  if (shape.codes > shape.codecVocabulary)
    throw file.wrong(`shape.codes is ${shape.codes}, more than the ${shape.codecVocabulary} codec ids`);
  return shape;
}

function readPrompt(file: JsonFile, { codecVocabulary, textVocabulary }: Manifest["shape"]): PromptSpec {
  const [text, codec] = [file.object("text"), file.object("codec")];
  const codecId = (from: JsonFile, key: string) => from.id(key, codecVocabulary);
  const textId = (key: string) => text.id(key, textVocabulary);
  const languages = file.object("languages").record(codecId);
  const dialects = file
    .object("dialects")
    .record((from, speaker) => from.choice(speaker, Object.keys(languages)));
  return {
    modelType: file.choice("modelType", MODEL_TYPES),
    takesInstruct: file.boolean("takesInstruct"),
    text: { ttsPad: textId("ttsPad"), ttsBos: textId("ttsBos"), ttsEos: textId("ttsEos") },
    codec: {
      bos: codecId(codec, "bos"),
      eos: codecId(codec, "eos"),
      pad: codecId(codec, "pad"),
      think: codecId(codec, "think"),
      nothink: codecId(codec, "nothink"),
      thinkBos: codecId(codec, "thinkBos"),
      thinkEos: codecId(codec, "thinkEos"),
    },
    languages,
    speakers: file.object("speakers").record(codecId),
    dialects,
    controlTokens: readControlTokens(file.object("controlTokens"), textVocabulary),
  };
}

function readControlTokens(file: JsonFile, textVocabulary: number): Record<string, number> {
  if (file.has("")) throw file.wrong("prompt.controlTokens has one without a text");
  return file.record((from, text) => from.id(text, textVocabulary));
}

/**
 * Checks only for whole and finite numbers. Whether a setting makes sense is checked where it is used, like a
 * user's.
 */
function readSampler(file: JsonFile): SamplerSettings {
  return {
    greedy: file.boolean("greedy"),
    temperature: file.number("temperature"),
    topK: file.count("topK"),
    topP: file.number("topP"),
    repetitionPenalty: file.number("repetitionPenalty"),
  };
}
