// Opens the JSON files of a checkpoint and reports its faults.

import { existsSync } from "node:fs";
import { TtsError } from "../errors.ts";
import { JsonFile } from "./json.ts";

export { isId, type JsonFile } from "./json.ts";

const HINT = "is this an official Qwen3-TTS 12 Hz checkpoint?";

const FAULT = {
  code: "CHECKPOINT_INVALID",
  hint: HINT,
  unreadable: "download or copy the file again",
} as const;

export function readJson(file: string): JsonFile {
  return JsonFile.read(file, FAULT);
}

/** For files that a checkpoint may lack. */
export function readJsonOrEmpty(file: string): JsonFile {
  return existsSync(file) ? readJson(file) : JsonFile.of(file, {}, FAULT);
}

export function invalid(file: string, what: string, hint = HINT): TtsError {
  return new TtsError("CHECKPOINT_INVALID", `${file}: ${what}`, hint);
}
