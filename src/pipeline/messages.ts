// What crosses between the engine and the stage workers: the shared memory at the start, jobs, and rare
// messages. Nothing per frame.

import type { Opening } from "../backends/stage.ts";
import type { Config } from "../config.ts";
import type { ErrorOnTheWire } from "../errors.ts";
import type { Bundle } from "../formats/bundle.ts";
import type { SpokenText } from "../stages/replay.ts";
import type { Sentence } from "../stages/sentence.ts";
import { createTimelineMemory, type TimelineMemory } from "../stages/timeline.ts";
import type { DrawLimits, StageName } from "../types.ts";
import { SAMPLES_PER_FRAME } from "../types.ts";
import { createFiguresMemory, type FiguresMemory } from "./figures.ts";
import { createMailboxMemory, type MailboxMemory } from "./mailbox.ts";
import { createRingMemory, type RingMemory } from "./ring.ts";
import { createSignalMemory, type SignalMemory } from "./signals.ts";

export interface SharedMemory {
  signals: SignalMemory;
  mailbox: MailboxMemory;
  /** One per lane, talker to vocoder; the last is for codes that the engine itself sends. */
  codes: RingMemory[];
  /** One per lane, vocoder to engine. */
  samples: RingMemory[];
  timeline: TimelineMemory;
  figures: FiguresMemory;
}

export function createSharedMemory(lanes: number, hidden: number): SharedMemory {
  return {
    signals: createSignalMemory(),
    mailbox: createMailboxMemory(lanes, hidden),
    codes: Array.from({ length: lanes + 1 }, () => createRingMemory(0)),
    samples: Array.from({ length: lanes + 1 }, () => createRingMemory(SAMPLES_PER_FRAME)),
    timeline: createTimelineMemory(),
    figures: createFiguresMemory(),
  };
}

/** workerData of a stage. */
export interface StageJob {
  bundle: Bundle;
  config: Config;
  memory: SharedMemory;
}

/** One sentence for the talker. */
export interface SpeakJob extends Sentence {
  /** Counts from 1; see Signals.cancel. */
  job: number;
  /** The larger, the sooner; among equals who came first. */
  priority: number;
}

/**
 * Jobs that come together start together, so that which rows share a step does not depend on when messages
 * arrive.
 */
export type ToTalker = { speak: SpeakJob[] } | { close: true };

/**
 * The vocoder hears the reference before the first frame, so that the speech goes on from it. Sent before the
 * job goes to the talker.
 */
export interface ToVocoder {
  job: number;
  /** Same key, same codes: what was heard once is remembered. */
  key: string;
  codes: Int32Array;
}

/** workerData of an encoder: one recording, one answer. */
export interface EncodeJob {
  bundle: Bundle;
  config: Config;
  /** f32 mono 24 kHz; what the codes are taken from, and what the speaker vector */
  forCodes: Float32Array;
  forVector: Float32Array;
}

/** workerData of a measurement: a bundle that was just made. */
export interface MeasureJob {
  directory: string;
  config: Config;
}

/**
 * workerData of a recording of what the talker hands to the code predictor: f32 [frames, hidden] of each
 * speech.
 */
export interface ReplayJob {
  bundle: Bundle;
  config: Config;
  speeches: SpokenText[];
}

export type FromStage =
  /** Before every try to open something. */
  | { opening: Opening }
  /**
   * `unused`: why it does not run on an NPU that it was prepared for; `drawLimits`: of a code predictor that
   * draws inside.
   */
  | {
      ready: {
        stage: StageName;
        backend: string;
        unused: string[];
        warnings: string[];
        drawLimits: DrawLimits | null;
      };
    }
  /** The job cannot be done; the stage goes on. */
  | { job: number; error: ErrorOnTheWire }
  /** The stage has ended. */
  | { failed: ErrorOnTheWire };
