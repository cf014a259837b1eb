// The manifest of a bundle, from the checkpoint's configuration and what the conversion made.

import { LIMITS, SAMPLING_DEFAULTS, type WeightTypes } from "../config.ts";
import { BUNDLE_FORMAT, BUNDLE_VERSION, type Manifest, type PromptSpec } from "../formats/bundle.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { invalid, type JsonFile } from "../formats/checkpoint-json.ts";
import type { SamplerSettings } from "../types.ts";

/** What the checkpoint itself does not say. */
export interface Made {
  name: string;
  weights: WeightTypes;
  /** Texts of the tokenizer's added tokens. */
  controlTokens: string[];
  /** Whether the bundle has reading rules. */
  reads: boolean;
  /** File -> bytes. */
  files: Record<string, number>;
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
    modelSize: checkpoint.modelSize,
    weights: made.weights,
    shape: {
      hidden: talker.hidden,
      predictorHidden: predictor.hidden,
      codecVocabulary,
      codes,
      textVocabulary,
      layers: talker.layers,
      predictorLayers: predictor.layers,
    },
    predictorMs: {},
    prompt: promptSpec(checkpoint, made.controlTokens, made.reads),
    sampling: samplingDefaults(checkpoint.generation),
    reading: made.reads ? { maxPhones: LIMITS.promptPhones } : null,
    files: made.files,
    source: made.source,
    libraries: made.libraries,
  };
}

/** Official rule: the small CustomVoice models ignore instructions, Base has no place for them. A voice that reads IPA knows no others. */
function takesInstruct({ modelType, modelSize }: Checkpoint, reading: boolean): boolean {
  return modelType === "voice_design" || (modelType === "custom_voice" && modelSize !== "0b6" && !reading);
}

/** [speaker, dialect]; a speaker without one has false there. */
function speakerDialects(talker: JsonFile): [string, string][] {
  const entries = talker.has("spk_is_dialect") ? talker.object("spk_is_dialect").entries() : [];
  return entries.flatMap(([name, dialect]) => (typeof dialect === "string" ? [[name.toLowerCase(), dialect.toLowerCase()]] : []));
}

function promptSpec(checkpoint: Checkpoint, controlTokens: string[], reading: boolean): PromptSpec {
  const { codecVocabulary, config, textVocabulary } = checkpoint;
  const talker = config.object("talker_config");
  const codecId = (key: string) => talker.id(key, codecVocabulary);
  const codecIds = (key: string): Record<string, number> => {
    if (!talker.has(key)) return {};
    const table = talker.object(key);
    return Object.fromEntries(table.entries().map(([name]) => [name.toLowerCase(), table.id(name, codecVocabulary)]));
  };
  const textId = (key: string) => config.id(key, textVocabulary);
  const languages = codecIds("codec_language_id");
  const dialects = speakerDialects(talker);
  const unknown = dialects.find(([, dialect]) => !Object.hasOwn(languages, dialect));
  if (unknown !== undefined)
    throw invalid(config.file, `spk_is_dialect gives ${unknown[0]} "${unknown[1]}", which is no codec_language_id`);
  return {
    modelType: checkpoint.modelType,
    takesInstruct: takesInstruct(checkpoint, reading),
    text: { ttsPad: textId("tts_pad_token_id"), ttsBos: textId("tts_bos_token_id"), ttsEos: textId("tts_eos_token_id") },
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
    speakers: codecIds("spk_id"),
    dialects: Object.fromEntries(dialects),
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
    talker: settings("", "do_sample", generation.number("repetition_penalty", SAMPLING_DEFAULTS.repetitionPenalty)),
    predictor: settings("subtalker_", "subtalker_dosample", 1),
    maxNewTokens: generation.count("max_new_tokens", SAMPLING_DEFAULTS.maxNewTokens),
  };
}
