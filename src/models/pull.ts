// Pulls a model: finds out which files it needs, takes them from the hub's cache or the network, and converts
// them. Knows no terminal.

import { existsSync, lstatSync, mkdirSync, realpathSync, rmSync, statfsSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  type Config,
  DEFAULT_WEIGHTS,
  HUB_LIMITS,
  type HubConfig,
  type HubLimits,
  LIMITS,
  type WeightType,
} from "../config.ts";
import { fileError, systemCode, TtsError } from "../errors.ts";
import type { Bundle } from "../formats/bundle.ts";
import {
  indexedFiles,
  missingFile,
  OPTIONAL_FILES,
  REQUIRED_FILES,
  WEIGHT_FOLDERS,
  weightsAmong,
} from "../formats/checkpoint-files.ts";
import { readJson } from "../formats/checkpoint-json.ts";
import { withLock } from "../io/lock.ts";
import type { Progress } from "../types.ts";
import { cachedBundle } from "./cache.ts";
import {
  findPulled,
  firstMissing,
  type HubFile,
  hubIdOf,
  type KnownModel,
  knownByHub,
  listPulled,
  modelFolder,
  nameOf,
  PULL_LOCK,
  type Pulled,
  unchangedFiles,
  writeRecord,
} from "./catalog.ts";
import { bytesKept, download, inspect, type WantedFile } from "./download.ts";
import { Hub, namesHint } from "./hub.ts";
import { HubCache } from "./hub-cache.ts";

export interface PullOptions {
  config: Config;
  hub: HubConfig;
  /** A known name or a hub id. */
  model: string;
  /** Branch, tag or commit; default: the known one, else main. */
  revision?: string;
  /** Whether to convert afterwards. */
  convert: boolean;
  weights?: WeightType;
  /** Weight type of the code predictor alone. */
  predictorWeights?: WeightType;
  onDownload?: (now: Downloaded) => void;
  /** Called as the conversion goes on. */
  onProgress?: (progress: Progress) => void;
  /** Gets sentences that explain a wait. */
  onNote?: (note: string) => void;
  limits?: Partial<HubLimits>;
  /** Bytes that are free on the disk of a folder. */
  freeBytes?: (folder: string) => number;
}

/** Bytes of a checkpoint. */
export interface Downloaded {
  /** Bytes that are here. */
  done: number;
  total: number;
  /** Bytes that came over the network in this run. */
  fetched: number;
}

export interface PullResult {
  pulled: Pulled;
  /** null where it was not asked for. */
  bundle: Bundle | null;
  /** Bytes that came over the network in this run. */
  fetched: number;
}

/** Bytes per weight of a bundle, rounded up. */
const WEIGHT_BYTES: Record<WeightType, number> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  q8_0: 1.1,
  q4_0: 0.6,
  q4_k_m: 0.6,
  iq4_nl: 0.6,
};
const CHECKPOINT_WEIGHT_BYTES = 2;
/**
 * Further bytes per weight of the checkpoint: the bf16 talker that is then quantised, the tables, and the f32
 * graphs of code predictor and encoders. The estimate is 1.0 to 1.6 times the most that the official shapes
 * take.
 */
const OTHER_BYTES = 1.3;
/** The most that the codec's graphs take with a copy of its weights, as a share of those weights. */
const CODEC_SHARE = 1.1;

/**
 * Brings a model into the cache and converts it. A pull that was ended goes on where it stopped; a second one
 * of the same model waits.
 * @throws TtsError MODEL_UNKNOWN, MODEL_NOT_HERE, MODEL_BUSY, HUB_*, OUTPUT_FAILED, CHECKPOINT_INVALID
 */
export async function pull(options: PullOptions): Promise<PullResult> {
  const { config, convert, model, onNote = () => {}, onProgress, predictorWeights, weights } = options;
  const id = hubIdOf(model);
  if (id === null) throw new TtsError("MODEL_UNKNOWN", `there is no model "${model}"`, namesHint(model));
  const folder = modelFolder(config.cacheDir, id);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const tellHolder = (pid: number) => onNote(`process ${pid} is pulling ${id}; waiting for it`);
    return await withLock(join(folder, PULL_LOCK), tellHolder, async () => {
      const { pulled, fetched } = await new Pull(id, folder, options).run();
      const bundle = convert
        ? await cachedBundle(pulled.directory, nameOf(pulled.hub), {
            config,
            weights,
            predictorWeights,
            onProgress,
          })
        : null;
      return { pulled, bundle, fetched };
    });
  } catch (error) {
    throw asDiskError(error, folder);
  }
}

