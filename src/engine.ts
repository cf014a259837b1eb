// THE MANUAL for programs: every type they meet, and open(). What happens behind it is in engine/, which
// knows nothing of this file.
//
//   import { open } from "./src/engine.ts";
//
//   await using engine = await open({ model: "starter" });
//   for await (const { samples } of engine.speak("The kettle is ready.")) play(samples); // f32, 24 kHz mono
//
// Failures are TtsErrors with a code, what happened, and what to do; a wrong call is a TypeError or
// RangeError.

import { openHost } from "./engine/host.ts";
import type { Progress, SamplerSettings, StageName, StopReason, TextMode } from "./types.ts";

export { loadVoice, provenanceOf, saveVoice } from "./engine/voices.ts";
export { type ErrorCode, TtsError } from "./errors.ts";
export {
  CODES_PER_FRAME,
  FRAMES_PER_SECOND,
  type ModelType,
  type Progress,
  SAMPLE_RATE_HZ,
  SAMPLES_PER_FRAME,
  type SamplerSettings,
  type StageName,
  type StopReason,
  type TextMode,
} from "./types.ts";

/** Weight types, as llama.cpp names them. */
export type WeightType = "f32" | "f16" | "bf16" | "q8_0" | "q4_0" | "q4_k_m" | "iq4_nl";

/**
 * How codes are drawn. Given to {@link open} it holds for all that is spoken; what runs the code predictor
 * must be able to draw so.
 */
export interface SamplingOptions {
  /**
   * Always the likeliest code, in talker and predictor. `false`: drawn ones, also where model or engine are
   * greedy.
   */
  greedy?: boolean;
  /**
   * Changes to the model's own settings for code 0 and for codes 1 to 15. Default: those of its
   * generation_config.json.
   */
  sampling?: { talker?: Partial<SamplerSettings>; predictor?: Partial<SamplerSettings> };
}

export interface OpenOptions extends SamplingOptions {
  /**
   * A name, a hub id, a bundle or a checkpoint directory, which is converted at its first use. Default:
   * "starter".
   */
  model?: string;
  /** Weight type when a checkpoint has to be converted. Default: f32 for small ones, else q4_0. */
  weights?: WeightType;
  /** Weight type of the code predictor alone. Default: as `weights`; on x64, where nothing is given, q8_0. */
  predictorWeights?: WeightType;
  /** Told how far a conversion has come. */
  onProgress?: (progress: Progress) => void;
  /**
   * What it is opened for: decoding needs no talker, encoding no stage at all. Default: "speak", which can do
   * everything.
   */
  use?: "speak" | "decode" | "encode";
  /**
   * About how many sentences will be spoken without anybody listening meanwhile: with many, several lanes may
   * be opened. Default: 1.
   */
  sentences?: number;
  /**
   * Sentences that are spoken side by side, 1 to 8. Default: 1, or 4 for many `sentences` where that changes
   * no sound.
   */
  lanes?: number;
  /** Positions of a prompt and its frames, per lane; each takes memory. Default: 1024. At most 9216. */
  contextPositions?: number;
  /**
   * Compute threads of talker and code predictor, who alternate, 1 to 64. Default: all fast cores but one, at
   * most 4.
   */
  threads?: number;
  /** Compute threads of a prompt while the vocoder rests, 1 to 64. Default: all fast cores, at most 8. */
  promptThreads?: number;
  /**
   * Numbers of the cores to compute on: for everything, or for single stages. Default: any; on unequal cores
   * the fast ones.
   */
  cpus?: {
    all?: readonly number[];
    talker?: readonly number[];
    predictor?: readonly number[];
    vocoder?: readonly number[];
  };
  /**
   * What runs the code predictor. Default: "auto": an NPU that the model was built for and that works, else
   * what was faster.
   */
  predictor?: "auto" | "ort" | "llama" | "axcl";
  /**
   * What runs the vocoder. Default: "auto": an NPU that the model was built for and that works, else "ort",
   * the processor.
   */
  vocoder?: "auto" | "ort" | "rknn" | "axcl" | "axengine";
  /** Folder of models that were built for an NPU. Default: npu/ in the bundle. */
  npu?: string;
  /**
   * How long what the talker made of a prompt is kept; changes no bit of the sound. Default:
   * TTS_PREFIX_CACHE, else "disk".
   */
  prefixCache?: "off" | "memory" | "disk";
  /**
   * A stage that gives no sign for so many milliseconds has failed. Default: TTS_STAGE_TIMEOUT, else 120000.
   */
  stageTimeoutMs?: number;
  /** Bundles made from checkpoints lie below it. Default: TTS_CACHE, else the user's cache. */
  cacheDir?: string;
  /** Cloned voices lie in it. Default: TTS_VOICES, else the user's data folder. */
  voicesDir?: string;
}

