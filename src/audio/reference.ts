// Checks whether a voice can be taken from a recording. Pure: looks at samples, never at files.

import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";

/**
 * Checks mono sound at 24 kHz: its length, that every sample is a number, and that it is not silent.
 * @param leastSeconds shorter sound is refused; by default what a speaker vector needs
 * @param mostSeconds longer sound is refused
 * @throws TtsError REFERENCE_UNUSABLE with the value that is wrong
 */
export function checkReference(
  samples: Float32Array,
  leastSeconds: number = LIMITS.referenceLeastSeconds,
  mostSeconds: number = LIMITS.referenceSeconds,
): void {
  const seconds = samples.length / SAMPLE_RATE_HZ;
  if (samples.length === 0 || seconds < leastSeconds) {
    throw unusable(
      `is ${seconds.toFixed(2)} s long`,
      `give at least ${LIMITS.referenceLeastSeconds} s of speech; 3 to 30 s are best`,
    );
  }
  if (seconds > mostSeconds) {
    throw unusable(
      `is ${seconds.toFixed(1)} s long, ${LIMITS.referenceSeconds} s at most can be used`,
      "cut it to the best 3 to 30 s of speech",
    );
  }
  let peak = 0;
  for (let i = 0; i < samples.length; i++) {
    const size = Math.abs(samples[i]);
    if (!Number.isFinite(size))
      throw unusable(`has ${samples[i]} at sample ${i}`, "the file is damaged: export it again");
    if (size > peak) peak = size;
  }
  if (peak < LIMITS.referenceLeastPeak) {
    throw unusable(
      `is silent: its loudest sample is ${peak.toExponential(1)} of 1`,
      "record it again, or check the channel and the volume",
    );
  }
}

const unusable = (what: string, hint: string) =>
  new TtsError("REFERENCE_UNUSABLE", `the reference recording ${what}`, hint);