interface Plan {
  commit: string;
  files: WantedFile[];
}

class Pull {
  private readonly hub: Hub;
  private readonly cache: HubCache;
  private readonly revision: string;
  /** Files that an earlier run checked and that have not changed since. */
  private unchanged = new Map<string, HubFile>();
  private fetched = 0;
  private done = 0;
  private total = 0;

  constructor(
    private readonly id: string,
    private readonly folder: string,
    private readonly options: PullOptions,
  ) {
    this.hub = new Hub(options.hub, id, { ...HUB_LIMITS, ...options.limits }, options.onNote ?? (() => {}));
    this.cache = new HubCache(options.hub.cacheDir, id);
    this.revision = options.revision ?? knownByHub(id)?.revision ?? "main";
  }

  async run(): Promise<{ pulled: Pulled; fetched: number }> {
    const { commit, files } = await this.plan();
    const directory = join(this.folder, commit);
    this.done = 0; // an index counts once, with the files that it names
    this.total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    this.checkDisk(directory, files);
    this.unchanged = unchangedFiles(directory);
    const records: HubFile[] = [];
    for (const file of files.toSorted((a, b) => a.bytes - b.bytes)) {
      const before = this.done;
      const { bytes, gitOid, path } = file;
      records.push({ path, bytes, gitOid, sha256: await this.obtain(directory, commit, file) });
      this.advance(before + bytes - this.done);
    }
    const pulled = { hub: this.id, revision: commit, name: this.revision, files: records, directory };
    writeRecord(pulled);
    return { pulled, fetched: this.fetched };
  }

  private async plan(): Promise<Plan> {
    const { offline } = this.options.hub;
    const isCommit = /^[0-9a-f]{4,40}$/.test(this.revision) && (offline || this.revision.length >= 7);
    const here = isCommit || offline ? this.commitHere(isCommit) : null;
    const pulled = here === null ? null : findPulled(this.options.config.cacheDir, this.id, here);
    if (pulled !== null && firstMissing(pulled) === null)
      return { commit: pulled.revision, files: pulled.files };
    if (!offline) return this.planFromHub();
    if (here === null || !this.cache.commits().includes(here)) throw this.notHere();
    return this.planFromCache(here);
  }

  /** Without a network: the commit that the wanted revision stands for on this machine, or null. */
  private commitHere(isCommit: boolean): string | null {
    const { cacheDir } = this.options.config;
    const ref = this.cache.commitOf(this.revision);
    if (ref !== null) return ref;
    if (isCommit) {
      const pulled = findPulled(cacheDir, this.id, this.revision);
      if (pulled !== null) return pulled.revision;
      const cached = this.cache.commits().filter((commit) => commit.startsWith(this.revision));
      return cached.length === 1 ? cached[0] : null;
    }
    const named = listPulled(cacheDir).find(({ hub, name }) => hub === this.id && name === this.revision);
    if (named !== undefined) return named.revision;
    if (this.options.revision !== undefined) return null;
    // nobody asked for this revision by its name
    return findPulled(cacheDir, this.id)?.revision ?? this.cache.unnamed();
  }

  private notHere(): TtsError {
    const { config, hub, revision } = this.options;
    const pulled = listPulled(config.cacheDir).filter((model) => model.hub === this.id);
    const commits = [...new Set([...pulled.map((model) => model.revision), ...this.cache.commits()])];
    const what = revision === undefined ? this.id : `revision "${revision}" of ${this.id}`;
    const where = `neither in ${config.cacheDir} nor in ${hub.cacheDir}`;
    const choice =
      commits.length === 0 ? "" : `, or set {revision} to one that is here: ${commits.join(", ")}`;
    return new TtsError(
      "MODEL_NOT_HERE",
      `${what} is ${where}, and HF_HUB_OFFLINE is set`,
      `unset it to download${choice}`,
    );
  }

