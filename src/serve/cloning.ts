// Takes voices from recordings that clients send. A recording is decoded in a thread of its own, so that
// speeches go on; and one at a time is, for a minute of it takes up to 1.7 GB.

import type { Recording } from "../audio/read.ts";
import { checkReference } from "../audio/reference.ts";
import { LIMITS, TAIL_SILENCE_SECONDS } from "../config.ts";
import { takeVoice } from "../engine/voices.ts";
import { TtsError } from "../errors.ts";
import { SERVE_LIMITS } from "../limits.ts";
import { runErrand } from "../pipeline/errand.ts";
import type { DecodeJob } from "../pipeline/messages.ts";
import { missingWords } from "../text/transcript.ts";
import { Refusal, type Service } from "./service.ts";

export interface VoiceUpload {
  name: string;
  /** All the words of the recording; "": the speaker vector alone is kept. */
  text: string;
  /** A file of sound, and what the client calls it. */
  file: { bytes: Uint8Array; name: string };
  /** Whether a voice of the name may be there. */
  replace: boolean;
}

/**
 * Does the work of taking one voice, beginning with its upload.
 * @throws TtsError MODEL_UNSUITABLE; Refusal while another one is taken
 */
export async function takingVoice<T>(service: Service, work: () => Promise<T>): Promise<T> {
  const { name, prompt } = service.engine.manifest;
  if (prompt.modelType !== "base")
    throw new TtsError("MODEL_UNSUITABLE", `${name} cannot take voices`, "serve a Base model");
  const { voices } = service;
  if (voices.isTaking) throw new Refusal("busy", "another voice is being taken", SERVE_LIMITS.takingSeconds);
  voices.isTaking = true;
  try {
    return await work();
  } finally {
    voices.isTaking = false;
  }
}

/**
 * Part of {@link takingVoice}.
 * @returns what may be wrong with the voice, or null
 * @throws TtsError USAGE for the name, OUTPUT_FAILED, INPUT_UNREADABLE, REFERENCE_UNUSABLE, STAGE_TIMEOUT
 */
export async function cloneVoice(
  { engine, voices: { folder } }: Service,
  { file, name, replace, text }: VoiceUpload,
  signal: AbortSignal,
): Promise<string | null> {
  folder.assertFree(name, replace);
  const recording = await decoded({ ...file, mostSeconds: LIMITS.referenceSeconds }, signal);
  checkReference(recording.samples);
  const words = text.trim().normalize("NFC");
  const taken = { name, text: words, tailSilenceSeconds: TAIL_SILENCE_SECONDS, signal };
  folder.write(await takeVoice(engine, recording, taken), { replace });
  return missingWords(words, recording.seconds);
}

/** @throws TtsError INPUT_UNREADABLE */
function decoded(job: DecodeJob, signal: AbortSignal): Promise<Recording> {
  const options = { title: "the decoder", timeoutMs: SERVE_LIMITS.decodeMs, signal };
  return runErrand<Recording>("decoder", job, options).catch((cause) => {
    if (cause instanceof TtsError && cause.code === "INPUT_UNREADABLE") throw cause;
    signal.throwIfAborted();
    throw new TtsError("INPUT_UNREADABLE", `${job.name} cannot be decoded`, "give a wav file", { cause });
  });
}
