// Cloned voices as files, for programs: reads them, writes them, and states where they come from.

import { type Manifest, weightsHash } from "../formats/bundle.ts";
import { type Provenance, readVoiceFile, type Voice, writeVoiceFile } from "../formats/voice.ts";
import { checkArgument, checkOptions, checkVoiceType } from "./options.ts";

/** @throws TtsError VOICE_INVALID if the file is damaged, changed, of a newer version or no voice */
export function loadVoice(path: string): Voice {
  checkArgument("loadVoice", "path", path);
  return readVoiceFile(path);
}

/**
 * Writes a voice, whole or not at all; replaces the file at `path`.
 * @throws TtsError OUTPUT_FAILED, VOICE_INVALID for an invalid name
 */
export function saveVoice(path: string, voice: Voice): void {
  checkArgument("saveVoice", "path", path);
  checkVoiceType("saveVoice", voice);
  checkArgument("saveVoice", "provenance", voice.provenance);
  writeVoiceFile(path, voice);
}

/** What is known about the recording that a voice was taken from. */
type Recording = Pick<Provenance, "recordingSha256" | "recordingSeconds" | "tailSilenceSeconds">;
const UNKNOWN: Recording = { recordingSha256: "", recordingSeconds: 0, tailSilenceSeconds: 0 };

/** The provenance of a voice that an engine has just taken. */
export function provenanceOf(
  engine: { manifest: Pick<Manifest, "name" | "source"> },
  recording: Partial<Recording> = {},
): Provenance {
  checkArgument("provenanceOf", "engine", engine);
  checkOptions("provenanceOf", recording);
  const { manifest } = engine;
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
