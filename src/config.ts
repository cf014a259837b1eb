// Every default and limit, and the settings of one run: flags > environment > defaults, frozen.

import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { TtsError } from "./errors.ts";

export const LIMITS = {
  /** Larger texts are refused. */
  textBytes: 200_000,
  /** A text up to this many characters is one prompt, unless the bundle says otherwise. */
  promptChars: 300,
  /** Phones per prompt of a voice that reads IPA: what the starter voice was trained on. */
  promptPhones: 60,
  /** Instructions are part of every prompt. */
  instructChars: 2_000,
  maxFrames: 100_000,
  threads: 64,
  lanes: 8,
  /** A stage that does not answer for this long has failed: no single step takes nearly as long. */
  stageTimeoutMs: 120_000,
  /** How often a waiting thread looks at the stop word. */
  waitSliceMs: 500,
  /** How long a closing engine waits for a stage to end by itself. */
  closeGraceMs: 5_000,
  /** Starting a worker and opening its model. */
  startTimeoutMs: 300_000,
} as const;

/** Positions of the talker's KV cache per lane when nothing asks for more: prompt and frames together, about 2.5 minutes. */
export const CONTEXT_POSITIONS = 2_048;
/** Checkpoints below this size are converted to f32 when the user does not choose: exactness costs nothing there. */
export const F32_BELOW_BYTES = 200_000_000;
export const DEFAULT_WEIGHTS = "q8_0";
/** Weight types of talker and code predictor, as llama.cpp names them. */
export const WEIGHT_CHOICES = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m", "iq4_nl"] as const;
export type WeightType = (typeof WEIGHT_CHOICES)[number];
/** Codes and samples wait in rings of this many frames (2.56 s) per lane: full blocks the producer. */
export const RING_FRAMES = 32;
/**
 * Frames that the vocoder decodes at once: one at first, so that sound comes early, then more, which cost less each. The sizes depend
 * on nothing but the place in the sentence: other sizes round differently, and the same codes must give the same bytes.
 */
export const VOCODER_CHUNKS = [1, 2, 4] as const;
export const VOCODER_CHUNK_FRAMES = 4;
export const DEFAULT_MODEL = "starter";
/** sampling of generation_config.json where it says nothing (official hard defaults). */
export const SAMPLING_DEFAULTS = { temperature: 0.9, topK: 50, topP: 1, repetitionPenalty: 1.05, maxNewTokens: 2048 } as const;

export const PREDICTOR_CHOICES = ["auto", "ort", "llama"] as const;
export type PredictorChoice = (typeof PREDICTOR_CHOICES)[number];

export interface Config {
  /** Bundles made from checkpoints lie below it. */
  cacheDir: string;
  /** Paths from TTS_LIBLLAMA and TTS_LIBONNXRUNTIME; "" means the npm package. */
  libraries: { llama: string; onnxruntime: string };
  /** Compute threads of talker and predictor, which alternate; the vocoder has one of its own. */
  threads: number;
  predictor: PredictorChoice;
  /** Sentences that are spoken side by side. */
  lanes: number;
  contextPositions: number;
}

export type ConfigFlags = Partial<Omit<Config, "libraries">>;

/** @throws TtsError USAGE naming the setting and its value */
export function loadConfig(flags: ConfigFlags = {}, environment: Record<string, string | undefined> = process.env): Config {
  const config: Config = {
    cacheDir: flags.cacheDir ?? cacheDirectory(environment),
    libraries: { llama: environment.TTS_LIBLLAMA ?? "", onnxruntime: environment.TTS_LIBONNXRUNTIME ?? "" },
    threads: flags.threads ?? 1,
    predictor: flags.predictor ?? "auto",
    lanes: flags.lanes ?? 1,
    contextPositions: flags.contextPositions ?? CONTEXT_POSITIONS,
  };
  checkCount("threads", config.threads, LIMITS.threads);
  checkCount("lanes", config.lanes, LIMITS.lanes);
  if (!PREDICTOR_CHOICES.includes(config.predictor)) {
    throw new TtsError("USAGE", `there is no predictor backend "${config.predictor}"`, `choose one of ${PREDICTOR_CHOICES.join(", ")}`);
  }
  return Object.freeze(config);
}

function checkCount(name: string, value: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= 1 && value <= most) return;
  throw new TtsError("USAGE", `${name} is ${value}`, `give a whole number from 1 to ${most}`);
}

/** Works without HOME and without a terminal, as under cron. */
function cacheDirectory(environment: Record<string, string | undefined>): string {
  if (environment.TTS_CACHE) return environment.TTS_CACHE;
  if (environment.XDG_CACHE_HOME) return join(environment.XDG_CACHE_HOME, "qwen3-tts");
  const home = environment.HOME || passwordFileHome();
  return home === "" || home === "/" ? join(tmpdir(), `qwen3-tts-${process.getuid?.() ?? 0}`) : join(home, ".cache", "qwen3-tts");
}

function passwordFileHome(): string {
  try {
    return homedir();
  } catch {
    return "";
  }
}
