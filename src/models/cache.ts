// The bundles that this program makes by itself, in the cache: of a checkpoint at its first use, again when
// its files change, and again when the bundle is damaged. What a user converted by hand is never touched.

import { accessSync, constants, existsSync, mkdirSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { partOf } from "../../ffi/load/embedded.ts";
import { unpack } from "../../ffi/load/unpack.ts";
import { type Config, unpackFolder, type WeightType, weightsFor } from "../config.ts";
import type { KeptForms } from "../convert/index.ts";
import { asTtsError, meaningOf, TtsError } from "../errors.ts";
import {
  assertFormable,
  BUNDLE_FILES,
  type Bundle,
  damageOf,
  FORMED_STAGES,
  FORMS,
  type Form,
  type FormedStage,
  formsOf,
  isBundle,
  type Manifest,
  openBundle,
  weightsInWords,
} from "../formats/bundle.ts";
import { hashFiles, sourceBytes, sourceFiles } from "../formats/checkpoint-files.ts";
import { removeAbandoned, replaceFile } from "../io/atomic.ts";
import { hashFile, newHash } from "../io/hash.ts";
import { jsonOrNull } from "../io/read.ts";
import type { Progress } from "../types.ts";
import { subfolders } from "./catalog.ts";

export interface ModelOptions {
  config: Config;
  /** A name, a hub id, a bundle or a checkpoint directory; default: the starter voice. */
  model?: string;
  /** Weight type when a checkpoint has to be converted. */
  weights?: WeightType;
  /** Weight type of the code predictor alone; default: as the talker's. */
  predictorWeights?: WeightType;
  onProgress?: (progress: Progress) => void;
  /** Whether a bundle in the cache is compared with its sums, whatever the dates of its files. */
  everyByte?: boolean;
  /** What is known to be wrong with the bundle in the cache: it is made again. */
  damage?: string;
  /**
   * What to do with a checkpoint that has no usable bundle, and why it has none ("": there is none yet).
   * Default: converts it, into the cache.
   */
  make?: (checkpoint: string, name: string, because: string) => Bundle;
}

/** Files up to this size are compared with their sums at every start: that takes 2 ms. */
const SMALL_BYTES = 2 ** 20;
/** Beside the files of a cached bundle: what its source and itself looked like when it was made. */
const STAMP_FILE = ".source.json";

/** Below the cache: bundles of checkpoints, wherever those are. */
const bundlesFolder = (cacheDir: string) => join(cacheDir, "bundles");
/** All folders that hold bundles: those of shipped voices may lie apart. */
export const bundlesFolders = (cacheDir: string) =>
  [...new Set([cacheDir, unpackFolder() || cacheDir])].map(bundlesFolder);

/** Whether this program made it by itself, and so may make it again. */
export const isCached = ({ directory }: Bundle, cacheDir: string) =>
  bundlesFolders(cacheDir).includes(dirname(directory));

/** Part of the names of all bundles of a checkpoint. @param source its resolved path */
export const placeOf = (source: string) => newHash().update(source).digest("hex").slice(0, 8);

/** Conversions of this process, by target: a second request for the same one waits for it. */
const converting = new Map<string, Promise<void>>();

/**
 * The bundle of a checkpoint, made where there is none that can be used.
 * @param name what the model is called: the folder of a pulled checkpoint is named after its revision
 * @throws TtsError CHECKPOINT_INVALID, OUTPUT_FAILED, LIBRARY_*
 */
export async function cachedBundle(checkpoint: string, name: string, options: ModelOptions): Promise<Bundle> {
  const { config, onProgress = () => {} } = options;
  const source = realpathSync(checkpoint);
  const weights = weightsFor(sourceBytes(source), options);
  for (const { form, stage } of namedForms(config)) assertFormable(stage, form, weights);
  const folder = bundlesFolder(config.cacheDir);
  const target = join(folder, `${name.replace("/", "--")}-${placeOf(source)}-${weightsInWords(weights)}`);
  const found = look(target, source, options);
  if ("manifest" in found) return found;
  const same = isWritable(folder) ? null : sameElsewhere(folder, source, weights, config);
  if (same !== null) return same;
  if (options.make !== undefined) return options.make(source, name, found.because);
  const adding = inWords(found.lacking);
  try {
    if (adding !== "" && !isWritable(folder)) throw cannotAdd(target, found.lacking);
    makeCacheFolder(folder);
    removeAbandoned(folder);
    unpack(source, true); // a shipped voice that was damaged since would be damaged in every bundle
    const { convert } = await import("../convert/index.ts"); // only now: every start passes here
    const tell = (progress: Progress) => onProgress({ ...progress, because: found.because, adding });
    const request = { source, target, name, weights, arranged: true, config, keep: wanted(target, config) };
    const running = converting.get(target) ?? convert(request, tell);
    converting.set(target, running);
    await running.finally(() => converting.delete(target));
  } catch (error) {
    throw withVariable(error, partOf(source) === null ? "TTS_CACHE" : "TTS_LIB_DIR");
  }
  const bundle = openBundle(target);
  writeStamp(bundle, source);
  return bundle;
}

/** What is wrong with a bundle in the cache, or null. Reads every byte. */
export function faultOf(directory: string): string | null {
  try {
    return changeOf(openBundle(directory), true);
  } catch (error) {
    return asTtsError(error).message;
  }
}

/** Has the next use of a bundle compare every byte of it with its sums, and make it again. */
export function distrust(directory: string): void {
  const { made: _, ...stamp } = readStamp(directory) ?? {};
  replaceFile(join(directory, STAMP_FILE), JSON.stringify(stamp));
}

/** A form that is named and not there: a bundle keeps the faster ones alone. */
interface NamedForm {
  stage: FormedStage;
  form: Form;
}

/** Why a bundle is made. */
interface Reason {
  /** "" where there is none yet, or only forms are missing. */
  because: string;
  lacking: readonly NamedForm[];
}

/** The bundle at `target`, or why it must be made. */
function look(
  target: string,
  source: string,
  { config, damage, everyByte = false }: ModelOptions,
): Bundle | Reason {
  const again = (because: string): Reason => ({ because, lacking: [] });
  if (!isBundle(target)) return again("");
  if (damage !== undefined) return again(damage);
  let bundle: Bundle;
  try {
    bundle = openBundle(target);
  } catch (error) {
    return again(asTtsError(error).message);
  }
  const stamp = readStamp(target);
  const isOfThis = stamp?.source === source && isSame(stamp.files, datesOf(source, sourceFiles(source)));
  if (!isOfThis && !isMadeOf(bundle, hashFiles(source))) return again(`${source} has changed`);
  const changed = changeOf(bundle, everyByte);
  if (changed !== null) return again(changed);
  const lacking = lackOf(bundle, config);
  if (lacking.length > 0) return { because: "", lacking };
  writeStamp(bundle, source);
  return bundle;
}

/** The forms that the settings name. */
const namedForms = (config: Config): NamedForm[] =>
  FORMED_STAGES.flatMap((stage) =>
    (Object.keys(FORMS[stage]) as Form[])
      .filter((form) => form === config[stage])
      .map((form) => ({ stage, form })),
  );

const lackOf = ({ manifest }: Bundle, config: Config) =>
  namedForms(config).filter(({ form, stage }) => !formsOf(manifest, stage).includes(form));

const inWords = (forms: readonly NamedForm[]) =>
  forms.map(({ form, stage }) => `the ${form} form of the ${stage}`).join(" and ");

function cannotAdd(bundle: string, lacking: readonly NamedForm[]): TtsError {
  const what = `${bundle} lacks ${inWords(lacking)}, and the cache cannot be written`;
  const auto = lacking.map(({ stage }) => `{${stage}} auto`).join(" and ");
  return new TtsError("OUTPUT_FAILED", what, `choose ${auto}`);
}

/** The forms that a bundle has already, and those that are named now. */
function wanted(target: string, config: Config): KeptForms {
  const manifest = (jsonOrNull(join(target, BUNDLE_FILES.manifest)) ?? {}) as Partial<Manifest>;
  const held = (stage: FormedStage) => (manifest.files ? formsOf({ files: manifest.files }, stage) : []);
  return Object.fromEntries(
    FORMED_STAGES.map((stage) => {
      const named = namedForms(config).filter((one) => one.stage === stage);
      return [stage, [...held(stage), ...named.map(({ form }) => form)]];
    }),
  );
}

/** What is wrong with a bundle that was written to since it was made, or null. */
function changeOf(bundle: Bundle, everyByte: boolean): string | null {
  const stamp = readStamp(bundle.directory);
  const path = manifestOf(bundle);
  if (stamp?.manifest !== undefined && stamp.manifest !== hashFile(path))
    return `${path} has other bytes than it was made with`;
  const isUntouched = isSame(stamp?.made, datesOf(bundle.directory, Object.keys(bundle.manifest.files)));
  return damageOf(bundle, isUntouched && !everyByte ? SMALL_BYTES : undefined);
}

/**
 * Of a cache that cannot be written, as several homes or machines share it: a bundle of the same checkpoint
 * that lay elsewhere when it was made.
 */
function sameElsewhere(
  folder: string,
  source: string,
  weights: Manifest["weights"],
  config: Config,
): Bundle | null {
  let hashes: Manifest["source"] | undefined;
  for (const directory of subfolders(folder)) {
    try {
      const bundle = openBundle(directory);
      if (!isSame(bundle.manifest.weights, weights) || lackOf(bundle, config).length > 0) continue;
      hashes ??= hashFiles(source);
      if (isMadeOf(bundle, hashes) && changeOf(bundle, false) === null) return bundle;
    } catch {
      // not one that can be used
    }
  }
  return null;
}

/** The checkpoint directory a cached bundle was made from, or null where nothing tells. */
export const sourceOf = (bundle: string): string | null => readStamp(bundle)?.source ?? null;

/** name -> [bytes, modified] */
type Dates = Record<string, [number, number]>;

interface Stamp {
  /** The checkpoint directory, and its files. */
  source: string;
  files: Dates;
  /** SHA-256 of bundle.json, and the files that it names. */
  manifest: string;
  made: Dates;
}

const readStamp = (bundle: string) => jsonOrNull(join(bundle, STAMP_FILE)) as Partial<Stamp> | null;

function datesOf(directory: string, names: readonly string[]): Dates {
  return Object.fromEntries(
    names.map((name) => {
      const { size, mtimeMs } = statSync(join(directory, name));
      return [name, [size, mtimeMs]];
    }),
  );
}

const manifestOf = ({ directory }: Bundle) => join(directory, BUNDLE_FILES.manifest);
const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** New dates alone (a fresh clone, a copy) are no reason to convert again. */
function isMadeOf({ manifest }: Bundle, hashes: Manifest["source"]): boolean {
  const names = new Set([...Object.keys(hashes), ...Object.keys(manifest.source)]);
  return [...names].every((name) => manifest.source[name]?.sha256 === hashes[name]?.sha256);
}

/** A stamp is only a shortcut: a cache that cannot be written is still good to read. */
function writeStamp(bundle: Bundle, source: string): void {
  const stamp: Stamp = {
    source,
    files: datesOf(source, sourceFiles(source)),
    manifest: hashFile(manifestOf(bundle)),
    made: datesOf(bundle.directory, Object.keys(bundle.manifest.files)),
  };
  if (isSame(readStamp(bundle.directory), stamp)) return;
  try {
    writeFileSync(join(bundle.directory, STAMP_FILE), JSON.stringify(stamp));
  } catch {
    return;
  }
}

function isWritable(folder: string): boolean {
  let existing = folder;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function makeCacheFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const what = `cannot make the cache folder ${folder}: ${meaningOf(cause, "write").what}`;
    throw new TtsError("OUTPUT_FAILED", what, "", { cause });
  }
}

/** Where the user did not choose the place, the hint says what moves it. */
function withVariable(error: unknown, variable: string): unknown {
  if (!(error instanceof TtsError) || error.code !== "OUTPUT_FAILED") return error;
  const { code, markedHint, message } = error;
  const move = `set ${variable} to a folder with room that you may write to`;
  const hint = markedHint.includes(variable) ? markedHint : [markedHint, move].filter(Boolean).join(", or ");
  return new TtsError(code, message, hint, { cause: error });
}
