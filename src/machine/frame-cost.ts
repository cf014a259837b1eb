// What a frame costs: the weights that its stages read and the multiplications they do, counted from the
// files of a bundle. Counts weights only: caches (a few percent of them in a sentence), activations and the
// products of attention come on top.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { mapFile } from "../../ffi/libc.ts";
import { type Bundle, bundlePath, FORMS, type FormedStage } from "../formats/bundle.ts";
import { type GgufTensor, parseGgufHead } from "../formats/gguf.ts";
import { JsonFile } from "../formats/json.ts";
import { parseSafetensors } from "../formats/safetensors.ts";
import { TABLE } from "../formats/tables.ts";
import { CODES_PER_FRAME } from "../types.ts";

/** Bytes of weights read, and multiplications done. */
export interface Cost {
  bytes: number;
  multiplications: number;
}

/** Of 15 calls. `layerBytes`: what one call reads of them, whatever the number of its rows. */
export interface PredictorCost extends Cost {
  layerBytes: number;
}

/** What a frame reads that takes so many calls. The heads that guess come on top: a small share. */
export const predictorBytes = ({ bytes, layerBytes }: PredictorCost, calls: number): number =>
  bytes - (GROUPS - calls) * layerBytes;

/**
 * A step of talker or predictor reads its weights once, however many lanes it moves; the multiplications are
 * those of one lane.
 */
export interface FrameCosts {
  talker: Cost;
  predictor: PredictorCost;
  /** Multiplications of one frame and bytes of one chunk; null where the bundle's checkpoint is not there. */
  vocoder: Cost | null;
}

/** Codes of a frame that the predictor draws, one after the other. */
const GROUPS = CODES_PER_FRAME - 1;

/**
 * @param backends stage -> name of the backend that runs it
 * @param checkpoint what the bundle was made from, if that is known
 * @throws TtsError BUNDLE_INVALID, CHECKPOINT_INVALID
 */
export function frameCosts(
  bundle: Bundle,
  backends: Readonly<Record<string, string>>,
  checkpoint: string | null,
): FrameCosts {
  return {
    talker: talkerCost(bundle, backends.talker),
    predictor: predictorCost(bundle, backends.predictor),
    vocoder: checkpoint === null ? null : vocoderCost(checkpoint),
  };
}

function tensorsOf(bundle: Bundle, file: "talker" | "predictorGguf"): GgufTensor[] {
  const path = bundlePath(bundle, file);
  const mapped = mapFile(path);
  try {
    return parseGgufHead(mapped.bytes, path).tensors;
  } finally {
    mapped.close();
  }
}

/**
 * Whether a step reads it: the head of code 0, but not the embeddings, since a step gets a row of the
 * bundle's tables.
 */
const isRead = ({ name }: GgufTensor) => name !== "token_embd.weight";

/** Vectors (norms, biases) are read, but their products do not count. */
function sumOf(tensors: Pick<GgufTensor, "axes" | "bytes" | "elements">[]): Cost {
  const matrices = tensors.filter(({ axes }) => axes > 1);
  return {
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    multiplications: matrices.reduce((sum, { elements }) => sum + elements, 0),
  };
}

/** A step reads all layers and the head of code 0. */
function talkerCost(bundle: Bundle, backend: string): Cost {
  const { codecVocabulary, hidden, talkerWeights } = bundle.manifest.shape;
  const multiplications = talkerWeights + codecVocabulary * hidden;
  const bytes = backend === "llama" ? ggufBytes(bundle, "talker") : graphBytes(bundle, "talker");
  return { bytes: bytes ?? F32_BYTES * multiplications, multiplications };
}

/**
 * The layers are read once per code: the first time for two positions, the hidden state and code 0. Each head
 * is read once per frame, and so is the input projection of a predictor that is narrower than its talker.
 */
