// Where sound begins: models start with 0.1 to 0.7 s of silence, which a listener does not hear as speech.
// Pure arithmetic on samples.

import { joined } from "../io/bytes.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";
import type { Filter } from "./filters/filter.ts";

/** -50 dB of full scale: samples up to this level are silence. */
const SILENCE_PEAK = 10 ** (-50 / 20);
/** What stays before the first heard sample, so that no onset is cut: 10 ms. */
const LEAD_SAMPLES = SAMPLE_RATE_HZ / 100;

/** Index of the first sample that is heard, or -1. */
export const firstHeard = (samples: Float32Array): number =>
  samples.findIndex((sample) => Math.abs(sample) > SILENCE_PEAK);

/** When a listener hears what: a player starts with the first samples, and waits where they come late. */
export class Listener {
  /** When the first samples came, and when the first heard one is played; 0: not yet. */
  firstMs = 0;
  heardMs = 0;
  /** Samples that have come. */
  samples = 0;
  /** When the player has played them. */
  private playedMs = 0;

  constructor(private readonly rateHz: number = SAMPLE_RATE_HZ) {}

  take(samples: Float32Array, nowMs: number): void {
    if (samples.length === 0) return;
    if (this.samples === 0) this.firstMs = nowMs;
    this.samples += samples.length;
    if (this.heardMs > 0) return;
    const startMs = Math.max(nowMs, this.playedMs);
    const heard = firstHeard(samples);
    if (heard >= 0) this.heardMs = startMs + this.millisecondsOf(heard);
    else this.playedMs = startMs + this.millisecondsOf(samples.length);
  }

  private millisecondsOf(samples: number): number {
    return (1000 * samples) / this.rateHz;
  }
}

/** Leaves out what is silent before the first heard sample, but for a short lead. Keeps no more than that. */
export class StartTrimmer implements Filter {
  /** The end of the silence so far; null once something was heard. */
  private lead: Float32Array | null = new Float32Array(0);
  /** Samples that were left out, and those of the lead while it is kept. */
  private missing = 0;

  /** @returns what is left of the samples: nothing before the first heard one, then everything */
  push(samples: Float32Array): Float32Array {
    if (this.lead === null) return samples;
    const heard = firstHeard(samples);
    const silent = heard < 0 ? samples : samples.subarray(0, heard);
    const lead = joined([this.lead, silent]).slice(-LEAD_SAMPLES);
    this.missing += silent.length - (heard < 0 ? 0 : lead.length);
    this.lead = heard < 0 ? lead : null;
    return heard < 0 ? new Float32Array(0) : joined([lead, samples.subarray(heard)]);
  }

  end(): Float32Array {
    return new Float32Array(0);
  }

  moved(seconds: number): number {
    return Math.max(0, seconds - this.missing / SAMPLE_RATE_HZ);
  }
}