  /** A plan from what other programs left in the hub's own cache. */
  private async planFromCache(commit: string): Promise<Plan> {
    const files = this.cache.files(commit);
    return { commit, files: this.checked(await this.needed(files, commit), commit) };
  }

  private async planFromHub(): Promise<Plan> {
    const commit = await this.hub.commit(this.revision);
    const files = await this.hub.files(commit);
    return { commit, files: this.checked(await this.needed(files, commit), commit) };
  }

  /** The files that a converter reads. Nothing else of a repository is fetched. */
  private async needed(files: HubFile[], commit: string): Promise<HubFile[]> {
    const has = (path: string) => files.some((file) => file.path === path);
    const missing = missingFile(has);
    if (missing !== null) throw this.lacks(missing);
    const weights: string[] = [];
    for (const folder of WEIGHT_FOLDERS) {
      const prefix = folder === "" ? "" : `${folder}/`;
      const inside = files
        .filter(({ path }) => path.startsWith(prefix))
        .map(({ path }) => path.slice(prefix.length));
      const found = weightsAmong(inside.filter((name) => !name.includes("/")));
      if (found === null) throw this.lacks(`${prefix}model.safetensors`);
      if ("files" in found) weights.push(...found.files.map((name) => prefix + name));
      else weights.push(...(await this.indexed(files, commit, prefix, found.index)));
    }
    const wanted = [...REQUIRED_FILES, ...OPTIONAL_FILES, ...weights];
    const lacking = weights.find((path) => !has(path));
    if (lacking !== undefined) throw this.lacks(lacking);
    return files.filter(({ path }) => wanted.includes(path));
  }

  /** Obtains an index and says which files it stands for, itself included. */
  private async indexed(files: HubFile[], commit: string, prefix: string, name: string): Promise<string[]> {
    const directory = join(this.folder, commit);
    const path = prefix + name;
    await this.obtain(directory, commit, files.find((file) => file.path === path)!);
    return [path, ...indexedFiles(readJson(join(directory, path))).map((file) => prefix + file)];
  }

  private lacks(path: string): TtsError {
    const hint = "it is no Qwen3-TTS checkpoint, or not whole";
    return new TtsError("HUB_MISMATCH", `${this.id} has no ${path}`, hint);
  }

  /** Needed files, compared with what is known of them. */
  private checked(needed: HubFile[], commit: string): WantedFile[] {
    const known = knownByHub(this.id);
    const facts = known !== null && commit.startsWith(known.revision) ? known.files : {};
    const missing = Object.keys(facts).find((path) => !needed.some((file) => file.path === path));
    if (missing !== undefined) throw this.lacks(missing);
    return needed.map((file): WantedFile => {
      const fact = facts[file.path];
      if (fact === undefined) return file;
      const prefix = fact.sha256Prefix ?? "";
      const isSame = file.bytes === fact.bytes && (file.sha256 ?? prefix).startsWith(prefix);
      if (isSame) return { ...file, sha256Prefix: fact.sha256Prefix };
      const found = `${file.bytes} bytes${file.sha256 === null ? "" : `, SHA-256 ${file.sha256.slice(0, 12)}`}`;
      throw new TtsError(
        "HUB_MISMATCH",
        `${file.path} of ${this.id} is not the known one: ${found} instead of ${fact.bytes} bytes, ${prefix}`,
        "check HF_ENDPOINT",
      );
    });
  }

