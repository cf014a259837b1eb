// THE MANUAL for programs: every public type, and open(). The implementation is in engine/, which never
// imports this file.
//
//   import { open } from "./src/engine.ts";
//
//   await using engine = await open({ model: "starter" });
//   for await (const { samples } of engine.speak("The kettle is ready.")) play(samples); // f32, 24 kHz mono
//
// A failure is a TtsError: its code, what happened, and what to do; so is a wrong argument or option (USAGE).
// A call at a wrong time, such as iterating a speech twice, is a TypeError.

import type { OpeningStep } from "./engine/crew.ts";
import { openHost } from "./engine/host.ts";
import type { Summary } from "./engine/summary.ts";
import type { WordTime } from "./engine/words.ts";
import type { TtsError } from "./errors.ts";
import type { Progress, SamplerSettings, StageName, TextMode } from "./types.ts";

export type { OpeningStep } from "./engine/crew.ts";
export { type Filter, loudnessFilter, speedFilter } from "./engine/sound.ts";
export type { Repair, Summary } from "./engine/summary.ts";
export { loadVoice, provenanceOf, saveVoice } from "./engine/voices.ts";
export type { WordTime } from "./engine/words.ts";
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
 * How codes are drawn. Options given to {@link open} hold for every speech. The code predictor's backend must
 * be able to draw this way.
 */
export interface SamplingOptions {
  /**
   * `true`: talker and predictor always take the likeliest code. `false`: they draw, even if the model or the
   * engine is greedy. Default: the engine's setting, else the model's.
   */
  greedy?: boolean;
  /**
   * Changes to the settings of the model's generation_config.json, for code 0 and for codes 1 to 15. Default:
   * none.
   */
  sampling?: { talker?: Partial<SamplerSettings>; predictor?: Partial<SamplerSettings> };
}

export interface OpenOptions extends SamplingOptions {
  /**
   * A name, a hub id, a bundle directory or a checkpoint directory. A checkpoint is converted at its first
   * use. Default: "starter".
   */
  model?: string;
  /** Weight type for a checkpoint that must be converted. Default: f32 for small ones, else q4_0. */
  weights?: WeightType;
  /** Weight type of the code predictor alone. Default: as `weights`. */
  predictorWeights?: WeightType;
  /** Called with the progress of a conversion. */
  onProgress?: (progress: Progress) => void;
  /**
   * What the engine is for: "decode" starts the vocoder alone, "encode" no stage at all. Default: "speak",
   * which can do everything.
   */
  use?: "speak" | "decode" | "encode";
  /**
   * What will be spoken first: the work on it begins while the vocoder still opens, and {@link Engine.first}
   * is its speech. Default: nothing.
   */
  first?: { text: string; options?: SpeakOptions };
  /**
   * A pronunciation list: a file with lines of `word => respelling` (or a tab), or a Map or an object. It
   * replaces whole words, whatever their case; where several entries fit, the longest one. `/.../` is IPA for
   * voices that read IPA; other voices refuse it, and these refuse signs that they have no sound for. The
   * list wins over lexicon.txt in `configDir`. Default: none.
   */
  lexicon?: string | Iterable<readonly [string, string]> | Readonly<Record<string, string>>;
  /**
   * About how many sentences will be spoken while nobody listens; for many, several lanes may be opened.
   * Default: 1.
   */
  sentences?: number;
  /**
   * Whether the talker's attention to the text is read, for {@link Speech.words}. Changes no code. Default:
   * true.
   */
  alignment?: boolean;
  /**
   * Sentences spoken side by side, 1 to 8. Default: 1, or 4 for many `sentences` if that changes no sound.
   */
  lanes?: number;
  /** Positions for a prompt and its frames, per lane, at most 9216; each takes memory. Default: 1024. */
  contextPositions?: number;
  /**
   * The most compute threads of talker and code predictor, which alternate, 1 to 64; fewer compute while the
   * vocoder or other programs do. Default: all fast cores, at most 4.
   */
  threads?: number;
  /** Compute threads for a prompt while the vocoder is idle, 1 to 64. Default: all fast cores, at most 8. */
  promptThreads?: number;
  /**
   * Numbers of the cores to compute on, for all stages or for single ones. Default: any core; if cores are
   * unequal, the fast ones.
   */
  cpus?: {
    all?: readonly number[];
    talker?: readonly number[];
    predictor?: readonly number[];
    vocoder?: readonly number[];
  };
  /** Backend of the talker. Default: "auto", what was measured to be faster. */
  talker?: "auto" | "llama" | "ort";
  /**
   * Backend of the code predictor. Default: "auto": a working NPU that the model was built for, else the
   * backend that was measured to be faster.
   */
  predictor?: "auto" | "ort" | "llama" | "axcl";
  /**
   * Whether the code predictor guesses codes ahead and verifies several in one call, which changes no code:
   * "auto" as far as it pays, "on" always. Both only where conversion has proven it for this model and
   * backend, and while one sentence is spoken at a time. Default: "auto".
   */
  speculate?: "auto" | "off" | "on";
  /**
   * For measurements of random models: wrong guesses are taken as right ones, so that a call gives so many
   * codes on average, from 1 to 4. The codes mean nothing: save none. Default: 0, never.
   */
  pretendedCodes?: number;
  /**
   * Backend of the vocoder. Default: "auto": a working NPU that the model was built for, else "ort", the
   * processor.
   */
  vocoder?: "auto" | "ort" | "rknn" | "axcl" | "axengine";
  /** Folder of models built for an NPU. Default: npu/ in the bundle. */
  npu?: string;
  /**
   * Where the talker's state after a prompt is kept for reuse; the sound stays the same to the bit. Default:
   * TTS_PREFIX_CACHE, else "disk".
   */
  prefixCache?: "off" | "memory" | "disk";
  /**
   * A stage that gives no sign of life for this many milliseconds has failed. Default: TTS_STAGE_TIMEOUT,
   * else 120000.
   */
  stageTimeoutMs?: number;
  /**
   * Folder for bundles made from checkpoints and for kept prompts. Default: TTS_CACHE, else the user's cache.
   */
  cacheDir?: string;
  /** Folder of cloned voices. Default: TTS_VOICES, else the user's data folder. */
  voicesDir?: string;
  /** Folder of the user's lexicon.txt. Default: TTS_CONFIG, else the user's configuration folder. */
  configDir?: string;
}

