// From an official checkpoint directory to a bundle. The work runs in a worker; the bundle is written beside its place and renamed into it.

import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { loadLlama, quantize } from "../../ffi/llama.ts";
import { loadOnnxRuntime } from "../../ffi/onnxruntime.ts";
import { BUNDLE_FILES, BUNDLE_FORMAT, BUNDLE_VERSION, isBundle, type Manifest, type PromptSpec } from "../bundle.ts";
import { type Config, LIMITS, SAMPLING_DEFAULTS, type WeightType } from "../config.ts";
import { type ErrorOnTheWire, fromWire, TtsError, toWire } from "../errors.ts";
import { partPath, removeAbandonedParts } from "../parts.ts";
import type { Progress } from "../store.ts";
import type { SamplerSettings } from "../types.ts";
import { startWorker } from "../worker.ts";
import { invalid, type JsonFile } from "./_json.ts";
import { type Checkpoint, openCheckpoint, READING_FILES, sourceFiles } from "./checkpoint.ts";
import { readVocabulary, writePredictorGguf, writeTalkerGguf, writeTokenizerGguf } from "./gguf.ts";
import { codecEncoderGraph } from "./onnx/codec-encoder.ts";
import type { Graph } from "./onnx/graph.ts";
import { predictorGraph } from "./onnx/predictor.ts";
import { speakerEncoderGraph } from "./onnx/speaker-encoder.ts";
import { vocoderGraph } from "./onnx/vocoder.ts";
import { writeTables } from "./tables.ts";

export { sourceFiles } from "./checkpoint.ts";

export interface ConvertJob {
  source: string;
  /** Named in errors; the bundle is written at `part` and moved there by the caller. */
  target: string;
  part: string;
  weights: WeightType;
  libraries: Config["libraries"];
}

type Report = { progress: Progress } | { error: ErrorOnTheWire } | { finished: true };

/**
 * Converts in a worker, so that progress, Ctrl-C and timers go on. An existing bundle at `target` is replaced when the new one is whole.
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, LIBRARY_*
 */
export async function convert(request: Omit<ConvertJob, "part">, onProgress: (progress: Progress) => void): Promise<void> {
  const part = partPath(request.target);
  const job: ConvertJob = { ...request, part };
  const cleanUp = () => rmSync(part, { recursive: true, force: true });
  removeAbandonedParts(job.target);
  process.once("exit", cleanUp);
  try {
    await runInWorker(job, onProgress);
    moveIntoPlace(part, job.target);
  } finally {
    process.off("exit", cleanUp);
    cleanUp();
  }
}

async function runInWorker(job: ConvertJob, onProgress: (progress: Progress) => void): Promise<void> {
  const worker = startWorker("convert", job);
  try {
    await new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("exit", () => reject(new TtsError("STAGE_DIED", "the conversion ended without a result")));
      worker.on("message", (report: Report) => {
        if ("progress" in report) onProgress(report.progress);
        else if ("error" in report) reject(fromWire(report.error));
        else resolve();
      });
    });
  } finally {
    await worker.terminate();
  }
}

/** The old bundle steps aside for an instant; a program that has it open keeps its files. */
function moveIntoPlace(part: string, target: string): void {
  const old = `${part}.old`;
  const replaces = existsSync(target);
  try {
    if (replaces) renameSync(target, old);
    renameSync(part, target);
  } catch (cause) {
    if (existsSync(old) && !existsSync(target)) renameSync(old, target);
    const finishedByAnother = isBundle(target) && !replaces;
    if (!finishedByAnother)
      throw new TtsError("OUTPUT_FAILED", `cannot move the new bundle to ${target}: ${(cause as Error).message}`, "", { cause });
  }
  rmSync(old, { recursive: true, force: true });
}

/** The worker's side: leaves the bundle at its part path. Failures go to the main thread; there itself they are thrown. */
export function runConversion(job: ConvertJob): void {
  const send = (report: Report) => parentPort?.postMessage(report);
  try {
    mkdirSync(job.part, { recursive: true, mode: 0o755 });
    new Conversion(job, job.part, (progress) => send({ progress })).run();
    send({ finished: true });
  } catch (error) {
    const failure = asOutputError(error, job.target);
    if (parentPort === null) throw failure;
    send({ error: toWire(failure) });
  }
}

/** Failures of the file system while writing name the target and what to do. */
function asOutputError(error: unknown, target: string): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const hints: Record<string, string> = {
    ENOSPC: "free disk space",
    EACCES: "choose a folder you may write to",
    EROFS: "choose a writable disk",
    EDQUOT: "free disk space",
  };
  if (!(code in hints) && code !== "ENOTDIR" && code !== "EEXIST") return error;
  return new TtsError("OUTPUT_FAILED", `cannot write the bundle ${target}: ${(error as Error).message}`, hints[code] ?? "", {
    cause: error,
  });
}

