// The sounds before and after an announcement, made of decaying tones. Pure.

import { SAMPLE_RATE_HZ } from "../types.ts";

/** A struck tone: when it starts, and how high and loud it is. */
interface Tone {
  atSeconds: number;
  hz: number;
  peak: number;
}

const LONGEST_SECONDS = 1.1;
/** Until a tone has a third of its strength. */
const DECAY_SECONDS = 0.22;
const ATTACK_SECONDS = 0.004;
/** [multiple of the tone, strength, how much faster it decays] */
const PARTIALS = [
  [1, 0.72, 1],
  [2, 0.2, 1.8],
  [3.01, 0.08, 3],
] as const;

/** Two falling tones say that words follow; one low tone says that they have ended. */
const SOUNDS = {
  before: [
    { atSeconds: 0, hz: 783.99, peak: 0.24 },
    { atSeconds: 0.28, hz: 587.33, peak: 0.24 },
  ],
  after: [{ atSeconds: 0, hz: 440, peak: 0.16 }],
} as const satisfies Record<string, readonly Tone[]>;

/** f32 at 24 kHz; begins and ends at zero. */
export function chime(kind: keyof typeof SOUNDS): Float32Array {
  const tones: readonly Tone[] = SOUNDS[kind];
  const length = Math.round((tones.at(-1)!.atSeconds + LONGEST_SECONDS) * SAMPLE_RATE_HZ);
  const samples = new Float32Array(length);
  for (const { atSeconds, hz, peak } of tones) {
    const start = Math.round(atSeconds * SAMPLE_RATE_HZ);
    for (let i = start; i < length; i++) {
      const seconds = (i - start) / SAMPLE_RATE_HZ;
      const wave = PARTIALS.reduce(
        (sum, [multiple, strength, faster]) =>
          sum +
          strength *
            Math.sin(2 * Math.PI * hz * multiple * seconds) *
            Math.exp((-seconds * faster) / DECAY_SECONDS),
        0,
      );
      const fadeOut = Math.min(1, (length - 1 - i) / (0.02 * SAMPLE_RATE_HZ));
      samples[i] += peak * wave * Math.min(1, seconds / ATTACK_SECONDS) * fadeOut;
    }
  }
  return samples;
}
