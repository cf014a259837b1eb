// Cloned voices as files, for programs: written, read, and told where they come from.

import { createHash } from "node:crypto";
import type { Manifest } from "../formats/bundle.ts";
import { type Provenance, readVoiceFile, type Voice, writeVoiceFile } from "../formats/voice.ts";

/** @throws TtsError VOICE_INVALID when it is damaged, changed, of a newer version or no voice */
export const loadVoice = (path: string): Voice => readVoiceFile(path);

/**
 * Writes a voice, whole or not at all; what stood at `path` is replaced.
 * @throws TtsError OUTPUT_FAILED, VOICE_INVALID for a name that is none
 */
export const saveVoice = (path: string, voice: Voice): void => writeVoiceFile(path, voice);

/** What is known of the recording that a voice was taken from. */
type Recording = Pick<Provenance, "recordingSha256" | "recordingSeconds" | "tailSilenceSeconds">;
const UNKNOWN: Recording = { recordingSha256: "", recordingSeconds: 0, tailSilenceSeconds: 0 };

/** Where a voice comes from that an engine has just taken. */
export function provenanceOf(
  { manifest }: { manifest: Pick<Manifest, "name" | "source"> },
  recording: Partial<Recording> = {},
): Provenance {
  const codec = Object.entries(manifest.source).find(
    ([file]) => file.startsWith("speech_tokenizer/") && file.endsWith(".safetensors"),
  );
  const model = {
    model: manifest.name,
    modelSha256: weightsHash(manifest),
    codecSha256: codec?.[1].sha256 ?? "",
  };
  return { ...model, ...UNKNOWN, ...recording, made: new Date().toISOString() };
}

/**
 * SHA-256 of the checkpoint's weights; of shards, that of their sums in the order of their names. "" where
 * the bundle names none.
 */
export function weightsHash({ source }: Pick<Manifest, "source">): string {
  const files = Object.keys(source).filter((file) => file.startsWith("model"));
  const sums = files.toSorted().map((file) => source[file].sha256);
  return sums.length > 1 ? createHash("sha256").update(sums.join("")).digest("hex") : (sums[0] ?? "");
}
