// What the tests share: golden files, and the golden checkpoints converted once into a folder that goes away
// with the process.

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { WAV_HEADER_BYTES } from "../src/audio/encode/wav.ts";
import { type Backend, isAccelerator, type OpenOptions } from "../src/backends/stage.ts";
import { type ConfigFlags, LIMITS, loadConfig, type WeightType, weightTypes } from "../src/config.ts";
import { runConversion } from "../src/convert/index.ts";
import { TtsError } from "../src/errors.ts";
import { type Bundle, openBundle } from "../src/formats/bundle.ts";
import { parseSafetensors, type Tensor, toFloat32, toInt32 } from "../src/formats/safetensors.ts";
import type { VoiceVectors } from "../src/stages/embed.ts";
import {
  buildPrompt,
  languageId,
  type Prompt,
  speakerId,
  wrapInstruct,
  wrapReference,
  wrapText,
} from "../src/text/prompt.ts";
import { openTokenizer, type Tokenizer } from "../src/text/tokenizer.ts";
import { CODES_PER_FRAME, type SamplerSettings } from "../src/types.ts";

export const ROOT = join(import.meta.dir, "..");
export const GOLDEN = join(ROOT, "test/golden");
export const STARTER = join(ROOT, "models/starter");

const S16_SCALE = 32_767;
/** How far rounding to 16 bits moves a sample. */
export const S16_ERROR = 0.5 / S16_SCALE;

export interface GoldenCase {
  name: string;
  kind: "custom_voice" | "voice_design" | "base";
  checkpoint: string;
  text: string;
  speaker?: string;
  language: string;
  instruct?: string;
  non_streaming_mode?: boolean;
  x_vector_only?: boolean;
  ref_text?: string | null;
  max_new_tokens: number;
  frames: number;
}

export const readJson = <T>(path: string): T => JSON.parse(readFileSync(join(GOLDEN, path), "utf8")) as T;
export const goldenCases = () => readJson<{ cases: GoldenCase[] }>("cases.json").cases;

/** Tensors of one golden file. */
export class GoldenFile {
  private readonly tensors: Map<string, Tensor>;
  constructor(path: string) {
    this.tensors = parseSafetensors(readFileSync(join(GOLDEN, path)), path);
  }
  floats(name: string): Float32Array {
    return toFloat32(this.tensors.get(name)!).slice();
  }
  ints(name: string): Int32Array {
    return toInt32(this.tensors.get(name)!);
  }
  has(name: string): boolean {
    return this.tensors.has(name);
  }
}

export const goldenFile = ({ checkpoint, name }: GoldenCase) =>
  new GoldenFile(`${checkpoint}/golden/${name}.safetensors`);

let scratch = "";
/** A folder for this process. */
export function scratchFolder(): string {
  if (scratch === "") scratch = mkdtempSync(join(process.env.TTS_TEST_SCRATCH ?? tmpdir(), "tts-test-"));
  return scratch;
}

export function removeScratch(): void {
  if (scratch !== "") rmSync(scratch, { recursive: true, force: true });
  scratch = "";
}

/**
 * A time-out of a test, made longer where more threads want to run than there are cores: all that a test
 * waits for then takes longer. Threads that spin for each other lose more than their share, hence the factor.
 */
export function patient(milliseconds: number): number {
  const [lastMinute, , , now] = readFileSync("/proc/loadavg", "utf8").split(" ");
  const threads = Math.max(Number(lastMinute), Number.parseInt(now, 10));
  const crowd = threads / availableParallelism();
  return Math.round(milliseconds * (crowd > 1 ? WORTH_OF_A_CROWD * crowd : 1));
}
const WORTH_OF_A_CROWD = 2;

/** The same for TTS_STAGE_TIMEOUT: whole seconds, at most as many as it may be. */
export const patientSeconds = (seconds: number) =>
  Math.ceil(Math.min(patient(1000 * seconds), LIMITS.startTimeoutMs) / 1000);

/** Longer than it takes to make any of these folders. */
const MADE_WITHIN_MS = 90_000;
const LOOK_MS = 20;

/**
 * A folder that all processes of a run share: the first that needs it makes it, others wait meanwhile.
 * @param make makes and fills the folder it is given, which lies beside the place
 */
export function madeOnce(name: string, make: (folder: string) => void): string {
  const place = join(process.env.TTS_TEST_SCRATCH ?? scratchFolder(), "shared", name);
  const turn = `${place}.turn`;
  mkdirSync(dirname(place), { recursive: true });
  for (let waitedMs = 0; !existsSync(place); waitedMs += LOOK_MS) {
    if (waitedMs > patient(MADE_WITHIN_MS))
      throw new Error(`${place} is still being made by another process`);
    if (!takes(turn)) {
      Bun.sleepSync(LOOK_MS);
      continue;
    }
    try {
      if (existsSync(place)) break;
      make(`${place}.part`);
      renameSync(`${place}.part`, place);
    } finally {
      rmSync(`${place}.part`, { recursive: true, force: true });
      rmdirSync(turn);
    }
  }
  return place;
}