class Conversion {
  private done = 0;
  private total = 1;
  /** After each step: the pages of a checkpoint would else pile up to its whole size. */
  private releaseWeights = () => {};

  constructor(
    private readonly job: ConvertJob,
    private readonly folder: string,
    private readonly onProgress: (progress: Progress) => void,
  ) {}

  run(): void {
    const { libraries, source, weights } = this.job;
    const versions = { llama: loadLlama(libraries.llama).version, onnxruntime: loadOnnxRuntime(libraries.onnxruntime).version };
    const checkpoint = openCheckpoint(source);
    this.releaseWeights = () => {
      checkpoint.weights.release();
      checkpoint.codecWeights.release();
    };
    const { talker, predictor } = checkpoint;
    const reading = READING_FILES.every((name) => existsSync(join(source, name)));
    this.total = 11 * (talker.layers + predictor.layers) + 60;
    this.writeGguf("talker", BUNDLE_FILES.talker, (path, type, tick) => writeTalkerGguf(path, checkpoint, type, tick));
    this.writeGguf("code predictor", BUNDLE_FILES.predictorGguf, (path, type, tick) => writePredictorGguf(path, checkpoint, type, tick));
    this.saveGraph("code predictor", BUNDLE_FILES.predictorOnnx, checkpoint.weights.files, (shared) => predictorGraph(checkpoint, shared));
    this.saveGraph("vocoder", BUNDLE_FILES.vocoder, checkpoint.codecWeights.files, (shared) => vocoderGraph(checkpoint, shared));
    if (checkpoint.encoders !== null) this.saveEncoders(checkpoint, checkpoint.encoders);
    const threads = availableParallelism();
    writeTables(join(this.folder, BUNDLE_FILES.tables), checkpoint, weights !== "f32", threads, () => this.tick("tables"));
    const vocabulary = readVocabulary(checkpoint);
    writeTokenizerGguf(join(this.folder, BUNDLE_FILES.tokenizer), source, vocabulary);
    if (reading) for (const name of READING_FILES) copyFileSync(join(source, name), join(this.folder, name));
    const manifest: Manifest = {
      format: BUNDLE_FORMAT,
      version: BUNDLE_VERSION,
      name: checkpoint.name,
      modelSize: checkpoint.modelSize,
      weights,
      shape: {
        hidden: talker.hidden,
        predictorHidden: predictor.hidden,
        codecVocabulary: checkpoint.codecVocabulary,
        codes: checkpoint.codes,
        textVocabulary: checkpoint.textVocabulary,
        layers: talker.layers,
        predictorLayers: predictor.layers,
      },
      prompt: promptSpec(checkpoint, vocabulary.controlTokens, reading),
      sampling: samplingDefaults(checkpoint.generation),
      reading: reading ? { maxPhones: LIMITS.promptPhones } : null,
      files: Object.fromEntries(
        readdirSync(this.folder)
          .toSorted()
          .map((name) => [name, statSync(join(this.folder, name)).size]),
      ),
      source: this.hashSource(),
      libraries: versions,
    };
    writeFileSync(join(this.folder, BUNDLE_FILES.manifest), `${JSON.stringify(manifest, null, 1)}\n`);
    checkpoint.close();
  }

  private tick(step: string): void {
    this.releaseWeights();
    this.done = Math.min(this.done + 1, this.total - 1);
    this.onProgress({ step, done: this.done, total: this.total });
  }

  /** f32 is written as it is; other types go through a bf16 file and llama.cpp's quantiser. */
  private writeGguf(step: string, name: string, write: (path: string, type: "f32" | "bf16", tick: () => void) => void): void {
    const { weights } = this.job;
    const path = join(this.folder, name);
    const tick = () => this.tick(step);
    if (weights === "f32") {
      write(path, "f32", tick);
      return;
    }
    const intermediate = `${path}.tmp`;
    write(intermediate, "bf16", tick);
    this.tick(`${step} to ${weights}`);
    quantize(intermediate, path, weights, availableParallelism());
    rmSync(intermediate);
  }

  /** F32 weights of the checkpoint are shared by a hard link where the file system can; else copied into the model's own data file. */
  private saveGraph(step: string, name: string, files: readonly string[], build: (shared: Record<string, string>) => Graph): void {
    const links = Object.fromEntries(files.map((file, i) => [file, `${name.replace(/\.onnx$/, "")}${i === 0 ? "" : `-${i}`}.safetensors`]));
    const linked = Object.fromEntries(Object.entries(links).filter(([file, link]) => tryLink(file, join(this.folder, link))));
    const graph = build(linked);
    for (const [file, link] of Object.entries(linked)) if (!graph.usedShared.has(file)) rmSync(join(this.folder, link));
    graph.save(join(this.folder, name));
    this.tick(step);
  }