/**
 * A voice taken from a recording, for Base models: see {@link Engine.encode}, {@link loadVoice} and
 * models/VOICE.md.
 */
export interface ClonedVoice {
  name: string;
  /**
   * What the recording says; with it, the voice is cloned in context. "": only the speaker vector is used.
   */
  text: string;
  /** f32 [hidden]; only models of this width can use it. */
  xVector: Float32Array;
  /** i32 [frames, 16], or null without a text. */
  codes: Int32Array | null;
  /** Size of the codebooks that the codes belong to. */
  codebookSize: number;
}

/** A voice as stored in a file. */
export interface Voice extends ClonedVoice {
  /** Made by provenanceOf(engine). */
  provenance: {
    /** The model it was taken with, and the hashes of its weights. */
    model: string;
    modelSha256: string;
    codecSha256: string;
    /** "" and 0 if nothing is known about the recording. */
    recordingSha256: string;
    recordingSeconds: number;
    tailSilenceSeconds: number;
    /** ISO 8601 */
    made: string;
  };
}

export interface SpeakOptions extends SamplingOptions, SoundOptions {
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
  /** Most frames of 80 ms per sentence, 1 to 100000. Default: the model's own limit. */
  maxFrames?: number;
  /**
   * Whether the prompt holds the whole text or the text is fed with the frames. Default: as in the official
   * method.
   */
  textMode?: TextMode;
  /** `true`: the text goes to the tokenizer as it is: no markup, no reading as IPA. Default: false. */
  rawText?: boolean;
  /**
   * English numbers, times, sums, units and abbreviations become words before the model gets them: `7:30 pm`
   * is "seven thirty p m". Voices that read IPA always do so, but for `rawText`; official models read most of
   * it by themselves. Default: false.
   */
  normalize?: boolean;
  /**
   * `false`: nobody looks for sentences that never end, repeat, fall silent, skip text or say it twice; they
   * are else cut, and their rest is said again with another draw, twice at most: {@link Summary.repairs}.
   * Where nothing is wrong, no code depends on it. Default: true.
   */
  watch?: boolean;
  /**
   * Milliseconds of silence between sentences and between paragraphs, 0 to 60000. `[pause 500ms]` or
   * `<break/>` in the text replaces it there. Default: 0, only what the model makes.
   */
  pauses?: { sentenceMs?: number; paragraphMs?: number };
  /** Only these {@link Speech.sentences}, without `to`: ranges in a row give the whole. Default: all. */
  sentences?: { from: number; to: number };
  /**
   * -1000000 to 1000000. The waiting sentence with the highest priority starts first; a sentence under way
   * is not interrupted. Default: 0.
   */
  priority?: number;
  /**
   * `false`: its sentences are spoken one at a time however many lanes are free, which leaves the others to
   * other speeches. Where lanes share arithmetic, the sound may differ in rounding. Default: true.
   */
  sideBySide?: boolean;
}