function predictorCost(bundle: Bundle, backend: string): PredictorCost {
  const { codes, hidden, predictorHidden, predictorWeights: layers } = bundle.manifest.shape;
  const heads = GROUPS * codes * predictorHidden;
  const headNames = Array.from({ length: GROUPS }, (_, i) => TABLE.head(i + 1));
  const perWeight = (graphBytes(bundle, "predictor") ?? F32_BYTES * (layers + heads)) / (layers + heads);
  const isLlama = backend === "llama";
  const layerBytes = isLlama ? ggufBytes(bundle, "predictorGguf") : perWeight * layers;
  const headBytes = isLlama ? tableBytes(bundle, headNames) : perWeight * heads;
  const projectionBytes = tableBytes(bundle, [TABLE.projectionWeight]);
  const projection = projectionBytes === 0 ? 0 : hidden * predictorHidden;
  return {
    layerBytes,
    bytes: GROUPS * layerBytes + headBytes + projectionBytes,
    multiplications: CODES_PER_FRAME * layers + heads + projection,
  };
}

const F32_BYTES = 4;

const ggufBytes = (bundle: Bundle, file: "talker" | "predictorGguf") =>
  sumOf(tensorsOf(bundle, file).filter(isRead)).bytes;

/** Bytes of a stage's own graphs; null where its weights are in a clone of the checkpoint, which is f32. */
function graphBytes({ manifest: { files } }: Bundle, stage: FormedStage): number | null {
  const names = Object.keys(files).filter((name) => FORMS[stage].ort.files.test(name));
  if (names.some((name) => name.endsWith(".safetensors"))) return null;
  return names.reduce((sum, name) => sum + files[name].bytes, 0);
}

/** Total bytes of the named tables; absent ones count as zero. */
function tableBytes(bundle: Bundle, names: readonly string[]): number {
  const path = bundlePath(bundle, "tables");
  const file = mapFile(path);
  try {
    const tensors = parseSafetensors(file.bytes, path);
    return names.reduce((sum, name) => sum + (tensors.get(name)?.bytes.length ?? 0), 0);
  } finally {
    file.close();
  }
}

/**
 * Cost of the codec decoder in f32, with the convolutions that the checkpoint describes. A graph that
 * transforms them multiplies less and reads more.
 */
function vocoderCost(checkpoint: string): Cost | null {
  const path = join(checkpoint, DECODER_CONFIG);
  return existsSync(path) ? decoderCost(JsonFile.read(path, FAULT).object("decoder_config")) : null;
}

const DECODER_CONFIG = "speech_tokenizer/config.json";
const FAULT = {
  code: "CHECKPOINT_INVALID",
  hint: "the checkpoint is damaged",
  unreadable: "the checkpoint is damaged",
} as const;

/**
 * Multiplications of a frame in the codec decoder: all of them, and those before its first Snake. Null where
 * the checkpoint has no codec.
 */
export function vocoderMultiplications(checkpoint: string): { front: number; all: number } | null {
  const path = join(checkpoint, DECODER_CONFIG);
  if (!existsSync(path)) return null;
  const { front, tail } = decoderConvolutions(JsonFile.read(path, FAULT).object("decoder_config"));
  return { front: multiplicationsOf(front), all: multiplicationsOf([...front, ...tail]) };
}

type Convolution = [rows: number, weights: number];

const multiplicationsOf = (convolutions: readonly Convolution[]) =>
  convolutions.reduce((sum, [times, weights]) => sum + times * weights, 0);

function decoderCost(config: JsonFile): Cost {
  const { front, tail } = decoderConvolutions(config);
  const convolutions = [...front, ...tail];
  return {
    bytes: 4 * convolutions.reduce((sum, [, weights]) => sum + weights, 0),
    multiplications: multiplicationsOf(convolutions),
  };
}