/**
 * A voice taken from a recording, for Base models: see {@link Engine.encode}, {@link loadVoice} and
 * models/VOICE.md.
 */
export interface ClonedVoice {
  name: string;
  /** What the recording says: with it the voice speaks in context. "": by its speaker vector alone. */
  text: string;
  /** f32 [hidden]: only models of that width can use it. */
  xVector: Float32Array;
  /** i32 [frames, 16], or null without a text. */
  codes: Int32Array | null;
  /** Size of the codebooks that the codes are from. */
  codebookSize: number;
}

/** A voice as it lies in a file. */
export interface Voice extends ClonedVoice {
  /** Made by provenanceOf(engine). */
  provenance: {
    /** The model it was taken with, and the hashes of its weights. */
    model: string;
    modelSha256: string;
    codecSha256: string;
    /** "" and 0 where nothing is known of the recording. */
    recordingSha256: string;
    recordingSeconds: number;
    tailSilenceSeconds: number;
    /** ISO 8601 */
    made: string;
  };
}

export interface SpeakOptions extends SamplingOptions {
  /** Name of a speaker, or "none". Default: the model's first. */
  speaker?: string;
  /** A cloned voice; Base models need one. */
  voice?: ClonedVoice;
  /** Name or code of a language, or "auto". Default: the model's only one, else "auto". */
  language?: string;
  /** How to speak, in words, up to 2000 characters; only for models that take instructions. */
  instruct?: string;
  /** A whole number from 0 to 2^53 - 1: the same one gives the same codes. Default: a random one. */
  seed?: number;
  /** At most so many frames of 80 ms a sentence, 1 to 100000. Default: the model's own limit. */
  maxFrames?: number;
  /**
   * Whether the text stands complete in the prompt or is fed with the frames. Default: as the official method
   * has it.
   */
  textMode?: TextMode;
  /** The text goes to the tokenizer as it is, also where the voice reads IPA. Default: false. */
  rawText?: boolean;
  /**
   * -100 to 100. Of sentences that wait, the most urgent starts first; one that sounds is not interrupted.
   * Default: 0.
   */
  priority?: number;
  /** Aborting it is {@link Speech.cancel}. */
  signal?: AbortSignal;
}

/**
 * Everything that decides the codes of a text, besides the text and the model: the key of caches and of saved
 * codes.
 */
export interface SpeechSettings {
  /** "none": nobody in particular. */
  speaker: string;
  /** Name of the cloned voice, or "". */
  voice: string;
  /** "auto": the model finds it. */
  language: string;
  /** "": none. */
  instruct: string;
  textMode: TextMode;
  maxFrames: number;
  seed: number;
  rawText: boolean;
  sampling: { talker: SamplerSettings; predictor: SamplerSettings };
}

/** Some sound, as soon as it is there. Belongs to the receiver. */
export interface AudioChunk {
  /** f32 in [-1, 1], 24 kHz mono, 1920 per frame. */
  samples: Float32Array;
  /** i32 [frames, 16] */
  codes: Int32Array;
  /** Which sentence of the text, from 0. */
  sentence: number;
}

/**
 * Figures of one {@link Speech} by itself, whatever else is spoken meanwhile. Times in milliseconds unless
 * named otherwise.
 */
export interface Summary {
  audioSeconds: number;
  wallSeconds: number;
  /** Wall time over sound: below 1 is faster than real time. */
  rtf: number;
  /** Until the first chunk, from the start of the iteration. */
  firstAudioMs: number;
  frames: number;
  /** Of sentences that share a step each has its part. */
  msPerFrame: { talker: number; predictor: number; vocoder: number };
  /**
   * Positions of all prompts, how many of them were known from before and not computed, and the time that
   * this saved.
   */
  prompt: { rows: number; cachedRows: number; savedMs: number };
  /**
   * The most urgent reason of all sentences: they ended by themselves, at the frame limit, or were cancelled.
   */
  stop: StopReason;
  model: string;
  /** Stage -> backend. */
  backends: Record<string, string>;
  seed: number;
}

/** Sound under way, to be listened to once. Leaving the loop cancels it. */
export interface Sounding extends AsyncIterable<AudioChunk> {
  /**
   * Ends the iteration at once, without an error: also while it waits for its turn, for a prompt or for a
   * chunk. Twice does nothing.
   */
  cancel(): void;
  /** Complete when the iteration has ended. */
  summary(): Summary;
}