/** How a speech, or decoded sound, is given out. */
export interface SoundOptions {
  /** Aborting it cancels the speech, as {@link Speech.cancel} does. */
  signal?: AbortSignal;
  /**
   * `true`: what is silent (up to -50 dB of full scale) before the first heard sample is left out, but for
   * 10 ms. Pauses between sentences stay, and so do all codes. Sound that is silent throughout has no samples
   * then. Default: false.
   */
  trimStart?: boolean;
}

/** Everything besides the text and the model that decides the codes: the key of caches and of saved codes. */
export interface SpeechSettings {
  /** "none": no particular speaker. */
  speaker: string;
  /** Name of the cloned voice, or "". */
  voice: string;
  /** "auto": the model decides. */
  language: string;
  /** "": none. */
  instruct: string;
  textMode: TextMode;
  maxFrames: number;
  seed: number;
  rawText: boolean;
  normalize: boolean;
  pauses: { sentenceMs: number; paragraphMs: number };
  sampling: { talker: SamplerSettings; predictor: SamplerSettings };
}

/** A piece of sound, given out as soon as it is made. Its arrays belong to the receiver. */
export interface AudioChunk {
  /**
   * f32 in [-1, 1], 24 kHz mono, 1920 per frame; fewer or none where `trimStart` leaves silence out. A pause
   * has samples and no frame.
   */
  samples: Float32Array;
  /** i32 [frames, 16] */
  codes: Int32Array;
  /**
   * i32 [frames]: which token of the sentence, as {@link Speech.sentences} has it, a frame says: its offset
   * in UTF-16 units. -1: not known.
   */
  textAt: Int32Array;
  /** Index of the sentence in the text, from 0. */
  sentence: number;
  /** 0, or the number of the repair that this is from: the vocoder starts afresh with each. */
  attempt: number;
}

/** Sound under way. It can be iterated once; leaving the loop cancels it. */
export interface Sounding extends AsyncIterable<AudioChunk> {
  /**
   * Ends the iteration at once, without an error, even while it waits for its turn, for a prompt or for a
   * chunk. A second call does nothing.
   */
  cancel(): void;
  /** The figures so far; they are complete when the iteration has ended. */
  summary(): Summary;
}

/** One text being spoken. */
export interface Speech extends Sounding {
  /** What the voice cannot read and leaves out. Grows with a text in pieces, or a long one (see `speak`). */
  readonly unread: readonly string[];
  /** Elements of markup that are not obeyed, such as `<prosody>`, each once; their text is read. */
  readonly ignored: readonly string[];
  /** Sentences (prompts) that the text was split into, as the model gets them. Grows as `unread` does. */
  readonly sentences: readonly string[];
  /**
   * The words that have begun so far, and when: from the talker's attention to the text, so to about a frame.
   * Empty for a model whose {@link ModelFacts.alignment} is null.
   */
  readonly words: readonly WordTime[];
  /** Index of a sentence -> milliseconds of silence before it; behind the last one at their number. */
  readonly pauses: ReadonlyMap<number, number>;
  /** Everything that is needed to make the same speech again. */
  readonly settings: SpeechSettings;
}

/**
 * A piece of a stage's work. `recall`: prompt rows that were known already. `exchange`: the talker waits for
 * the code predictor.
 */
export interface Slice {
  kind: "prefill" | "step" | "exchange" | "predict" | "decode" | "recall";
  /** Milliseconds of the system's monotonic clock, which is the same for all threads. */
  startMs: number;
  endMs: number;
  /**
   * Prompt rows for `prefill` and `recall`; otherwise frames: those of the chunk for `decode`, else one per
   * lane.
   */
  rows: number;
}

/** What one stage did. */
export interface Track {
  /** Number of slices so far. Pass it to {@link since} later to get only newer slices. */
  readonly written: number;
  /** A counter that grows while the stage works. */
  readonly signs: number;
  /** Slices from number `from` on, oldest first; a stage remembers the last 8191. */
  since(from: number): Slice[];
  /** Milliseconds and rows of one kind of work since the start. */
  sum(kind: Slice["kind"]): { ms: number; rows: number };
}

