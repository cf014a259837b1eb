// The encoder: turns one recording into the parts of a cloned voice. Base models only. Synchronous, without
// transport.

import { ENCODERS } from "../backends/encoder/index.ts";
import { openBackend } from "../backends/open.ts";
import type { OpenOptions } from "../backends/stage.ts";

/** What a recording becomes: codes i32 [frames, 16] and a speaker vector f32 [hidden]. */
export interface EncodedReference {
  codes: Int32Array;
  xVector: Float32Array;
}

/**
 * Opens the encoder, uses it once and closes it: it takes much memory.
 * @param forCodes f32 mono 24 kHz, what the codes are taken from
 * @param forVector the same, what the speaker vector is taken from
 * @throws TtsError REFERENCE_UNUSABLE, LIBRARY_*
 */
export function encodeReference(
  options: OpenOptions,
  forCodes: Float32Array,
  forVector: Float32Array,
): EncodedReference {
  const encoder = openBackend(ENCODERS, "auto", options).stage;
  try {
    return { codes: encoder.codes(forCodes), xVector: encoder.xVector(forVector) };
  } finally {
    encoder.close();
  }
}
