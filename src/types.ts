// The nouns and constants that every room shares, with their units. No logic lives here.

/** Sound is mono f32 in [-1, 1] at this rate. */
export const SAMPLE_RATE_HZ = 24_000;
/** One codec frame is 80 ms of sound. */
export const SAMPLES_PER_FRAME = 1_920;
export const FRAMES_PER_SECOND = 12.5;
/** Code 0 comes from the talker, codes 1 to 15 from the code predictor. */
export const CODES_PER_FRAME = 16;
/** Positions of a frame in the code predictor's graph: one for each code, and one for a spare row. */
export const PREDICTOR_POSITIONS = CODES_PER_FRAME + 1;
/** Marks "nothing added on this side" in a {@link Row}. */
export const NONE = -1;

/** In the order in which sound is made. */
export const STAGES = ["talker", "predictor", "vocoder"] as const;
export type StageName = (typeof STAGES)[number];

/** The progress of long work. */
export interface Progress {
  /** What is being done, in words. */
  step: string;
  done: number;
  total: number;
  /** A guess, once there is something to guess from. */
  secondsLeft?: number;
  /** Of a bundle in the cache: why that which was there cannot be used; "" or nothing at its first making. */
  because?: string;
  /** The forms of talker and code predictor that are named now and missing in a whole one, in words. */
  adding?: string;
}

/**
 * `whole`: the text stands complete in the prompt. `stream`: one text token is fed with every frame (official
 * `non_streaming_mode=False`).
 */
export type TextMode = "whole" | "stream";

/** What a checkpoint can do (`tts_model_type` of its config). */
export const MODEL_TYPES = ["custom_voice", "voice_design", "base"] as const;
export type ModelType = (typeof MODEL_TYPES)[number];

/**
 * One position of the talker's input, as integers: the embeddings of everything named are summed.
 * Prompts made of rows are compared exactly, without weights.
 */
export interface Row {
  /** Row of the folded text table, or NONE. */
  text: number;
  /** Row of the talker's codec embedding, or NONE. */
  codec: number;
  /** Index of the reference frame whose codes 1 to 15 are added too (in-context cloning), or NONE. */
  frame: number;
  /** Adds the speaker vector (x-vector). */
  speaker: boolean;
}

/**
 * How a graph names its state: it reads a value at STATE + name, and writes it at NEXT + name for the next
 * run.
 */
export const STATE = "state.";
export const NEXT = "next.";

/** How one code is drawn from its logits; the order of steps is the official one (see sampler.ts). */
export interface SamplerSettings {
  greedy: boolean;
  /** > 0 */
  temperature: number;
  /** 0 keeps every code. */
  topK: number;
  /** In (0, 1]; 1 keeps every code. */
  topP: number;
  /** 1 switches it off. The code predictor never has one. */
  repetitionPenalty: number;
}

/**
 * The limits of a code predictor that draws inside its model: no top-p, and a top-k of at most this many (or
 * all).
 */
export interface DrawLimits {
  topK: number;
}

/** Why a sentence ended: the model said so, the frame limit came first, or somebody cancelled it. */
export type StopReason = "eos" | "length" | "cancelled";

/** Takes lines for people. Settings in their hints are marked, as in an error's markedHint. */
export interface Tell {
  info(line: string): void;
  warn(line: string): void;
  debug(line: string): void;
}
