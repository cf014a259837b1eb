// Finds the bundle of a model that the user names: as a bundle, a checkpoint directory, a known name or a hub
// id. Checkpoints are converted at first use into the cache, and again when their files change. Never asks
// the network: pull.ts does.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { embeddedFolder } from "../../ffi/load/embedded.ts";
import { unpack } from "../../ffi/load/unpack.ts";
import {
  type Config,
  DEFAULT_MODEL,
  DEFAULT_WEIGHTS,
  F32_BELOW_BYTES,
  unpackFolder,
  type WeightType,
  weightTypes,
} from "../config.ts";
import { meaningOf, TtsError } from "../errors.ts";
import { BUNDLE_VERSION, type Bundle, isBundle, openBundle, weightsInWords } from "../formats/bundle.ts";
import { hashFiles, sourceFiles } from "../formats/checkpoint-files.ts";
import { jsonOrNull, textOrNull } from "../io/read.ts";
import { nearest } from "../nearest.ts";
import type { Progress } from "../types.ts";
import { findPulled, firstMissing, hubIdOf, KNOWN_MODELS, nameOf, type Pulled } from "./catalog.ts";

export interface ModelOptions {
  config: Config;
  /** A name, a hub id, a bundle or a checkpoint directory; default: the starter voice. */
  model?: string;
  /** Weight type when a checkpoint has to be converted. */
  weights?: WeightType;
  /** Weight type of the code predictor alone; default: the talker's. */
  predictorWeights?: WeightType;
  onProgress?: (progress: Progress) => void;
}

/** Voices that come with this program, and so are there without being fetched. */
export const SHIPPED: readonly string[] = [DEFAULT_MODEL];
/** Lies in a cached bundle and tells what its source looked like when it was made. */
const STAMP_FILE = ".source.json";

/** Bundles of checkpoints lie here, wherever the checkpoints are. */
const bundlesFolder = (cacheDir: string) => join(cacheDir, "bundles");
/** All folders that hold bundles: those of shipped voices may lie apart. */
export const bundlesFolders = (cacheDir: string) =>
  [...new Set([cacheDir, unpackFolder() || cacheDir])].map(bundlesFolder);

/**
 * The checkpoint directory of the one {@link SHIPPED} voice: from the sources, or unpacked from a binary.
 * @throws TtsError OUTPUT_FAILED where it cannot be unpacked
 */
export function shippedCheckpoint(): string {
  const folder = embeddedFolder("starter", unpackFolder());
  if (folder === "") return fileURLToPath(new URL("../../models/starter", import.meta.url));
  unpack(folder);
  return folder;
}

/**
 * The bundle of a model. Where several revisions were pulled, the last one counts.
 * @throws TtsError MODEL_UNKNOWN, MODEL_NOT_HERE, CHECKPOINT_INVALID, BUNDLE_INVALID, OUTPUT_FAILED
 */
export async function resolveModel(options: ModelOptions): Promise<Bundle> {
  const model = options.model ?? DEFAULT_MODEL;
  const isDirectory = existsSync(model) && statSync(model).isDirectory();
  if (isDirectory && isBundle(model)) return openBundle(model);
  if (isDirectory && existsSync(join(model, "config.json")))
    return cachedBundle(model, basename(realpathSync(model)), options);
  if (SHIPPED.includes(model)) {
    // a binary keeps the bundle beside what it unpacked: no other folder need be writable
    const { config } = options;
    return cachedBundle(shippedCheckpoint(), model, {
      ...options,
      config: { ...config, cacheDir: config.libDir || config.cacheDir },
    });
  }
  if (isDirectory) {
    throw new TtsError(
      "MODEL_UNKNOWN",
      `${model} holds neither a checkpoint (config.json) nor a bundle (bundle.json)`,
      "give the folder that holds one",
    );
  }
  const hub = hubIdOf(model);
  if (hub !== null) return bundleOfPulled(pulledModel(model, hub, options.config), options);
  const known = [...SHIPPED, ...Object.keys(KNOWN_MODELS)];
  const guess = nearest(model, known);
  const hint =
    guess === null ? `known models: ${known.join(", ")}; or give a directory` : `did you mean ${guess}?`;
  throw new TtsError("MODEL_UNKNOWN", `there is no model "${model}"`, hint);
}