/** One text being spoken. */
export interface Speech extends Sounding {
  /**
   * Characters and words that the voice cannot read, and leaves out. Grows with a text that comes in pieces.
   */
  readonly unread: readonly string[];
  /**
   * Sentences (prompts) that the text was split into, as the model gets them. Grows with a text that comes in
   * pieces.
   */
  readonly sentences: readonly string[];
  /** What it is made with, to make it again. */
  readonly settings: SpeechSettings;
}

/**
 * A piece of work of a stage. `recall` is prompt rows that were known already; `exchange` the talker waiting
 * for the code predictor.
 */
export interface Slice {
  kind: "prefill" | "step" | "exchange" | "predict" | "decode" | "recall";
  /** Milliseconds of the system's monotonic clock, which is the same for all threads. */
  startMs: number;
  endMs: number;
  /**
   * Prompt rows of a prefill or recall; else frames: of a step one per lane, of the vocoder those of a chunk.
   */
  rows: number;
}

/** What one stage did. */
export interface Track {
  /** Slices so far; also where {@link since} may go on later. */
  readonly written: number;
  /** Grows while anything gets done. */
  readonly signs: number;
  /** Slices from number `from` on, oldest first; a stage remembers the last 8191. */
  since(from: number): Slice[];
  /** Milliseconds and rows of one kind of work since the start. */
  sum(kind: Slice["kind"]): { ms: number; rows: number };
}

/** What a program may want to know of an open model. */
export interface ModelFacts {
  readonly name: string;
  readonly modelSize: string;
  readonly weights: { readonly talker: WeightType; readonly predictor: WeightType };
  readonly shape: {
    /** Width of the talker, and of the voices that fit it. */
    readonly hidden: number;
    /** Codes of a codebook. */
    readonly codes: number;
  };
  readonly prompt: {
    readonly modelType: "custom_voice" | "voice_design" | "base";
    readonly takesInstruct: boolean;
    /** Names in lower case -> ids. */
    readonly languages: Readonly<Record<string, number>>;
    readonly speakers: Readonly<Record<string, number>>;
  };
  /** Versions of the libraries that it was converted with. */
  readonly libraries: { readonly llama: string; readonly onnxruntime: string };
  /** File of the checkpoint -> its size and SHA-256. */
  readonly source: Readonly<Record<string, { bytes: number; sha256: string }>>;
}

/** An open model. */
export interface Engine extends AsyncDisposable {
  readonly manifest: ModelFacts;
  /** Stage -> backend that runs it. */
  readonly backends: Readonly<Record<string, string>>;
  /** What could not be had as it was prepared or asked for, a line each. */
  readonly warnings: readonly string[];
  /** Threads of talker and predictor, and the cores of each stage; none means any. */
  readonly config: {
    readonly threads: number;
    readonly cpus: Readonly<Record<StageName, readonly number[]>>;
  };
  /** What the stages did, slice by slice; only to be read. */
  readonly timeline: { readonly tracks: Readonly<Record<StageName, Track>> };
  /**
   * Speaks a text of up to 200 kB, or one that comes in pieces: then the first sentence is spoken while the
   * rest is still being written.
   * @throws TtsError at once when text or options are unusable: TEXT_EMPTY, TEXT_TOO_LONG, SPEAKER_UNKNOWN,
   * LANGUAGE_UNKNOWN, MODEL_UNSUITABLE, USAGE, CANCELLED when the engine is closed. Later failures come out
   * of the iteration.
   */
  speak(text: string | AsyncIterable<string> | Iterable<string>, options?: SpeakOptions): Speech;
  /**
   * Codes, i32 [frames, 16], back to sound: the same samples as when they were spoken.
   * @throws TtsError CODES_INVALID
   */
  decode(codes: Int32Array, options?: { signal?: AbortSignal }): Sounding;
  /**
   * A recording, f32 mono 24 kHz of 0.5 to 60 s, to what a cloned voice is made of. Base models only; takes
   * at most 15 minutes.
   * @param tailSilenceSeconds silence that is put behind the recording before its codes are taken, 0 to 1
   * @throws TtsError REFERENCE_UNUSABLE, MODEL_UNSUITABLE, CANCELLED when the engine is closed; the reason of
   * an aborted signal
   */
  encode(
    samples: Float32Array,
    tailSilenceSeconds: number,
    options?: { signal?: AbortSignal },
  ): Promise<{ codes: Int32Array; xVector: Float32Array }>;
  /** Ends everything; whoever still listens gets a TtsError CANCELLED. */
  close(): Promise<void>;
}

/**
 * Opens a model.
 * @throws TtsError MODEL_UNKNOWN, MODEL_NOT_HERE, CHECKPOINT_INVALID, BUNDLE_INVALID, NPU_*, LIBRARY_*,
 * OUTPUT_FAILED, USAGE
 */
export const open = (options: OpenOptions = {}): Promise<Engine> => openHost(options);