/** Before the first Snake, and from there on. */
function decoderConvolutions(config: JsonFile): { front: Convolution[]; tail: Convolution[] } {
  const [latent, hidden, books] = [
    config.size("latent_dim"),
    config.size("hidden_size"),
    config.size("codebook_dim"),
  ];
  const attention = config.size("num_attention_heads") * config.size("head_dim");
  const layer = 4 * hidden * attention + 3 * hidden * config.size("intermediate_size");
  const front: Convolution[] = [
    [1, books * books], // two halves of a codebook's width, each with a projection
    [1, 3 * books * latent],
    [1, 2 * latent * hidden + config.size("num_hidden_layers") * layer],
  ];
  let rows = 1;
  for (const ratio of config.counts("upsampling_ratios")) {
    front.push([rows, ratio * latent * latent]);
    rows *= ratio;
    // depthwise, to four times the width and back
    front.push([rows, 7 * latent + 8 * latent * latent]);
  }
  let channels = config.size("decoder_dim");
  front.push([rows, 7 * latent * channels]);
  const tail: Convolution[] = [];
  for (const rate of config.counts("upsample_rates")) {
    // every input reaches two strides of outputs
    tail.push([rows, 2 * rate * channels * (channels / 2)]);
    [rows, channels] = [rows * rate, channels / 2];
    // three residual units: seven taps, then one
    tail.push([rows, 3 * (7 + 1) * channels * channels]);
  }
  tail.push([rows, 7 * channels]);
  return { front, tail };
}

/**
 * A checkpoint before it is converted, or fetched: its tensors by their official names, and its
 * decoder_config.
 */
export interface PlannedModel {
  tensors: readonly { name: string; shape: readonly number[] }[];
  decoder: Record<string, unknown>;
}

/** @throws the errors of reading the checkpoint */
export function readPlan(checkpoint: string): PlannedModel {
  const path = join(checkpoint, "model.safetensors");
  const file = mapFile(path);
  try {
    const tensors = [...parseSafetensors(file.bytes, path).values()].map(({ name, shape }) => ({
      name,
      shape,
    }));
    const config = JsonFile.read(join(checkpoint, DECODER_CONFIG), FAULT).object("decoder_config");
    return { tensors, decoder: Object.fromEntries(config.entries()) };
  } finally {
    file.close();
  }
}

/**
 * Bytes of an element of a matrix, and of the talker's head, which llama.cpp's quantiser keeps in 6 bits
 * where the rest has 4.
 */
const MATRIX_BYTES = { f32: 4, q8_0: 34 / 32, q4_0: 18 / 32 } as const;
const HEAD_BYTES = { f32: 4, q8_0: 34 / 32, q4_0: 210 / 256 } as const;
/** Types that a forecast knows: those of the default conversions. */
export type PlannedType = keyof typeof MATRIX_BYTES;

/** What {@link frameCosts} would count in the bundle made from it, with the predictor on libllama. */
export function plannedCosts(
  { tensors, decoder }: PlannedModel,
  weights: Record<"talker" | "predictor", PlannedType>,
): FrameCosts & { vocoder: Cost } {
  const sum = (pattern: RegExp, elementBytes: number): Cost => {
    const found = tensors
      .filter(({ name }) => pattern.test(name))
      .map(({ shape }) => ({ axes: shape.length, elements: product(shape) }));
    const bytes = ({ axes, elements }: (typeof found)[number]) =>
      elements * (axes > 1 ? elementBytes : MATRIX_BYTES.f32);
    return sumOf(found.map((tensor) => ({ ...tensor, bytes: bytes(tensor) })));
  };
  const [talker, talkerHead] = [
    sum(/^talker\.model\.(layers|norm)\./, MATRIX_BYTES[weights.talker]),
    sum(/^talker\.codec_head\./, HEAD_BYTES[weights.talker]),
  ];
  const layers = sum(/^talker\.code_predictor\.model\.(layers|norm)\./, MATRIX_BYTES[weights.predictor]);
  const heads = sum(/^talker\.code_predictor\.lm_head\./, MATRIX_BYTES[weights.predictor]);
  const projection = sum(/small_to_mtp_projection\.weight$/, MATRIX_BYTES.f32);
  return {
    talker: {
      bytes: talker.bytes + talkerHead.bytes,
      multiplications: talker.multiplications + talkerHead.multiplications,
    },
    predictor: {
      layerBytes: layers.bytes,
      bytes: GROUPS * layers.bytes + heads.bytes + projection.bytes,
      multiplications:
        CODES_PER_FRAME * layers.multiplications + heads.multiplications + projection.multiplications,
    },
    vocoder: decoderCost(JsonFile.of("decoder_config", decoder, FAULT)),
  };
}

const product = (sizes: readonly number[]) => sizes.reduce((total, size) => total * size, 1);
