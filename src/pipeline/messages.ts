// What the engine and the stage workers send each other: the shared memory at the start, jobs, and rare
// messages. Nothing is sent per frame.

import type { MessagePort } from "node:worker_threads";
import type { Step } from "../../ffi/load/steps.ts";
import type { Opening } from "../backends/stage.ts";
import type { Config } from "../config.ts";
import type { ErrorOnTheWire } from "../errors.ts";
import type { Bundle, Manifest } from "../formats/bundle.ts";
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
  /** Takes {@link FromStage} messages to the engine. */
  home: MessagePort;
  /** When its thread was started. */
  startedMs: number;
}

/** One sentence for the talker. */
export interface SpeakJob extends Sentence {
  /** Counts from 1; see Signals.cancel. */
  job: number;
  /** The larger, the sooner; equal ones in the order they came. */
  priority: number;
  /** Jobs that share a number above 0 are spoken one after another; those with 0 as lanes become free. */
  oneByOne: number;
}

/** Jobs of one message start together. Otherwise timing would decide which rows share a step. */
export type ToTalker = { speak: SpeakJob[] } | { close: true };

/**
 * The reference that the vocoder hears before the first frame, so that the speech goes on from it. Sent
 * before the job goes to the talker.
 */
export interface ToVocoder {
  job: number;
  /** Same key, same codes: the vocoder remembers what it has heard. */
  key: string;
  codes: Int32Array;
}

/** workerData of a decoder: a file that a client of a server has sent. */
export interface DecodeJob {
  bytes: Uint8Array;
  /** For errors. */
  name: string;
  mostSeconds: number;
}

/** workerData of an encoder: one recording, one answer. */
export interface EncodeJob {
  bundle: Bundle;
  config: Config;
  /** f32 mono 24 kHz: what the codes and what the speaker vector are taken from */
  forCodes: Float32Array;
  forVector: Float32Array;
}

/** What is measured of a bundle and kept in its manifest. */
export type Measured = Pick<Manifest, "talkerMs" | "predictorMs" | "predictorPassMs">;

/** workerData of a measurement: a bundle that was just made. */
export interface MeasureJob {
  directory: string;
  config: Config;
}

/**
 * workerData of a replay; the answer is what the talker hands to the code predictor, f32 [frames, hidden] of
 * each speech.
 */
export interface ReplayJob {
  bundle: Bundle;
  config: Config;
  speeches: SpokenText[];
}

export type FromStage =
  /** Sent before every attempt to open something. */
  | { opening: Opening }
  /**
   * `unused`: why the stage does not run on an NPU that it was prepared for. `drawLimits`: those of a code
   * predictor that draws inside its model.
   */
  | {
      ready: {
        stage: StageName;
        backend: string;
        unused: string[];
        warnings: string[];
        /** What the stage's thread has opened. */
        steps: Step[];
        drawLimits: DrawLimits | null;
      };
    }
  /** The job cannot be done; the stage goes on. */
  | { job: number; error: ErrorOnTheWire }
  /** The stage has ended. */
  | { failed: ErrorOnTheWire };