  /** @returns the file's SHA-256 */
  private async obtain(directory: string, commit: string, file: WantedFile): Promise<string> {
    const path = join(directory, file.path);
    const known = this.unchanged.get(file.path);
    if (known !== undefined && isWanted(known, file)) return known.sha256;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const here = await inspect(path, file);
    if (here.fault === null) return here.sha256;
    if (existsSync(path)) this.options.onNote?.(`${path}: ${here.fault}; fetching it again`);
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) rmSync(path);
    const cached = this.cache.pathOf(commit, file.path);
    const found = await inspect(cached, file);
    if (found.fault === null) {
      symlinkSync(realpathSync(cached), path);
      return found.sha256;
    }
    if (this.options.hub.offline) {
      throw new TtsError(
        "MODEL_NOT_HERE",
        `${file.path} of ${this.id}: ${found.fault}, and HF_HUB_OFFLINE is set`,
        "unset it to download",
      );
    }
    this.advance(bytesKept(path, file));
    return download(this.hub, this.hub.fileUrl(commit, file.path), path, file, (bytes) => {
      this.fetched += Math.max(0, bytes);
      this.advance(bytes);
    });
  }

  private advance(bytes: number): void {
    this.done += bytes;
    this.options.onDownload?.({ done: this.done, total: this.total, fetched: this.fetched });
  }

  /** Checks for room for what is still to come, for the bundle, and some more. */
  private checkDisk(directory: string, files: WantedFile[]): void {
    const missing = (file: WantedFile) => {
      const path = join(directory, file.path);
      const cached = this.cache.pathOf(basename(directory), file.path);
      return existsSync(path) || existsSync(cached) ? 0 : file.bytes - bytesKept(path, file);
    };
    const toCome = files.reduce((sum, file) => sum + missing(file), 0);
    if (toCome === 0) return; // a conversion alone reports a full disk itself
    checkSpace({
      folder: this.folder,
      download: toCome,
      bundle: this.options.convert ? bundleBytes(files, this.options.weights ?? DEFAULT_WEIGHTS) : 0,
      freeBytes: this.options.freeBytes,
    });
  }
}

/** Whether a checked file is the one that is wanted now. */
function isWanted(
  checked: HubFile,
  { bytes, gitOid, sha256, sha256Prefix = "" }: WantedFile,
): checked is HubFile & { sha256: string } {
  const sum = checked.sha256 ?? "";
  return (
    sum !== "" &&
    checked.bytes === bytes &&
    sum.startsWith(sha256 ?? sha256Prefix) &&
    checked.gitOid === gitOid
  );
}

/** The most bytes that a conversion has on the disk, its own result included. */
function bundleBytes(files: readonly { path: string; bytes: number }[], weights: WeightType): number {
  const bytesOf = (pattern: RegExp) =>
    files.filter(({ path }) => pattern.test(path)).reduce((sum, { bytes }) => sum + bytes, 0);
  const [main, codec] = [
    bytesOf(/^(?!speech_tokenizer\/).*\.safetensors$/),
    bytesOf(/^speech_tokenizer\/.*\.safetensors$/),
  ];
  return Math.ceil(
    (main / CHECKPOINT_WEIGHT_BYTES) * (WEIGHT_BYTES[weights] + OTHER_BYTES) + CODEC_SHARE * codec,
  );
}

/** The most bytes that a pull of a model and its default conversion take on the disk. */
export function spaceNeeded({ bytes, files }: KnownModel): number {
  const known = Object.entries(files).map(([path, file]) => ({ path, ...file }));
  return bytes + bundleBytes(known, DEFAULT_WEIGHTS) + LIMITS.diskMarginBytes;
}

interface SpaceNeeded {
  folder: string;
  download: number;
  bundle: number;
  freeBytes?: (folder: string) => number;
}

/** @throws TtsError OUTPUT_FAILED naming the bytes that are needed and free */
export function checkSpace({ folder, download, bundle, freeBytes = diskFree }: SpaceNeeded): void {
  const needed = download + bundle + LIMITS.diskMarginBytes;
  const free = freeBytes(folder);
  if (free >= needed) return;
  const parts = `${megabytes(download)} to download${bundle > 0 ? `, ${megabytes(bundle)} to convert` : ""}`;
  throw new TtsError(
    "OUTPUT_FAILED",
    `${folder} has ${megabytes(free)} free, but ${megabytes(needed)} are needed (${parts})`,
    `free ${megabytes(needed - free)}, or set TTS_CACHE to a folder on a larger disk`,
  );
}

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;

function diskFree(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Turns a failure of the file system into an error that names the folder and what to do. */
function asDiskError(error: unknown, folder: string): unknown {
  const code = systemCode(error);
  if (error instanceof TtsError || code === "") return error;
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  const hint = isFull
    ? "free some space; the pull goes on where it stopped"
    : "set TTS_CACHE to a folder you may write to";
  return fileError("OUTPUT_FAILED", `to ${folder}`, error, { use: "write", hint });
}
