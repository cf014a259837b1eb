// The messages between the server and the process that holds its engine. A number names a speech or a
// recording under way. Sound comes only as it is asked for, and so does a text in pieces: nothing piles up on
// either side.

import type {
  ModelFacts,
  OpenOptions,
  SpeakOptions,
  SpeechSettings,
  Summary,
  WordTime,
} from "../../engine.ts";
import type { ErrorOnTheWire } from "../../errors.ts";
import type { Progress } from "../../types.ts";
import type { FromKept } from "../keeper.ts";

export interface EngineStart {
  options: Omit<OpenOptions, "onProgress" | "first">;
  /** How often to give a sign of life. */
  beatMs: number;
}

export interface EngineReady {
  manifest: ModelFacts;
  backends: Readonly<Record<string, string>>;
  warnings: readonly string[];
}

export type ToEngine =
  /** @param text null: it comes in pieces */
  | { speak: { id: number; text: string | null; options: Omit<SpeakOptions, "signal"> } }
  /** The answer to `wants`. */
  | { piece: { id: number; text: string } }
  | { textEnd: { id: number; error?: ErrorOnTheWire } }
  /** A chunk was taken: a further one may come. */
  | { more: number }
  | { encode: { id: number; samples: Float32Array; tailSilenceSeconds: number } }
  | { cancel: number };

/** How a speech has changed since its last message. */
export interface News {
  summary: Summary;
  /** With the first message alone. */
  settings?: SpeechSettings;
  /** Takes the place of all words from this index on; left out where there is no change. */
  words?: { from: number; words: readonly WordTime[] };
  /** Those that are new. */
  unread?: readonly string[];
  ignored?: readonly string[];
}

export type FromEngine =
  | FromKept<EngineReady>
  | { progress: Progress }
  | { chunk: { id: number; samples: Float32Array; news: News } }
  /** Asks for a piece of a text. */
  | { wants: number }
  /** No more of a text is wanted. */
  | { left: number }
  | { ended: { id: number; news?: News; error?: ErrorOnTheWire } }
  | { encoded: { id: number; codes: Int32Array; xVector: Float32Array } };

/** Chunks that may be on their way at once; the first ones have 1, 2 and 4 frames, pauses a second. */
export const CHUNKS_AHEAD = 4;
