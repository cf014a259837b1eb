// The manifest of a bundle, from the checkpoint's configuration and what the conversion made.

import { LIMITS, SAMPLING_DEFAULTS, type WeightTypes } from "../config.ts";
import {
  type Arrangement,
  BUNDLE_FORMAT,
  BUNDLE_VERSION,
  type Manifest,
  type PromptSpec,
} from "../formats/bundle.ts";
import type { Checkpoint, TransformerShape } from "../formats/checkpoint.ts";
import type { JsonFile } from "../formats/checkpoint-json.ts";
import type { SamplerSettings } from "../types.ts";

/** Numbers in the matrices of the layers. */
export function weightCount(shape: TransformerShape): number {
  const { headDim, heads, hidden, intermediate, kvHeads, layers } = shape;
  return layers * hidden * (2 * headDim * (heads + kvHeads) + 3 * intermediate);
}

/** What the manifest needs and the checkpoint does not say. */
export interface Made {
  name: string;
  weights: WeightTypes;
  /** The tokenizer's added tokens: text -> id. */
  controlTokens: Record<string, number>;
  arranged: Arrangement | null;
  files: Manifest["files"];
  source: Manifest["source"];
  libraries: Manifest["libraries"];
}

/** @throws TtsError CHECKPOINT_INVALID naming the key and its value */
export function makeManifest(checkpoint: Checkpoint, made: Made): Manifest {
  const { codecVocabulary, codes, predictor, talker, textVocabulary } = checkpoint;
  return {
    format: BUNDLE_FORMAT,
    version: BUNDLE_VERSION,
    name: made.name,
    modelSize: checkpoint.abilities.modelSize,
    weights: made.weights,
    shape: {
      hidden: talker.hidden,
      predictorHidden: predictor.hidden,
      codecVocabulary,
      codes,
      textVocabulary,
      layers: talker.layers,
      predictorLayers: predictor.layers,
      talkerWeights: weightCount(talker),
      predictorWeights: weightCount(predictor),
      predictorKvHeads: predictor.kvHeads,
    },
    talkerMs: {},
    predictorMs: {},
    predictorPassMs: {},
    alignment: checkpoint.alignment,
    arranged: made.arranged,
    prompt: promptSpec(checkpoint, made.controlTokens),
    sampling: samplingDefaults(checkpoint.generation),
    reading: checkpoint.abilities.readsIpa ? { maxPhones: LIMITS.promptPhones } : null,
    files: made.files,
    source: made.source,
    libraries: made.libraries,
  };
}

function promptSpec(
  { abilities, codecVocabulary, config, textVocabulary }: Checkpoint,
  controlTokens: Record<string, number>,
): PromptSpec {
  const { dialects, languages, modelType, speakers, takesInstruct } = abilities;
  const talker = config.object("talker_config");
  const codecId = (key: string) => talker.id(key, codecVocabulary);
  const textId = (key: string) => config.id(key, textVocabulary);
  return {
    modelType,
    takesInstruct,
    text: {
      ttsPad: textId("tts_pad_token_id"),
      ttsBos: textId("tts_bos_token_id"),
      ttsEos: textId("tts_eos_token_id"),
    },
    codec: {
      bos: codecId("codec_bos_id"),
      eos: codecId("codec_eos_token_id"),
      pad: codecId("codec_pad_id"),
      think: codecId("codec_think_id"),
      nothink: codecId("codec_nothink_id"),
      thinkBos: codecId("codec_think_bos_id"),
      thinkEos: codecId("codec_think_eos_id"),
    },
    languages,
    speakers,
    dialects,
    controlTokens,
  };
}

function samplingDefaults(generation: JsonFile): Manifest["sampling"] {
  const settings = (prefix: string, greedyKey: string, repetitionPenalty: number): SamplerSettings => ({
    greedy: !generation.boolean(greedyKey, true),
    temperature: generation.number(`${prefix}temperature`, SAMPLING_DEFAULTS.temperature),
    topK: generation.count(`${prefix}top_k`, SAMPLING_DEFAULTS.topK),
    topP: generation.number(`${prefix}top_p`, SAMPLING_DEFAULTS.topP),
    repetitionPenalty,
  });
  return {
    talker: settings(
      "",
      "do_sample",
      generation.number("repetition_penalty", SAMPLING_DEFAULTS.repetitionPenalty),
    ),
    predictor: settings("subtalker_", "subtalker_dosample", 1),
    maxNewTokens: generation.count("max_new_tokens", SAMPLING_DEFAULTS.maxNewTokens),
  };
}
