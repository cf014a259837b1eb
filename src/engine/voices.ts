// Cloned voices as files, for programs: reads them, writes them, takes them from recordings, and states where
// they come from.

import { TtsError } from "../errors.ts";
import { type Manifest, weightsHash } from "../formats/bundle.ts";
import { type Provenance, readVoiceFile, type Voice, writeVoiceFile } from "../formats/voice.ts";
import { LIMITS } from "../limits.ts";
import type { EncodedReference } from "../stages/encoder.ts";
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

/** What takes a voice: an open Base model. */
export interface VoiceTaker {
  manifest: Pick<Manifest, "name" | "source"> & { shape: Pick<Manifest["shape"], "codes"> };
  encode(
    samples: Float32Array,
    tailSilenceSeconds: number,
    options?: { signal?: AbortSignal },
  ): Promise<EncodedReference>;
}

/**
 * Takes a voice from a recording.
 * @param text all the words of the recording; "": the speaker vector alone is kept
 * @throws TtsError USAGE for a text that is too long, and as the engine's encode does
 */
export async function takeVoice(
  engine: VoiceTaker,
  { samples, seconds, sha256 }: { samples: Float32Array; seconds: number; sha256: string },
  { name, signal, tailSilenceSeconds, text }: TakenVoice,
): Promise<Voice> {
  if (text.length > LIMITS.referenceChars)
    throw new TtsError(
      "USAGE",
      `the words of the recording have ${text.length} characters`,
      `give at most ${LIMITS.referenceChars}: the words that are said in it, and no others`,
    );
  const { codes, xVector } = await engine.encode(samples, tailSilenceSeconds, { signal });
  const recording = { recordingSha256: sha256, recordingSeconds: seconds, tailSilenceSeconds };
  return {
    ...{ name, text, xVector },
    codes: text === "" ? null : codes,
    codebookSize: engine.manifest.shape.codes,
    provenance: provenanceOf(engine, recording),
  };
}

interface TakenVoice extends Pick<Voice, "name" | "text"> {
  tailSilenceSeconds: number;
  signal?: AbortSignal;
}