function takes(turn: string): boolean {
  try {
    mkdirSync(turn);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

export const checkpointFolder = (checkpoint: string) =>
  checkpoint === "starter" ? STARTER : join(GOLDEN, checkpoint);

/** Copies a checkpoint, without its golden outputs. */
export function copyCheckpoint(checkpoint: string, folder: string): void {
  cpSync(checkpointFolder(checkpoint), folder, {
    recursive: true,
    filter: (path) => basename(path) !== "golden",
  });
}

/** A copy that a test may damage. */
export function copyOfCheckpoint(checkpoint: string, name: string): string {
  const folder = join(scratchFolder(), "checkpoints", name);
  copyCheckpoint(checkpoint, folder);
  return folder;
}

/** Gives the number that takes the place of one in a tensor. */
export type Edit = (tensor: string, value: number) => number;

/** Changes F32 numbers of the codec's decoder in a copy of a checkpoint. */
export function editDecoder(folder: string, edit: Edit): void {
  const path = join(folder, "speech_tokenizer/model.safetensors");
  const file = new Uint8Array(readFileSync(path));
  for (const { bytes, dtype, name } of parseSafetensors(file, path).values()) {
    if (dtype !== "F32" || !name.startsWith("decoder.")) continue;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 4)
      view.setFloat32(at, edit(name, view.getFloat32(at, true)), true);
  }
  writeFileSync(path, file);
}

export type Json = Record<string, unknown>;
/** Spoils a copy of a checkpoint. */
export type Damage = (folder: string) => void;

/** Changes a value inside a JSON file; undefined removes the key. */
export const setJson =
  (file: string, path: string, value: unknown): Damage =>
  (folder) => {
    const json = JSON.parse(readFileSync(join(folder, file), "utf8")) as Json;
    const keys = path.split(".");
    const parent = keys.slice(0, -1).reduce((object, key) => object[key] as Json, json);
    parent[keys.at(-1)!] = value;
    writeFileSync(join(folder, file), JSON.stringify(json));
  };

function convertTo(target: string, source: string, weights: WeightType, arranged = false): void {
  runConversion({
    source,
    target,
    part: target,
    weights: weightTypes(weights),
    arranged,
    libraries: { llama: "", onnxruntime: "" },
  });
}

const checkpoints = new Map<Bundle, string>();
function bundleIn(target: string, source: string): Bundle {
  const bundle = openBundle(target);
  checkpoints.set(bundle, source);
  return bundle;
}

/** The checkpoint folder that a bundle of the tests was made from. */
export const checkpointOf = (bundle: Bundle) => checkpoints.get(bundle)!;

/** Converts a checkpoint folder, on this thread, into the bundle `name` of the scratch folder. */
export function convertFolder(
  source: string,
  name: string,
  weights: WeightType = "f32",
  arranged = false,
): Bundle {
  const target = join(scratchFolder(), name);
  convertTo(target, source, weights, arranged);
  return bundleIn(target, source);
}

const bundles = new Map<string, Bundle>();
/** Converts a checkpoint folder once into the bundle `name`. Nobody may change either of them. */
export function bundleNamed(name: string, source: string, weights: WeightType = "f32"): Bundle {
  const bundle =
    bundles.get(name) ??
    bundleIn(
      madeOnce(name, (target) => convertTo(target, source, weights)),
      source,
    );
  bundles.set(name, bundle);
  return bundle;
}

/** A checkpoint of the golden files as a bundle, converted at first use. */
export const bundleOf = (checkpoint: string, weights: "f32" | "q8_0" = "f32") =>
  bundleNamed(`${checkpoint}-${weights}`, checkpointFolder(checkpoint), weights);

/** The error of a call that must fail. */
export function failureOf(call: () => unknown): TtsError {
  try {
    call();
  } catch (error) {
    if (error instanceof TtsError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** The error of a promise that must fail. */
export const rejectionOf = (work: Promise<unknown>) =>
  work.then(
    () => failureOf(() => {}),
    (error) =>
      failureOf(() => {
        throw error;
      }),
  );

/** The backend that has this name. */
export const named = <Stage>(backends: readonly Backend<Stage>[], name: string) =>
  backends.find((backend) => backend.name === name)!;

/** Why a backend cannot run here, or null. A backend that is no accelerator runs everywhere. */
export const reasonAgainst = <Stage>(backend: Backend<Stage>, options: OpenOptions) =>
  isAccelerator(backend) ? backend.probe(options) : null;

/** What a backend needs to open a bundle in a test. */
export function openOptions(bundle: Bundle, lanes = 1, flags: ConfigFlags = {}): OpenOptions {
  const config = loadConfig({ cacheDir: scratchFolder(), ...flags }, {});
  return {
    bundle,
    config,
    lanes,
    stop: new SharedArrayBuffer(2),
    loadTurn: new Int32Array(new SharedArrayBuffer(4)),
  };
}

const tokenizers = new Map<string, Tokenizer>();
/** The tokenizer of a bundle, opened at first use. */
export function tokenizerOf(bundle: Bundle): Tokenizer {
  const tokenizer = tokenizers.get(bundle.directory) ?? openTokenizer(bundle);
  tokenizers.set(bundle.directory, tokenizer);
  return tokenizer;
}

/** Draws always the most likely code, with the penalty of the golden runs. */
export const greedily = (repetitionPenalty: number): SamplerSettings => {
  return { greedy: true, temperature: 1, topK: 0, topP: 1, repetitionPenalty };
};

/** One run to reproduce: what goes in and what must come out. */
export interface GoldenRun {
  name: string;
  bundle: Bundle;
  golden: GoldenFile;
  /** Ids that the tokenizer gave, and those of the official one. */
  ids: { ours: ArrayLike<number>; official: ArrayLike<number> };
  prompt: Prompt;
  voice: VoiceVectors;
  sampling: SamplerSettings;
  /** Draws of code 0, including the one that ends the speech. */
  maxNewTokens: number;
}

export function goldenRun(goldenCase: GoldenCase): GoldenRun {
  const {
    checkpoint,
    instruct,
    kind,
    language,
    max_new_tokens: maxNewTokens,
    name,
    speaker = "",
  } = goldenCase;
  const bundle = bundleOf(checkpoint);
  const golden = goldenFile(goldenCase);
  const tokenizer = tokenizerOf(bundle);
  const spec = bundle.manifest.prompt;
  const ids = tokenizer.encode(wrapText(goldenCase.text.normalize("NFC")));
  const codes = golden.has("ref_codes") ? golden.ints("ref_codes") : null;
  const voice = { xVector: kind === "base" ? golden.floats("x_vector") : null, codes };
  const codes0 = codes?.filter((_, i) => i % CODES_PER_FRAME === 0);
  const prompt = buildPrompt(spec, {
    ids,
    instructIds:
      instruct !== undefined && spec.takesInstruct ? tokenizer.encode(wrapInstruct(instruct)) : null,
    language: languageId(spec, language, speaker),
    speaker: kind === "base" ? "xVector" : speakerId(spec, speaker),
    mode: (goldenCase.non_streaming_mode ?? true) ? "whole" : "stream",
    reference:
      codes0 === undefined ? null : { ids: tokenizer.encode(wrapReference(goldenCase.ref_text!)), codes0 },
  });
  const official = golden.ints("input_ids");
  return {
    name,
    bundle,
    golden,
    ids: { ours: ids, official },
    prompt,
    voice,
    sampling: greedily(1.05),
    maxNewTokens,
  };
}

export interface StarterCase {
  name: string;
  text: string;
  ipa: string;
  input_ids: number[];
  frames: number;
  stops_by_itself: boolean;
}

export const starterCases = () => readJson<{ cases: StarterCase[] }>("starter/cases.json").cases;

export function starterRun({ input_ids: official, ipa, frames, name }: StarterCase): GoldenRun {
  const bundle = bundleOf("starter");
  const spec = bundle.manifest.prompt;
  const ids = tokenizerOf(bundle).encode(wrapText(ipa));
  const [language, speaker] = [languageId(spec, "English", "starter"), speakerId(spec, "starter")];
  const prompt = buildPrompt(spec, {
    ids,
    instructIds: null,
    language,
    speaker,
    mode: "whole",
    reference: null,
  });
  const golden = new GoldenFile(`starter/${name}.safetensors`);
  const voice = { xVector: null, codes: null };
  return {
    name,
    bundle,
    golden,
    ids: { ours: ids, official },
    prompt,
    voice,
    sampling: greedily(1),
    maxNewTokens: frames + 50,
  };
}

/** Floats in memory that native code may read and write. */
/** Codes [frames, 16] of silence in the starter voice: the last frame of a golden run, repeated. */
export function silentCodes(frames: number): number[] {
  const codes = new GoldenFile("starter/starter-00.safetensors").ints("codes");
  return Array.from({ length: frames }, () => [...codes.slice(-CODES_PER_FRAME)]).flat();
}

export const sharedFloats = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));

/** The samples of a 16-bit wav file that the program wrote. */
export function wavSamples(path: string): Float32Array {
  const data = readFileSync(path).subarray(WAV_HEADER_BYTES);
  return Float32Array.from({ length: data.length / 2 }, (_, i) => data.readInt16LE(2 * i) / S16_SCALE);
}

/** The largest value seen of each figure, for one line at the end of a suite. */
export class Largest {
  private readonly values = new Map<string, number>();

  constructor(private readonly title: string) {}

  /** Remembers and returns `value`. */
  note(figure: string, value: number): number {
    this.values.set(figure, Math.max(value, this.values.get(figure) ?? 0));
    return value;
  }

  print(): void {
    const figures = [...this.values].map(([figure, value]) => `${figure} ${value.toExponential(1)}`);
    console.info(`${this.title}: largest errors: ${figures.join(", ")}`);
  }
}

/** Largest absolute difference; NaN counts as infinite. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new RangeError(`lengths ${a.length} and ${b.length}`);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}
