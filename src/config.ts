// Every default and limit, and the settings of one run: flags > environment > defaults, frozen.

import { existsSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import { compiled, embeddedFolder } from "../ffi/load/embedded.ts";
import { ANYWHERE, allowedCores, fastCores, type Placement, placementOf, type WantedCores } from "./cores.ts";
import { TtsError } from "./errors.ts";
import { passwordFileHome, pathIn, userDirectory } from "./io/folders.ts";
import { readTextFile, textOrEmpty } from "./io/read.ts";
import {
  ANNOUNCE_LIMITS,
  FLEET_LIMITS,
  type FleetLimits,
  HUB_LIMITS,
  type HubLimits,
  LIMITS,
} from "./limits.ts";
import { NPU_NAMES, NPU_VENDORS, type NpuName, npuBackends } from "./npu-vendors.ts";
import { assertWhole } from "./ranges.ts";

export { ANNOUNCE_LIMITS, FLEET_LIMITS, type FleetLimits, HUB_LIMITS, type HubLimits, LIMITS };

/** The file of a token. */
const TOKEN_BYTES = 4_096;
/** Timers that are set to more end at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Generation waits for weights to be read, and four cores read as fast as any number. */
const MOST_GENERATION_THREADS = 4;
/** Prompts are bound by arithmetic, and so gain from more cores; but they are short. */
const MOST_PROMPT_THREADS = 8;
/** In a step of four rows each costs 0.83 of a single one; more rows bring little and take memory. */
const LANES_OF_LONG_TEXTS = 4;
const LANES_FROM_SENTENCES = 4;
const LANES_FROM_MEMORY_BYTES = 3e9;
/** Talkers narrower than this have too little to do for more than one thread. */
const NARROW_TALKER = 512;

/**
 * Positions of the talker's KV cache per lane when nothing asks for more: a prompt and over a minute of
 * speech. 117 MB at 0.6B.
 */
export const CONTEXT_POSITIONS = 1_024;
/** Positions among these that the longest plain prompt may take: one per character, and the tags. */
export const PROMPT_POSITIONS = 384;
/**
 * Prompts go to the talker in pieces of this many rows. The size is fixed, so that the same prompt takes the
 * same arithmetic.
 */
export const PROMPT_PIECE_ROWS = 512;
/**
 * Checkpoints below this size are converted to f32 when the user does not choose: exactness costs nothing
 * there.
 */
const F32_BELOW_BYTES = 200_000_000;
/** Weight types of talker and code predictor, as llama.cpp names them. */
export const WEIGHT_CHOICES = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m", "iq4_nl"] as const;
export type WeightType = (typeof WEIGHT_CHOICES)[number];
/** The code predictor may keep more precision than the talker, or less. */
export interface WeightTypes {
  talker: WeightType;
  predictor: WeightType;
}
/**
 * Weight type of larger checkpoints when the user does not choose. Machines spend their time reading weights,
 * and below 4 bits the speech suffers.
 */
export const DEFAULT_WEIGHTS: WeightType = "q4_0";
/** The code predictor's type is the talker's unless it is named. */
export const weightTypes = (talker: WeightType, predictor = talker): WeightTypes => ({ talker, predictor });
/** The weight types for a checkpoint of `bytes`, given what the user chose. */
export function weightsFor(
  bytes: number,
  { weights, predictorWeights }: { weights?: WeightType; predictorWeights?: WeightType },
): WeightTypes {
  return weightTypes(weights ?? (bytes < F32_BELOW_BYTES ? "f32" : DEFAULT_WEIGHTS), predictorWeights);
}
/** Codes and samples wait in rings of this many frames (2.56 s) per lane; a full ring blocks the producer. */
export const RING_FRAMES = 32;
/**
 * Frames that the vocoder decodes at once: one at first, so that sound comes early, then more, since each
 * then costs less. The sizes depend only on the place in the sentence: other sizes round differently, and the
 * same codes must give the same bytes.
 */
export const VOCODER_CHUNKS = [1, 2, 4] as const;
export const VOCODER_CHUNK_FRAMES = 4;
/** Cloned voices whose sound the vocoder remembers: 5 MB each at full size. */
export const REMEMBERED_REFERENCES = 4;
/**
 * What is kept of prompts that may come again (src/stages/prompt-cache.ts). A position takes 115 kB at 0.6B
 * and at 1.7B.
 */
export const PREFIX_LIMITS = {
  /** In memory: enough for a voice in context and a few sentences. No larger prompt is kept. */
  memoryBytes: 64 * 2 ** 20,
  /** The states of a small model are small: a long text would keep hundreds of sentences. */
  memoryPositions: 640,
  /** On disk, for all models together. */
  diskBytes: 256 * 2 ** 20,
  diskFiles: 256,
  /** Prompts that are known to have been asked for once: one that comes a second time goes to disk. */
  seenKeys: 4_096,
} as const;
/** Silence put behind a reference: without it the speech may start with the reference's last sound. */
export const TAIL_SILENCE_SECONDS = 0.5;
export const DEFAULT_MODEL = "starter";
/** Sampling where generation_config.json says nothing (official hard defaults). */
export const SAMPLING_DEFAULTS = {
  temperature: 0.9,
  topK: 50,
  topP: 1,
  repetitionPenalty: 1.05,
  maxNewTokens: 2048,
} as const;

/** The backends of a stage; `auto` prefers an NPU that the model was prepared for. */
export const TALKER_CHOICES = ["auto", "llama", "ort"] as const;
export type TalkerChoice = (typeof TALKER_CHOICES)[number];
export const PREDICTOR_CHOICES = ["auto", "ort", "llama", ...npuBackends("predictor")] as const;
/** Whether codes are guessed ahead where that is proven to change none: where it pays, never, always. */
export const SPECULATE_CHOICES = ["auto", "off", "on"] as const;
export type SpeculateChoice = (typeof SPECULATE_CHOICES)[number];
export type PredictorChoice = (typeof PREDICTOR_CHOICES)[number];
export const VOCODER_CHOICES = ["auto", "ort", ...npuBackends("vocoder")] as const;
export type VocoderChoice = (typeof VOCODER_CHOICES)[number];
/**
 * How long the talker's state after a prompt is kept: not at all, as long as the engine, or longer if the
 * prompt comes again.
 */
export const PREFIX_CACHE_CHOICES = ["off", "memory", "disk"] as const;
export type PrefixCacheChoice = (typeof PREFIX_CACHE_CHOICES)[number];

export interface Config {
  /** Bundles made from checkpoints lie below it. */
  cacheDir: string;
  /**
   * TTS_LIB_DIR: a compiled binary unpacks its libraries and the shipped voices below it, and keeps their
   * bundles there; "" from source.
   */
  libDir: string;
  /** Cloned voices lie in it. */
  voicesDir: string;
  /** Folder of the user's lexicon.txt, which counts for all models. */
  configDir: string;
  /**
   * Paths of the libraries. TTS_LIBLLAMA and TTS_LIBONNXRUNTIME set the first two, where "" means the npm
   * package (a binary has its own instead). "" for an NPU's library means the system's.
   */
  libraries: Record<"llama" | "onnxruntime" | NpuName, string>;
  /** TTS_NPU_STANDIN: whether a stand-in for an NPU's library may be used, for tests and demonstrations. */
  allowStandIn: boolean;
  /** The folder of models built for an NPU; "" means npu/ in the bundle. */
  npu: string;
  /**
   * The most compute threads of talker and predictor, which alternate. Fewer compute while other work runs.
   */
  threads: number;
  /** Those that compute, whatever runs, where their number cannot change or would change a bit. */
  steadyThreads: number;
  cpus: Placement;
  /** Compute threads of a prompt while the vocoder has nothing to do. */
  promptThreads: number;
  talker: TalkerChoice;
  predictor: PredictorChoice;
  /** Changes no code. */
  speculate: SpeculateChoice;
  /**
   * For measurements: drafts are taken as right, wrong ones too, until every pass of the code predictor gives
   * so many codes on average. The codes mean nothing. 0: never.
   */
  pretendedCodes: number;
  vocoder: VocoderChoice;
  /**
   * TTS_STAGE_TIMEOUT: a stage that gives no sign for this long has failed. No single step takes nearly as
   * long.
   */
  stageTimeoutMs: number;
  /** TTS_PREFIX_CACHE; changes no bit of the sound. */
  prefixCache: PrefixCacheChoice;
  /** Whether the talker's alignment head is watched, where one is known. Changes no code. */
  alignment: boolean;
  /** How many sentences are spoken side by side. */
  lanes: number;
  contextPositions: number;
}

export type ConfigFlags = Partial<
  Omit<Config, "steadyThreads" | "libDir" | "libraries" | "allowStandIn" | "cpus">
> & {
  cpus?: WantedCores;
};

/** @throws TtsError USAGE naming the setting and its value */
export function loadConfig(
  flags: ConfigFlags = {},
  environment: Record<string, string | undefined> = process.env,
): Config {
  const allowed = allowedCores();
  const cpus = placementOf(flags.cpus ?? {}, allowed);
  const fast = fastCores(allowed).length;
  const libDir = unpackFolder(environment);
  const threads = flags.threads ?? generationThreads(fast, cpus);
  const config: Config = {
    cacheDir: flags.cacheDir ?? userDirectory(environment, "TTS_CACHE", "XDG_CACHE_HOME", ".cache", ""),
    libDir,
    voicesDir:
      flags.voicesDir ?? userDirectory(environment, "TTS_VOICES", "XDG_DATA_HOME", ".local/share", "voices"),
    configDir: flags.configDir ?? userDirectory(environment, "TTS_CONFIG", "XDG_CONFIG_HOME", ".config", ""),
    libraries: {
      llama: environment.TTS_LIBLLAMA || embeddedFolder("lib", libDir),
      onnxruntime: environment.TTS_LIBONNXRUNTIME || embeddedFolder("lib", libDir),
      ...(Object.fromEntries(
        NPU_NAMES.map((name) => [name, environment[NPU_VENDORS[name].variable] ?? ""]),
      ) as Record<NpuName, string>),
    },
    allowStandIn: environment.TTS_NPU_STANDIN === "1",
    npu: flags.npu ?? "",
    threads,
    steadyThreads: Math.min(threads, Math.max(fast - 1, 1)), // the vocoder has the other core
    cpus,
    promptThreads:
      flags.promptThreads ?? flags.threads ?? Math.min(cpus.talker.length || fast, MOST_PROMPT_THREADS),
    talker: flags.talker ?? "auto",
    predictor: flags.predictor ?? "auto",
    speculate: flags.speculate ?? "auto",
    pretendedCodes: flags.pretendedCodes ?? 0,
    vocoder: flags.vocoder ?? "auto",
    stageTimeoutMs: flags.stageTimeoutMs ?? stageTimeoutMs(environment.TTS_STAGE_TIMEOUT),
    // checked below
    prefixCache: flags.prefixCache ?? ((environment.TTS_PREFIX_CACHE || "disk") as PrefixCacheChoice),
    alignment: flags.alignment ?? true,
    lanes: flags.lanes ?? 1,
    contextPositions: Math.min(flags.contextPositions ?? CONTEXT_POSITIONS, LIMITS.contextPositions),
  };
  assertWhole("threads", config.threads, 1, LIMITS.threads);
  assertWhole("promptThreads", config.promptThreads, 1, LIMITS.threads);
  assertWhole("lanes", config.lanes, 1, LIMITS.lanes);
  assertWhole("contextPositions", config.contextPositions, 1, LIMITS.contextPositions);
  if (!(config.stageTimeoutMs > 0 && config.stageTimeoutMs <= LONGEST_TIMER_MS))
    throw new TtsError(
      "USAGE",
      `stageTimeoutMs is ${config.stageTimeoutMs}`,
      `give milliseconds, above 0 and up to ${LONGEST_TIMER_MS}`,
    );
  for (const stage of ["talker", "predictor"] as const) checkCores(stage, config.threads, cpus[stage].length);
  checkChoice("talker", config.talker, TALKER_CHOICES);
  checkChoice("predictor", config.predictor, PREDICTOR_CHOICES);
  checkChoice("vocoder", config.vocoder, VOCODER_CHOICES);
  if (
    !(config.pretendedCodes === 0 || (config.pretendedCodes >= 1 && config.pretendedCodes <= LIMITS.passRows))
  )
    throw new TtsError(
      "USAGE",
      `pretendedCodes is ${config.pretendedCodes}`,
      `give codes per call, from 1 to ${LIMITS.passRows}`,
    );
  checkChoice("speculate", config.speculate, SPECULATE_CHOICES);
  if (!PREFIX_CACHE_CHOICES.includes(config.prefixCache)) {
    throw new TtsError(
      "USAGE",
      `TTS_PREFIX_CACHE is "${config.prefixCache}"`,
      `set it to one of ${PREFIX_CACHE_CHOICES.join(", ")}`,
    );
  }
  return Object.freeze(config);
}

/** For the settings of a fleet, which are read where they are used (src/fleet/settings.ts). */
export const environmentNow = (): Readonly<Record<string, string | undefined>> => process.env;

/** {@link Config.libDir} */
export function unpackFolder(environment: Record<string, string | undefined> = process.env): string {
  if (!compiled) return "";
  return environment.TTS_LIB_DIR || userDirectory(environment, "TTS_CACHE", "XDG_CACHE_HOME", ".cache", "");
}

/**
 * The environment of a program that plays sound: ours with some changes. Cron and services do not say where
 * the user's sound server has its socket; systemd and others keep it in one place.
 */
export function playerEnvironment(
  changes: Readonly<Record<string, string | undefined>>,
  environment: Record<string, string | undefined> = process.env,
): Record<string, string | undefined> {
  const usual = `/run/user/${process.getuid?.()}`;
  const runtime = environment.XDG_RUNTIME_DIR || (existsSync(usual) ? usual : undefined);
  return { ...environment, XDG_RUNTIME_DIR: runtime, ...changes };
}

/** Talker and predictor take turns and so share these threads; beyond four nothing is gained. */
export function generationThreads(
  fast: number,
  { predictor, talker }: Pick<Placement, "predictor" | "talker"> = ANYWHERE,
): number {
  return Math.min(talker.length || fast, predictor.length || fast, MOST_GENERATION_THREADS);
}

/**
 * Lanes for a text that nobody waits for. There are several where a row's rounding does not depend on its
 * neighbours, so that a seed gives the same speech with any number, and where memory has room for their
 * caches.
 */
export function lanesFor({ talker }: WeightTypes, sentences: number): number {
  const pays =
    talker === "q4_0" && sentences >= LANES_FROM_SENTENCES && totalmem() >= LANES_FROM_MEMORY_BYTES;
  return pays ? LANES_OF_LONG_TEXTS : 1;
}

/** The threads that a talker of this width gains from, among those that are set. */
export function threadsFor(
  hidden: number,
  { promptThreads, steadyThreads, threads }: Config,
): Pick<Config, "threads" | "steadyThreads" | "promptThreads"> {
  if (hidden < NARROW_TALKER) return { threads: 1, steadyThreads: 1, promptThreads: 1 };
  return { threads, steadyThreads, promptThreads };
}

/** Milliseconds from TTS_STAGE_TIMEOUT, which is in seconds. */
function stageTimeoutMs(text = ""): number {
  if (text === "") return LIMITS.stageTimeoutMs;
  const milliseconds = 1000 * Number(text);
  if (milliseconds > 0 && milliseconds <= LIMITS.startTimeoutMs) return milliseconds;
  throw new TtsError(
    "USAGE",
    `TTS_STAGE_TIMEOUT is "${text}"`,
    `give seconds, above 0 and up to ${LIMITS.startTimeoutMs / 1000}`,
  );
}

function checkChoice(stage: string, choice: string, choices: readonly string[]): void {
  if (choices.includes(choice)) return;
  throw new TtsError(
    "USAGE",
    `there is no ${stage} backend "${choice}"`,
    `choose one of ${choices.join(", ")}`,
  );
}

/** Refuses more threads than cores: they would wait for each other all the time. @param cores 0: any */
function checkCores(stage: string, threads: number, cores: number): void {
  if (cores === 0 || threads <= cores) return;
  const what = `${threads} threads do not fit on the ${cores} ${cores === 1 ? "core" : "cores"} of the ${stage}`;
  throw new TtsError("USAGE", what, `give {threads} ${cores}, or more cores with {cpus.${stage}}`);
}

/**
 * Where models are fetched from. Kept apart from {@link Config}, because only `tts pull` may hold the token.
 */
export interface HubConfig {
  /** HF_ENDPOINT: without a slash at the end. */
  endpoint: string;
  /**
   * HF_TOKEN, or what other programs keep in HF_TOKEN_PATH; "" means none. It goes to the endpoint's own host
   * only, and into no message.
   */
  token: string;
  /** The hub cache of other programs: HF_HUB_CACHE, or hub/ below HF_HOME. */
  cacheDir: string;
  /** HF_HUB_OFFLINE: nothing is asked of the network. */
  offline: boolean;
}

/** @throws TtsError USAGE when HF_ENDPOINT is no web address, or the token cannot be one */
export function loadHubConfig(environment: Record<string, string | undefined> = process.env): HubConfig {
  const endpoint = (environment.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) {
    throw new TtsError(
      "USAGE",
      `HF_ENDPOINT is "${endpoint}"`,
      "give an address such as https://huggingface.co",
    );
  }
  const caches =
    pathIn(environment, "XDG_CACHE_HOME") || join(environment.HOME || passwordFileHome(), ".cache");
  const home = pathIn(environment, "HF_HOME") || join(caches, "huggingface");
  return Object.freeze({
    endpoint,
    token: hubToken(
      environment.HF_TOKEN?.trim() ?? "",
      pathIn(environment, "HF_TOKEN_PATH") || join(home, "token"),
    ),
    cacheDir: pathIn(environment, "HF_HUB_CACHE") || join(home, "hub"),
    offline: /^(1|true|yes|on)$/i.test(environment.HF_HUB_OFFLINE ?? ""),
  });
}

/**
 * HF_TOKEN itself, or else what the file holds. A file that is missing or cannot be read means no token, as
 * in other hub programs.
 */
function hubToken(given: string, path: string): string {
  const [source, token] = given === "" ? [path, textOrEmpty(path).trim()] : ["HF_TOKEN", given];
  return assertToken(source, token);
}

/**
 * The token that requests to the server must bring: what the file holds, else TTS_TOKEN; null: none. It goes
 * into no message.
 * @throws TtsError USAGE where it cannot be one, INPUT_UNREADABLE for the file
 */
export async function loadServerToken(
  path?: string,
  environment: Record<string, string | undefined> = process.env,
): Promise<string | null> {
  if (path === undefined) return assertToken("TTS_TOKEN", environment.TTS_TOKEN?.trim() ?? "") || null;
  const token = assertToken(path, (await readTextFile(path, TOKEN_BYTES)).trim());
  if (token === "") throw new TtsError("USAGE", `${path} holds no token`, "write one into it");
  return token;
}

/** @throws TtsError USAGE */
function assertToken(source: string, token: string): string {
  if (/^[!-~]*$/.test(token)) return token;
  throw new TtsError(
    "USAGE",
    `${source} holds more than a token`,
    "a token is one word of plain letters, digits and signs",
  );
}

/** The first file that a service manager hands over. */
const FIRST_INHERITED = 3;

/**
 * LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES: sockets that systemd opened for this process, by their names.
 * A socket of another name is "http".
 * @throws TtsError USAGE where two have one name
 */
export function inheritedSockets(
  environment: Record<string, string | undefined> = process.env,
): ReadonlyMap<"http" | "wyoming", number> {
  const count = environment.LISTEN_PID === String(process.pid) ? Number(environment.LISTEN_FDS ?? 0) : 0;
  const names = (environment.LISTEN_FDNAMES ?? "").split(":");
  const sockets = new Map<"http" | "wyoming", number>();
  for (let i = 0; i < count; i++) {
    const name = names[i] === "wyoming" ? "wyoming" : "http";
    if (sockets.has(name))
      throw new TtsError(
        "USAGE",
        `LISTEN_FDNAMES is "${environment.LISTEN_FDNAMES}"`,
        "name the sockets http and wyoming, one of each at most, with FileDescriptorName=",
      );
    sockets.set(name, FIRST_INHERITED + i);
  }
  return sockets;
}