/** @throws TtsError MODEL_NOT_HERE when it was never pulled, not to the end, or has lost a file since */
function pulledModel(model: string, hub: string, { cacheDir }: Config): Pulled {
  const pulled = findPulled(cacheDir, hub);
  if (pulled === null) {
    const what = nameOf(hub) !== hub ? `${model} is not` : `${model} is neither a folder nor a model`;
    throw new TtsError("MODEL_NOT_HERE", `${what} on this machine yet`, `fetch it with: tts pull ${model}`);
  }
  const missing = firstMissing(pulled);
  if (missing === null) return pulled;
  throw new TtsError(
    "MODEL_NOT_HERE",
    `${join(pulled.directory, missing)} is gone or has another size`,
    `fetch it with: tts pull ${model}`,
  );
}

/** The bundle of a pulled checkpoint in the cache. */
export function bundleOfPulled({ directory, hub }: Pulled, options: ModelOptions): Promise<Bundle> {
  return cachedBundle(directory, nameOf(hub), options);
}

/** Conversions of this process, by target: a second request for the same one waits for it. */
const converting = new Map<string, Promise<void>>();

/** @param name what the model is called: the folder of a pulled checkpoint is named after its revision */
async function cachedBundle(checkpoint: string, name: string, options: ModelOptions): Promise<Bundle> {
  const { config, onProgress = () => {} } = options;
  const source = realpathSync(checkpoint);
  const stamp = stampOf(source, sourceFiles(source));
  const usual = stamp.bytes < F32_BELOW_BYTES ? weightTypes("f32") : DEFAULT_WEIGHTS;
  const chosen = options.weights === undefined ? usual : weightTypes(options.weights);
  const weights = weightTypes(chosen.talker, options.predictorWeights ?? chosen.predictor);
  const folder = bundlesFolder(config.cacheDir);
  const place = createHash("sha256").update(source).digest("hex").slice(0, 8);
  const target = join(folder, `${name.replace("/", "--")}-${place}-${weightsInWords(weights)}`);
  const usable = isBundle(target) ? tryOpen(target) : null;
  if (usable !== null && (isUnchanged(target, stamp) || sameContent(usable, hashFiles(source)))) {
    writeStamp(target, stamp);
    return usable;
  }
  makeCacheFolder(folder);
  unpack(source, true); // a shipped voice that was damaged since would be damaged in every bundle
  const { convert } = await import("../convert/index.ts"); // only now: every start passes here
  const running = converting.get(target) ?? convert({ source, target, name, weights, config }, onProgress);
  converting.set(target, running);
  await running.finally(() => converting.delete(target));
  writeStamp(target, stamp);
  return openBundle(target);
}

/** The checkpoint directory a cached bundle was made from, or null where it is not known. */
export function sourceOf(bundle: string): string | null {
  return (jsonOrNull(join(bundle, STAMP_FILE)) as Partial<Stamp> | null)?.source ?? null;
}

interface Stamp {
  bundleVersion: number;
  /** The checkpoint directory. */
  source: string;
  bytes: number;
  /** name -> [bytes, modified] */
  files: Record<string, [number, number]>;
}

function stampOf(source: string, names: string[]): Stamp {
  const files = names.map((name): [string, [number, number]] => {
    const stat = statSync(join(source, name), { throwIfNoEntry: false });
    if (stat === undefined)
      throw new TtsError(
        "CHECKPOINT_INVALID",
        `${join(source, name)} is missing`,
        "the checkpoint is incomplete",
      );
    return [name, [stat.size, stat.mtimeMs]];
  });
  return {
    bundleVersion: BUNDLE_VERSION,
    source,
    bytes: files.reduce((sum, [, [size]]) => sum + size, 0),
    files: Object.fromEntries(files),
  };
}

const isUnchanged = (target: string, stamp: Stamp) =>
  textOrNull(join(target, STAMP_FILE)) === JSON.stringify(stamp);

/** New dates alone (a fresh clone, a copy) are no reason to convert again. */
function sameContent({ manifest }: Bundle, hashes: Bundle["manifest"]["source"]): boolean {
  const names = new Set([...Object.keys(hashes), ...Object.keys(manifest.source)]);
  return [...names].every((name) => manifest.source[name]?.sha256 === hashes[name]?.sha256);
}

/** A stamp is only a shortcut: a cache that cannot be written is still good to read. */
function writeStamp(target: string, stamp: Stamp): void {
  if (isUnchanged(target, stamp)) return;
  try {
    writeFileSync(join(target, STAMP_FILE), JSON.stringify(stamp));
  } catch {
    return;
  }
}

/** A damaged or outdated bundle in the cache is simply made again. */
function tryOpen(target: string): Bundle | null {
  try {
    return openBundle(target);
  } catch {
    return null;
  }
}

function makeCacheFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new TtsError(
      "OUTPUT_FAILED",
      `cannot make the cache folder ${folder}: ${meaningOf(cause, "write").what}`,
      "set TTS_CACHE to a writable folder",
      { cause },
    );
  }
}
