// What a checkpoint can do, from its config.json. This is the only reader of these keys; it serves bundle
// manifests, listings, completion and the choice of a model.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { MODEL_TYPES, type ModelType } from "../types.ts";
import type { PromptSpec } from "./bundle.ts";
import { READING_FILES } from "./checkpoint-files.ts";
import { invalid, type JsonFile, readJson } from "./checkpoint-json.ts";

export interface CheckpointAbilities
  extends Pick<PromptSpec, "modelType" | "takesInstruct" | "languages" | "speakers" | "dialects"> {
  /** As the checkpoint writes it, such as 0b6. */
  modelSize: string;
  /** Width of the talker, and of the voices it can use. */
  hidden: number;
  /** Whether the text is turned into IPA before it is tokenised: the checkpoint has reading rules. */
  readsIpa: boolean;
}

/** @throws TtsError CHECKPOINT_INVALID with file, key and value */
export function readAbilities(
  directory: string,
  config: JsonFile = readJson(join(directory, "config.json")),
): CheckpointAbilities {
  const modelType = config.choice("tts_model_type", MODEL_TYPES);
  const modelSize = config.string("tts_model_size", "");
  const readsIpa = READING_FILES.every((name) => existsSync(join(directory, name)));
  const talker = config.object("talker_config");
  const languages = codecIds(talker, "codec_language_id");
  return {
    modelType,
    modelSize,
    readsIpa,
    takesInstruct: takesInstruct(modelType, modelSize, readsIpa),
    hidden: talker.size("hidden_size"),
    languages,
    speakers: codecIds(talker, "spk_id"),
    dialects: speakerDialects(talker, languages),
  };
}

/**
 * Official rule: the small CustomVoice models ignore instructions, and Base has no place for them. A voice
 * that reads IPA cannot read them.
 */
function takesInstruct(modelType: ModelType, modelSize: string, readsIpa: boolean): boolean {
  return modelType === "voice_design" || (modelType === "custom_voice" && modelSize !== "0b6" && !readsIpa);
}

/** Lower-case name -> row of the codec embedding. */
function codecIds(talker: JsonFile, key: string): Record<string, number> {
  if (!talker.has(key)) return {};
  const [table, rows] = [talker.object(key), talker.size("vocab_size")];
  return Object.fromEntries(table.entries().map(([name]) => [name.toLowerCase(), table.id(name, rows)]));
}

/** Speaker -> dialect. The file has false for a speaker without one. */
function speakerDialects(talker: JsonFile, languages: Record<string, number>): Record<string, string> {
  const entries = talker.has("spk_is_dialect") ? talker.object("spk_is_dialect").entries() : [];
  const dialects = entries.flatMap(([name, dialect]) =>
    typeof dialect === "string" ? [[name.toLowerCase(), dialect.toLowerCase()] as const] : [],
  );
  const unknown = dialects.find(([, dialect]) => !Object.hasOwn(languages, dialect));
  if (unknown === undefined) return Object.fromEntries(dialects);
  throw invalid(
    talker.file,
    `spk_is_dialect gives ${unknown[0]} "${unknown[1]}", which is not in codec_language_id`,
  );
}
