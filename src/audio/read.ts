// A recording as mono samples at the model's rate: wav, flac, mp3, ogg and everything else that the decoder
// knows.

import { readFileSync, statSync } from "node:fs";
import { LIMITS } from "../config.ts";
import { fileError, TtsError } from "../errors.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";
import { resample } from "./resample.ts";

/** Mono f32 at 24 kHz. A 24 kHz float WAV comes through unchanged. */
export interface Recording {
  samples: Float32Array;
  seconds: number;
}

/** @throws TtsError INPUT_UNREADABLE: no such file, too large, no sound in it, no known format */
export async function readRecording(path: string): Promise<Recording> {
  const { channelData, sampleRate } = await decodeFile(path);
  const [first, ...others] = channelData;
  if (first === undefined || first.length === 0)
    throw new TtsError("INPUT_UNREADABLE", `${path} holds no sound`, "give a recording of a voice");
  const samples = resample(
    others.length === 0 ? first : mixDown(channelData),
    Math.round(sampleRate),
    SAMPLE_RATE_HZ,
  );
  return { samples, seconds: samples.length / SAMPLE_RATE_HZ };
}

async function decodeFile(path: string): Promise<{ channelData: Float32Array[]; sampleRate: number }> {
  let bytes: Uint8Array;
  try {
    const { size } = statSync(path);
    if (size > LIMITS.recordingBytes) {
      throw new TtsError(
        "INPUT_UNREADABLE",
        `${path} has ${size} bytes`,
        `recordings may have ${LIMITS.recordingBytes}; some seconds are enough`,
      );
    }
    bytes = readFileSync(path);
  } catch (cause) {
    throw fileError("INPUT_UNREADABLE", path, cause, { use: "read" });
  }
  const { default: decode } = await import("@audio/decode");
  try {
    return await decode(bytes);
  } catch (cause) {
    const { code, message } = (
      cause instanceof Error ? cause : new Error(String(cause))
    ) as NodeJS.ErrnoException;
    const why = code === "ERR_MODULE_NOT_FOUND" ? "the program as one binary has no decoder for it" : message;
    throw new TtsError(
      "INPUT_UNREADABLE",
      `${path} cannot be decoded: ${why}`,
      "give a wav, flac, mp3 or ogg file",
      { cause },
    );
  }
}

/** The mean of all channels, as the official loader does. */
function mixDown(channels: Float32Array[]): Float32Array {
  return Float32Array.from(
    channels[0],
    (_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length,
  );
}
