// What crosses between the engine and the stage workers: the shared memory at the start, jobs, and rare messages. Nothing per frame.

import type { Opening } from "../backends/stage.ts";
import type { Config } from "../config.ts";
import type { ErrorOnTheWire } from "../errors.ts";
import type { Bundle } from "../formats/bundle.ts";
import { createTimelineMemory, type TimelineMemory } from "../stages/timeline.ts";
import type { DrawLimits, SamplerSettings, StageName, TextMode } from "../types.ts";
import { SAMPLES_PER_FRAME } from "../types.ts";
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
}

export function createSharedMemory(lanes: number, hidden: number): SharedMemory {
  return {
    signals: createSignalMemory(),
    mailbox: createMailboxMemory(lanes, hidden),
    codes: Array.from({ length: lanes + 1 }, () => createRingMemory(0)),
    samples: Array.from({ length: lanes + 1 }, () => createRingMemory(SAMPLES_PER_FRAME)),
    timeline: createTimelineMemory(),
  };
}

/** workerData of a stage. */
export interface StageJob {
  bundle: Bundle;
  config: Config;
  memory: SharedMemory;
}

/** One sentence for the talker, which tokenises it and builds its rows. */
export interface SpeakJob {
  /** Counts from 1; see Signals.cancel. */
  job: number;
  /** NFC, and IPA where the voice reads IPA. */
  text: string;
  instruct: string;
  /** Codec id, NONE, or the speaker vector of the reference. */
  speaker: number | "xVector";
  /** Codec id or NONE. */
  language: number;
  mode: TextMode;
  maxFrames: number;
  seed: number;
  /** Keeps the random numbers of the sentences of one text apart, as {@link streamsOf} has it. */
  stream: number;
  sampling: { talker: SamplerSettings; predictor: SamplerSettings };
  /** The cloned voice that speaks, or null. */
  reference: SpokenReference | null;
}

/** The random numbers of a sentence's stages: apart from each other, and from those of the other sentences of its text. */
export const streamsOf = (sentence: number) => ({ talker: 2 * sentence, predictor: 2 * sentence + 1 });

/** A cloned voice as the stages need it. */
export interface SpokenReference {
  /** f32 [hidden] */
  xVector: Float32Array;
  /** What the recording says; "" without codes. */
  text: string;
  /** i32 [frames, 16], or null: the speaker vector alone */
  codes: Int32Array | null;
}

/** Jobs that come together start together, so that which rows share a step does not depend on when messages arrive. */
export type ToTalker = { speak: SpeakJob[] } | { close: true };

/** The vocoder hears the reference before the first frame, so that the speech goes on from it. Sent before the job goes to the talker. */
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

export type FromEncoder = { encoded: { codes: Int32Array; xVector: Float32Array } } | { failed: ErrorOnTheWire };

/** workerData of a measurement: a bundle that was just made. */
export interface MeasureJob {
  directory: string;
  config: Config;
}

export type FromMeasure = { predictorMs: Record<string, number> } | { failed: ErrorOnTheWire };

/** Something that was spoken: what the talker was given, and the codes that came. */
export interface SpokenText {
  /** As the talker reads it: IPA where the voice reads IPA. */
  text: string;
  /** Names, as in {@link SpeakOptions}; of a cloned voice there is no speaker. */
  speaker: string;
  language: string;
  mode: TextMode;
  reference: SpokenReference | null;
  /** i32 [frames, 16] */
  codes: Int32Array;
}

/** workerData of a recording of what the talker hands to the code predictor. */
export interface RecordJob {
  bundle: Bundle;
  config: Config;
  speeches: SpokenText[];
}

/** f32 [frames, hidden] of each speech */
export type FromRecord = { hidden: Float32Array[] } | { failed: ErrorOnTheWire };

export type FromStage =
  /** Before every try to open something. */
  | { opening: Opening }
  /** `unused`: why it does not run on an NPU that it was prepared for; `drawLimits`: of a code predictor that draws inside. */
  | { ready: { stage: StageName; backend: string; unused: string[]; warnings: string[]; drawLimits: DrawLimits | null } }
  /** The job cannot be done; the stage goes on. */
  | { job: number; error: ErrorOnTheWire }
  /** The stage has ended. */
  | { failed: ErrorOnTheWire };
