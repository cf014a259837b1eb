// The models that have names, and the checkpoints that were pulled into the cache. Reads files; knows no
// network.

import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import known from "../../models/manifest.json";
import { fileError } from "../errors.ts";
import { replaceFile } from "../io/atomic.ts";
import { jsonOrNull } from "../io/read.ts";
import type { ModelType } from "../types.ts";

/** What is known of a file beforehand. */
export interface KnownFile {
  bytes: number;
  /** The known leading hex digits of its SHA-256. */
  sha256Prefix?: string;
}

/** What a model can do. */
export interface Abilities {
  modelType: ModelType;
  speakers: number;
  languages: number;
  dialects: number;
  takesInstruct: boolean;
}

/** One entry of models/manifest.json. */
export interface KnownModel extends Abilities {
  /** `organisation/name` on the hub. */
  hub: string;
  /** The leading hex digits of the commit that the sizes and sums belong to. */
  revision: string;
  modelSize: string;
  /** Sum over `files`. */
  bytes: number;
  files: Record<string, KnownFile>;
}

/** Short name -> model. */
export const KNOWN_MODELS = known as unknown as Record<string, KnownModel>;

/** Half of a hub id: no dots or dashes at its ends, so that it is a safe name for a folder, too. */
const ID_PART = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?";
const HUB_ID = new RegExp(`^${ID_PART}/${ID_PART}$`);

/** The hub id that a known name stands for, or the id itself; null for anything else. */
export function hubIdOf(model: string): string | null {
  if (Object.hasOwn(KNOWN_MODELS, model)) return KNOWN_MODELS[model].hub;
  return HUB_ID.test(model) ? model : null;
}

/** The short name of a hub id, or the id where it has none. */
export const nameOf = (hub: string) =>
  Object.keys(KNOWN_MODELS).find((name) => KNOWN_MODELS[name].hub === hub) ?? hub;

export const knownByHub = (hub: string): KnownModel | null => KNOWN_MODELS[nameOf(hub)] ?? null;

/** In words, for people. */
export function abilitiesInWords({
  modelType,
  speakers,
  languages,
  dialects,
  takesInstruct,
}: Abilities): string {
  const kinds: Record<ModelType, string> = {
    base: "clones a voice",
    custom_voice: counted(speakers, "speaker"),
    voice_design: "makes a voice from a description",
  };
  const instructions = takesInstruct && modelType !== "voice_design" ? ", follows instructions" : "";
  return `${kinds[modelType]}${instructions}, ${counted(languages, "language")}${dialects > 0 ? `, ${counted(dialects, "dialect")}` : ""}`;
}

const counted = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Written when every file of a checkpoint is here and checked: without it a checkpoint is not whole. */
const RECORD_FILE = ".pulled.json";

/** A file of a checkpoint, as a hub describes it. */
export interface HubFile {
  path: string;
  bytes: number;
  /** SHA-256 of the content; null where the hub keeps the file in git itself. */
  sha256: string | null;
  /** Git's SHA-1 of the content; null for large files. */
  gitOid: string | null;
}

/** A whole checkpoint in the cache. */
export interface Pulled {
  hub: string;
  /** The full commit. */
  revision: string;
  /** The branch, tag or commit that was asked for; older records lack it. */
  name?: string;
  files: HubFile[];
  directory: string;
}

/** Holds one folder per model, with one per revision in it. */
const checkpointsFolder = (cacheDir: string) => join(cacheDir, "checkpoints");
export const modelFolder = (cacheDir: string, hub: string) =>
  join(checkpointsFolder(cacheDir), hub.replace("/", "--"));

/** Holds the checkpoints of random weights that tts bench makes, one folder a size. */
export const syntheticFolder = (cacheDir: string) => join(cacheDir, "synthetic");

/** In a model's folder while it is pulled. */
export const PULL_LOCK = ".lock";

/** The whole checkpoints in the cache, the one pulled last first. */
export function listPulled(cacheDir: string): Pulled[] {
  const found = subfolders(checkpointsFolder(cacheDir)).flatMap(subfolders).flatMap(readRecord);
  return found.toSorted((a, b) => b.time - a.time).map(({ pulled }) => pulled);
}

/**
 * The checkpoint of a model that was pulled last; with `revision` (or its leading digits) the last of that
 * revision.
 */
export function findPulled(cacheDir: string, hub: string, revision = ""): Pulled | null {
  return (
    listPulled(cacheDir).find((pulled) => pulled.hub === hub && pulled.revision.startsWith(revision)) ?? null
  );
}

/** The first file of a whole checkpoint that is gone or has another size, or null. */
export function firstMissing({ directory, files }: Pulled): string | null {
  const isThere = ({ path, bytes }: HubFile) =>
    statSync(join(directory, path), { throwIfNoEntry: false })?.size === bytes;
  return files.find((file) => !isThere(file))?.path ?? null;
}

/** Marks a checkpoint as whole, and as the one pulled last. Throws the file system's error. */
export function writeRecord({ directory, ...record }: Pulled): void {
  replaceFile(join(directory, RECORD_FILE), `${JSON.stringify(record, null, 1)}\n`);
}

/**
 * Files of a whole checkpoint that nobody has written to since they were checked, by their paths. Links to
 * them may change.
 */
export function unchangedFiles(directory: string): Map<string, HubFile> {
  const unchanged = readRecord(directory).flatMap(({ pulled, time }) =>
    pulled.files.filter(({ bytes, path }) => {
      const stat = statSync(join(directory, path), { throwIfNoEntry: false });
      return stat?.size === bytes && stat.mtimeMs < time;
    }),
  );
  return new Map(unchanged.map((file) => [file.path, file]));
}

function readRecord(directory: string): { pulled: Pulled; time: number }[] {
  const path = join(directory, RECORD_FILE);
  const { hub, revision, name, files } = (jsonOrNull(path) ?? {}) as Partial<Pulled>;
  // not whole
  if (revision !== basename(directory) || typeof hub !== "string" || !Array.isArray(files)) return [];
  return [
    {
      pulled: { hub, revision, name, files, directory },
      time: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0,
    },
  ];
}

/**
 * The folders in a folder of the cache, links to folders included; none where it does not exist.
 * @throws TtsError INPUT_UNREADABLE
 */
export function subfolders(folder: string): string[] {
  if (!existsSync(folder)) return [];
  try {
    return readdirSync(folder)
      .map((name) => join(folder, name))
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory());
  } catch (cause) {
    const hint = "let this user read it, or set TTS_CACHE to a folder of your own";
    throw fileError("INPUT_UNREADABLE", folder, cause, { use: "read", hint });
  }
}
