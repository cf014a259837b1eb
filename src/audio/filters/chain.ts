// Everything that may change sound between the engine and a sink, in the one order that is right: what looks
// at the voice comes first, what belongs to the sink last.

import { SAMPLE_RATE_HZ } from "../../types.ts";
import { StartTrimmer } from "../onset.ts";
import { type Filter, later } from "./filter.ts";
import { lead } from "./lead.ts";
import { loudnessFilter } from "./loudness.ts";
import { Resampler } from "./resampler.ts";
import { speedFilter } from "./speed.ts";
import { volume } from "./volume.ts";

/** How sound is wanted. What is left out changes nothing. */
export interface SoundShape {
  /** Leave out what is silent before the first sound, but for 10 ms. */
  trimStart?: boolean;
  /** Above 1 is faster, at the same pitch. */
  speed?: number;
  /** LUFS, for the voice as a whole. */
  loudness?: number;
  /** 0 to 1 */
  volume?: number;
  /** Default: 24000, the rate that models speak at. */
  rateHz?: number;
  /** Silence before the sound, in milliseconds. */
  leadMs?: number;
}

/** How loud the voice is by itself; it may become known only with its first sound. */
export interface Level {
  /** @returns what it lacks to a loudness in LUFS, in dB */
  lack(loudness: number): number;
}

/** New filters for one sound: each remembers what passed. */
export function soundFilters(shape: SoundShape, level: Level): Filter[] {
  const { leadMs = 0, loudness, rateHz = SAMPLE_RATE_HZ, speed = 1 } = shape;
  const { trimStart = false, volume: factor = 1 } = shape;
  const filters: (Filter | false)[] = [
    trimStart && new StartTrimmer(),
    speed !== 1 && speedFilter(speed),
    loudness !== undefined && later(() => loudnessFilter(level.lack(loudness))),
    factor !== 1 && volume(factor),
    rateHz !== SAMPLE_RATE_HZ && new Resampler(SAMPLE_RATE_HZ, rateHz),
    leadMs > 0 && lead(leadMs, rateHz),
  ];
  return filters.filter((filter) => filter !== false);
}