  /** What cloning needs, of Base models only: others may lack these weights. */
  private saveEncoders({ codecWeights, weights }: Checkpoint, { codec, speaker }: NonNullable<Checkpoint["encoders"]>): void {
    this.saveGraph("speaker encoder", BUNDLE_FILES.speakerEncoder, weights.files, (shared) =>
      speakerEncoderGraph(speaker, weights, shared),
    );
    this.saveGraph("codec encoder", BUNDLE_FILES.codecEncoder, codecWeights.files, (shared) =>
      codecEncoderGraph(codec, codecWeights, shared),
    );
  }

  private hashSource(): Manifest["source"] {
    return hashFiles(this.job.source, () => this.tick("source hashes"));
  }
}

/** SHA-256 and size of every file that decides what a bundle holds. */
export function hashFiles(source: string, onFile: () => void = () => {}): Manifest["source"] {
  const entries = sourceFiles(source).map((name) => {
    const path = join(source, name);
    const bytes = statSync(path).size;
    const sha256 = hashFile(path);
    onFile();
    return [name, { bytes, sha256 }];
  });
  return Object.fromEntries(entries);
}

const HASH_BLOCK_BYTES = 1 << 22;

function hashFile(path: string): string {
  const hash = createHash("sha256");
  const block = Buffer.alloc(HASH_BLOCK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let count = readSync(file, block); count > 0; count = readSync(file, block)) hash.update(block.subarray(0, count));
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}

/** Another file system, or one without hard links, is no error: the bytes are copied then. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(realpathSync(from), to); // a hub's cache holds links to its files
    return true;
  } catch {
    return false;
  }
}

/** Official rule: the small CustomVoice models ignore instructions, Base has no place for them. A voice that reads IPA knows no others. */
function takesInstruct({ modelType, modelSize }: Checkpoint, reading: boolean): boolean {
  return modelType === "voice_design" || (modelType === "custom_voice" && modelSize !== "0b6" && !reading);
}

/** [speaker, dialect]; a speaker without one has false there. */
function speakerDialects(talker: JsonFile): [string, string][] {
  const entries = talker.has("spk_is_dialect") ? talker.object("spk_is_dialect").entries() : [];
  return entries.flatMap(([name, dialect]) => (typeof dialect === "string" ? [[name.toLowerCase(), dialect.toLowerCase()]] : []));
}

function promptSpec(checkpoint: Checkpoint, controlTokens: string[], reading: boolean): PromptSpec {
  const { codecVocabulary, config, textVocabulary } = checkpoint;
  const talker = config.object("talker_config");
  const codecId = (key: string) => talker.id(key, codecVocabulary);
  const codecIds = (key: string): Record<string, number> => {
    if (!talker.has(key)) return {};
    const table = talker.object(key);
    return Object.fromEntries(table.entries().map(([name]) => [name.toLowerCase(), table.id(name, codecVocabulary)]));
  };
  const textId = (key: string) => config.id(key, textVocabulary);
  const languages = codecIds("codec_language_id");
  const dialects = speakerDialects(talker);
  const unknown = dialects.find(([, dialect]) => !Object.hasOwn(languages, dialect));
  if (unknown !== undefined)
    throw invalid(config.file, `spk_is_dialect gives ${unknown[0]} "${unknown[1]}", which is no codec_language_id`);
  return {
    modelType: checkpoint.modelType,
    takesInstruct: takesInstruct(checkpoint, reading),
    text: { ttsPad: textId("tts_pad_token_id"), ttsBos: textId("tts_bos_token_id"), ttsEos: textId("tts_eos_token_id") },
    codec: {
      bos: codecId("codec_bos_id"),
      eos: codecId("codec_eos_token_id"),
      pad: codecId("codec_pad_id"),
      think: codecId("codec_think_id"),
      nothink: codecId("codec_nothink_id"),
      thinkBos: codecId("codec_think_bos_id"),
      thinkEos: codecId("codec_think_eos_id"),
    },
    languages,
    speakers: codecIds("spk_id"),
    dialects: Object.fromEntries(dialects),
    controlTokens,
  };
}

function samplingDefaults(generation: JsonFile): Manifest["sampling"] {
  const settings = (prefix: string, greedyKey: string, repetitionPenalty: number): SamplerSettings => ({
    greedy: !generation.boolean(greedyKey, true),
    temperature: generation.number(`${prefix}temperature`, SAMPLING_DEFAULTS.temperature),
    topK: generation.count(`${prefix}top_k`, SAMPLING_DEFAULTS.topK),
    topP: generation.number(`${prefix}top_p`, SAMPLING_DEFAULTS.topP),
    repetitionPenalty,
  });
  return {
    talker: settings("", "do_sample", generation.number("repetition_penalty", SAMPLING_DEFAULTS.repetitionPenalty)),
    predictor: settings("subtalker_", "subtalker_dosample", 1),
    maxNewTokens: generation.count("max_new_tokens", SAMPLING_DEFAULTS.maxNewTokens),
  };
}