/** What a program may want to know about an open model. */
export interface ModelFacts {
  readonly name: string;
  readonly modelSize: string;
  readonly weights: { readonly talker: WeightType; readonly predictor: WeightType };
  readonly shape: {
    /** Width of the talker, and of the voices that fit it. */
    readonly hidden: number;
    /** Number of codes in a codebook. */
    readonly codes: number;
  };
  readonly prompt: {
    readonly modelType: "custom_voice" | "voice_design" | "base";
    readonly takesInstruct: boolean;
    /** Names in lower case -> ids. */
    readonly languages: Readonly<Record<string, number>>;
    readonly speakers: Readonly<Record<string, number>>;
    /** Speaker -> the dialect that it speaks in Chinese, one of `languages`. */
    readonly dialects: Readonly<Record<string, string>>;
  };
  /** The attention head that follows the text; null: none is known. */
  readonly alignment: { readonly layer: number; readonly head: number } | null;
  /** Versions of the libraries that the model was converted with. */
  readonly libraries: { readonly llama: string; readonly onnxruntime: string };
  /** File of the checkpoint -> its size and SHA-256. */
  readonly source: Readonly<Record<string, { bytes: number; sha256: string }>>;
}

/** An open model. */
export interface Engine extends AsyncDisposable {
  readonly manifest: ModelFacts;
  /** Stage -> backend that runs it. */
  readonly backends: Readonly<Record<string, string>>;
  /** What was prepared or requested but cannot be used, such as an NPU or cores; a line each. */
  readonly warnings: readonly string[];
  /** Threads of talker and predictor, and the cores of each stage; an empty list means any core. */
  readonly config: {
    readonly lanes: number;
    readonly threads: number;
    readonly cpus: Readonly<Record<StageName, readonly number[]>>;
  };
  /** The speech of {@link OpenOptions.first}, to be iterated like any other; else null. */
  readonly first: Speech | null;
  /** Why the stages had to end: the engine is of no more use; else null. */
  readonly failure: TtsError | null;
  /** What {@link open} took its time for, thread by thread. */
  readonly opening: readonly OpeningStep[];
  /** What the stages did, slice by slice. Read-only. */
  readonly timeline: { readonly tracks: Readonly<Record<StageName, Track>> };
  /**
   * Speaks a text of up to 200 kB, or a text in pieces: its first sentence is spoken while the rest is still
   * being written. One over 10,000 characters, unless it is `first`, is read once it is listened to.
   * @throws TtsError at once if the text or the options are unusable: TEXT_EMPTY, TEXT_TOO_LONG,
   * SPEAKER_UNKNOWN, LANGUAGE_UNKNOWN, MODEL_UNSUITABLE, USAGE, CANCELLED if the engine is closed. The
   * iteration throws later ones, such as a text over 10,000 characters without one that the voice can read.
   */
  speak(text: string | AsyncIterable<string> | Iterable<string>, options?: SpeakOptions): Speech;
  /**
   * Turns codes, i32 [frames, 16], back into sound: the same samples as when they were spoken.
   * @throws TtsError CODES_INVALID
   */
  decode(codes: Int32Array, options?: SoundOptions): Sounding;
  /**
   * Loudness of the voice of these options in LUFS (EBU R128), kept in `cacheDir`; -Infinity: it was silent.
   * @param onMeasure called where it is not known, before three sentences are spoken to measure it
   * @throws TtsError as {@link speak}; or the reason of an aborted signal
   */
  loudness(options?: SpeakOptions, onMeasure?: () => void): Promise<number>;
  /**
   * Turns a recording, f32 mono 24 kHz of 0.5 to 60 s, into the parts of a cloned voice. Base models only;
   * takes at most 15 minutes.
   * @param tailSilenceSeconds silence added after the recording before its codes are taken, 0 to 1
   * @throws TtsError REFERENCE_UNUSABLE, MODEL_UNSUITABLE, CANCELLED if the engine is closed; or the reason
   * of an aborted signal
   */
  encode(
    samples: Float32Array,
    tailSilenceSeconds: number,
    options?: { signal?: AbortSignal },
  ): Promise<{ codes: Int32Array; xVector: Float32Array }>;
  /** Ends everything; iterations under way throw TtsError CANCELLED. */
  close(): Promise<void>;
}

/**
 * Opens a model.
 * @throws TtsError MODEL_UNKNOWN, MODEL_NOT_HERE, CHECKPOINT_INVALID, BUNDLE_INVALID, NPU_*, LIBRARY_*,
 * OUTPUT_FAILED, USAGE
 */
export const open = (options: OpenOptions = {}): Promise<Engine> => openHost(options);
