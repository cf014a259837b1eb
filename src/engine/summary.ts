// The figures of a speech, as the door documents them.

import type { FaultKind } from "../stages/watch.ts";
import type { StopReason } from "../types.ts";

/** A sentence that was cut. */
export interface Repair {
  /** Index of the sentence in the text, from 0. */
  sentence: number;
  /** "endless": its text was said, or could have been, and it went on. */
  fault: FaultKind;
  /** Frames that had been given out when they were found to be bad. */
  tooLate: number;
  /** The number of the draw that says the rest of it; 0: nothing was left, or it was not said again. */
  draw: number;
}

/**
 * Figures of one speech alone, whatever else is spoken meanwhile. Times are in milliseconds unless
 * the name says otherwise. They count from the start of the iteration; those of Engine.first from the
 * start of its work.
 */
export interface Summary {
  /** Of the samples that were given out. */
  audioSeconds: number;
  wallSeconds: number;
  /** Wall time divided by the length of the sound: below 1 is faster than real time. */
  rtf: number;
  /** Until the first chunk that has samples. 0: there was none. */
  firstAudioMs: number;
  /**
   * Until a player that starts with the first chunk plays the first sample above -50 dB of full scale: the
   * silence that models start with counts. 0: there was none.
   */
  firstHeardMs: number;
  frames: number;
  /** Sentences that share a step share its time evenly. */
  msPerFrame: { talker: number; predictor: number; vocoder: number };
  /**
   * Calls of the code predictor per frame: 15 without speculation, 0 for decoded codes. Share of right drafts
   * by their place in a call, among those that followed right ones; empty if there were none.
   */
  speculation: { callsPerFrame: number; rightDrafts: number[] };
  /**
   * Positions of all prompts, how many of them were kept from before instead of computed, and the time this
   * saved.
   */
  prompt: { rows: number; cachedRows: number; savedMs: number };
  /** Sentences that went wrong, in the order of the sound. */
  repairs: Repair[];
  /**
   * "cancelled" if any sentence was cancelled; else "length" if any ended at the frame limit or was cut
   * unsaid; else "eos".
   */
  stop: StopReason;
  model: string;
  /** Stage -> backend. */
  backends: Record<string, string>;
  seed: number;
}
