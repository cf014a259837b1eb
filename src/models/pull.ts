// Pulls a model: finds out which files it needs, takes them from the hub's cache or the network, and converts
// them. Knows no terminal.

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
} from "node:fs";
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
import { withLock } from "../io/lock.ts";
import type { Progress } from "../types.ts";
import {
  findPulled,
  firstMissing,
  type HubFile,
  hubIdOf,
  type KnownModel,
  knownByHub,
  modelFolder,
  type Pulled,
  unchangedFiles,
  writeRecord,
} from "./catalog.ts";
import { bytesKept, download, inspect, type WantedFile } from "./download.ts";
import { Hub, namesHint } from "./hub.ts";
import { bundleOfPulled } from "./resolve.ts";

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

/** Files that a converter reads; nothing else of a repository is fetched. */
const NEEDED =
  /^(speech_tokenizer\/)?(config\.json|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json)$|^(generation_config|vocab|tokenizer_config)\.json$|^merges\.txt$|^(lexicon|letters)\.tsv$/;
/** Without these it is no model of this kind. */
const REQUIRED = ["config.json", "vocab.json", "merges.txt", "speech_tokenizer/config.json"];
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
/** Weights that the codec's graphs compute beside those they share, as a share of the codec's weights. */
const CODEC_SHARE = 0.65;

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
    return await withLock(join(folder, ".lock"), tellHolder, async () => {
      const { pulled, fetched } = await new Pull(id, folder, options).run();
      const bundle = convert
        ? await bundleOfPulled(pulled, { config, weights, predictorWeights, onProgress })
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
    this.revision = options.revision ?? knownByHub(id)?.revision ?? "main";
  }

  async run(): Promise<{ pulled: Pulled; fetched: number }> {
    const { commit, files } =
      this.planFromRecord() ?? (this.options.hub.offline ? this.planFromCache() : await this.planFromHub());
    const directory = join(this.folder, commit);
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
    const pulled = { hub: this.id, revision: commit, files: records, directory };
    writeRecord(pulled);
    return { pulled, fetched: this.fetched };
  }

  /** A commit that is here already, known by its digits, needs no hub. */
  private planFromRecord(): Plan | null {
    const isCommit = /^[0-9a-f]{7,40}$/.test(this.revision);
    if (!isCommit && !this.options.hub.offline) return null;
    const pulled = findPulled(this.options.config.cacheDir, this.id, isCommit ? this.revision : "");
    return pulled === null || firstMissing(pulled) !== null
      ? null
      : { commit: pulled.revision, files: pulled.files };
  }

  /** A plan without a network, from what other programs left in the hub's own cache. */
  private planFromCache(): Plan {
    const snapshots = join(this.cacheFolder, "snapshots");
    const commit = this.cachedCommit(snapshots);
    if (commit === null) {
      const where = `neither in ${this.options.config.cacheDir} nor in ${this.options.hub.cacheDir}`;
      throw new TtsError(
        "MODEL_NOT_HERE",
        `${this.id} is ${where}, and HF_HUB_OFFLINE is set`,
        "unset it to download",
      );
    }
    const directory = join(snapshots, commit);
    const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
    const files = names.filter((name) => NEEDED.test(name)).map((name) => cachedFile(directory, name));
    return { commit, files: this.checked(files, commit) };
  }

  private cachedCommit(snapshots: string): string | null {
    const ref = join(this.cacheFolder, "refs", this.revision);
    const wanted = existsSync(ref) ? readFileSync(ref, "utf8").trim() : this.revision;
    if (!existsSync(snapshots) || wanted === "") return null;
    return (
      readdirSync(snapshots).find((name) => /^[0-9a-f]{40}$/.test(name) && name.startsWith(wanted)) ?? null
    );
  }

  private async planFromHub(): Promise<Plan> {
    const commit = await this.hub.commit(this.revision);
    const files = await this.hub.files(commit);
    return { commit, files: this.checked(files, commit) };
  }

  /** Only the needed files, compared with what is known of them. */
  private checked(files: HubFile[], commit: string): WantedFile[] {
    const single = (path: string) =>
      files.some((file) => file.path === path.replace(/model[^/]*$/, "model.safetensors"));
    const isShard = (path: string) => /model(-|\.safetensors\.index)[^/]*$/.test(path);
    const needed = files.filter(({ path }) => NEEDED.test(path) && !(isShard(path) && single(path)));
    const known = knownByHub(this.id);
    const facts = known !== null && commit.startsWith(known.revision) ? known.files : {};
    for (const path of new Set([...REQUIRED, ...Object.keys(facts)])) {
      if (!needed.some((file) => file.path === path))
        throw new TtsError(
          "HUB_MISMATCH",
          `${this.id} has no ${path}`,
          "it is no Qwen3-TTS checkpoint, or not whole",
        );
    }
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
    const cached = join(this.cacheFolder, "snapshots", commit, file.path);
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

  private get cacheFolder(): string {
    return join(this.options.hub.cacheDir, `models--${this.id.replace("/", "--")}`);
  }

  /** Checks for room for what is still to come, for the bundle, and some more. */
  private checkDisk(directory: string, files: WantedFile[]): void {
    const missing = (file: WantedFile) => {
      const path = join(directory, file.path);
      const cached = join(this.cacheFolder, "snapshots", basename(directory), file.path);
      return existsSync(path) || existsSync(cached) ? 0 : file.bytes - bytesKept(path, file);
    };
    const toCome = files.reduce((sum, file) => sum + missing(file), 0);
    if (toCome === 0) return; // a conversion alone reports a full disk itself
    checkSpace({
      folder: this.folder,
      download: toCome,
      bundle: this.options.convert
        ? bundleBytes(files, this.options.weights ?? DEFAULT_WEIGHTS.predictor)
        : 0,
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

/** A file of the hub's cache: blobs are named after their sum. */
function cachedFile(directory: string, path: string): HubFile {
  const file = join(directory, path);
  const sum = existsSync(file) ? basename(realpathSync(file)) : "";
  const bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  return {
    path,
    bytes,
    sha256: /^[0-9a-f]{64}$/.test(sum) ? sum : null,
    gitOid: /^[0-9a-f]{40}$/.test(sum) ? sum : null,
  };
}

/** The most bytes that a conversion has on the disk, its own result included. */
function bundleBytes(files: readonly { path: string; bytes: number }[], weights: WeightType): number {
  const bytesOf = (pattern: RegExp) =>
    files.filter(({ path }) => pattern.test(path)).reduce((sum, { bytes }) => sum + bytes, 0);
  const [main, codec] = [
    bytesOf(/^model.*\.safetensors$/),
    bytesOf(/^speech_tokenizer\/model.*\.safetensors$/),
  ];
  return Math.ceil(
    (main / CHECKPOINT_WEIGHT_BYTES) * (WEIGHT_BYTES[weights] + OTHER_BYTES) + CODEC_SHARE * codec,
  );
}

/** The most bytes that a pull of a model and its default conversion take on the disk. */
export function spaceNeeded({ bytes, files }: KnownModel): number {
  const known = Object.entries(files).map(([path, file]) => ({ path, ...file }));
  return bytes + bundleBytes(known, DEFAULT_WEIGHTS.predictor) + LIMITS.diskMarginBytes;
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
