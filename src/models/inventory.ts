// The models of this machine: their names, what they can do, and what they take on the disk. Also chooses a
// model when none is named: for a voice the one it was taken with, for a recording the only Base model here,
// for a speaker the one that has it.

import { existsSync, lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { asTtsError, TtsError } from "../errors.ts";
import {
  isBundle,
  type Manifest,
  openBundle,
  type PromptSpec,
  weightsHash,
  weightsInWords,
} from "../formats/bundle.ts";
import { type CheckpointAbilities, readAbilities } from "../formats/checkpoint-abilities.ts";
import type { Voice } from "../formats/voice.ts";
import { languageNames } from "../text/prompt.ts";
import { bundlesFolders, placeOf, sourceOf } from "./cache.ts";
import {
  type Abilities,
  findPulled,
  firstMissing,
  hubIdOf,
  KNOWN_MODELS,
  listPulled,
  modelFolder,
  nameOf,
  subfolders,
  syntheticFolder,
} from "./catalog.ts";
import { SHIPPED, shippedCheckpoint } from "./resolve.ts";

/** A model on this machine that has a name. */
interface ModelHere extends CheckpointAbilities {
  name: string;
}

/**
 * `in part`: a pull was not finished, or files are gone. `random weights`: made by tts bench, to measure
 * with. `elsewhere`: its checkpoint is outside of the cache; `bundle only`: and gone.
 */
type Here = "built in" | "yes" | "in part" | "no" | "random weights" | "elsewhere" | "bundle only";

interface BundleRow {
  weights: string;
  directory: string;
  /** On disk. What it shares with its checkpoint counts there. */
  bytes: number;
  /** Why it cannot be used and is made again, or "". */
  fault: string;
}

/** A model as tts models lists it; readers of --json rely on its keys. */
export interface ModelRow {
  name: string;
  /** Hub id, or null. */
  hub: string | null;
  here: Here;
  /** On disk, all revisions and unfinished files together. */
  checkpointBytes: number;
  /** Bytes to fetch; null where they are not known. */
  downloadBytes: number | null;
  bundles: BundleRow[];
  /** null where the checkpoint does not say. */
  abilities: Abilities | null;
}

/**
 * The model that a voice speaks with. Another one of its width would work but sound different: only the user
 * may choose it.
 * @throws TtsError MODEL_NOT_HERE
 */
export function modelOfVoice({ name, provenance, xVector }: Voice, cacheDir: string): string {
  const { model, modelSha256 } = provenance;
  const bases = basesHere(cacheDir);
  const hub = hubIdOf(model);
  if (hub !== null && bases.some((base) => base.name === nameOf(hub))) return model;
  const directory = directoryOf(modelSha256, cacheDir);
  if (directory !== null) return directory;
  const fitting = bases.filter(({ hidden }) => hidden === xVector.length).map((base) => base.name);
  const choice =
    fitting.length === 0 ? "" : `, or choose one of the same width: {model} ${fitting.join(" or ")}`;
  const where = hub === null ? "which has no name here" : "which is not on this machine";
  const hint = hub === null ? "give its folder with {model}" : `fetch it with: tts pull ${model}`;
  throw new TtsError("MODEL_NOT_HERE", `the voice ${name} was taken with ${model}, ${where}`, hint + choice);
}

/** A checkpoint that was given by its directory and converted, by the sum of its weights. */
function directoryOf(modelSha256: string, cacheDir: string): string | null {
  for (const directory of bundlesFolders(cacheDir).flatMap(subfolders)) {
    const { manifest } = tryOpen(directory);
    if (manifest === null || modelSha256 === "" || weightsHash(manifest) !== modelSha256) continue;
    const source = sourceOf(directory);
    if (source !== null && existsSync(source)) return source;
  }
  return null;
}

/**
 * The model that a new voice is taken with.
 * @throws TtsError MODEL_NOT_HERE, or USAGE where there are several: a voice fits one width only
 */
export function onlyBase(cacheDir: string): string {
  const names = basesHere(cacheDir).map((base) => base.name);
  if (names.length === 1) return names[0];
  if (names.length > 1)
    throw new TtsError(
      "USAGE",
      `there are ${names.length} Base models here`,
      `choose one with {model}: ${names.join(", ")}`,
    );
  const known = Object.keys(KNOWN_MODELS).filter((name) => KNOWN_MODELS[name].modelType === "base");
  const commands = known.map((name) => `tts pull ${name}`).join(" or ");
  throw new TtsError(
    "MODEL_NOT_HERE",
    "there is no Base model on this machine yet",
    `fetch one with: ${commands}`,
  );
}

/**
 * The model pulled last that has the speaker; the shipped voice comes before all others. undefined where no
 * model has it, or no speaker is asked for: the default model then says what it has.
 */
export function modelOfSpeaker(speaker: string | undefined, cacheDir: string): string | undefined {
  const wanted = speaker?.toLowerCase() ?? "none";
  if (wanted === "none") return undefined;
  return modelsHere(cacheDir).find(({ speakers }) => Object.hasOwn(speakers, wanted))?.name;
}

/** The shipped voices, then the pulled models, the one pulled last first. */
export function modelsHere(cacheDir: string): ModelHere[] {
  return [...SHIPPED.flatMap((name) => describe(name, shippedCheckpoint())), ...pulledModels(cacheDir)];
}

/** The shipped voices, then all that was pulled, even if files are gone; each revision of a model counts. */
export const modelNames = (cacheDir: string): string[] => [
  ...SHIPPED,
  ...listPulled(cacheDir).map(({ hub }) => nameOf(hub)),
];

const basesHere = (cacheDir: string) =>
  pulledModels(cacheDir).filter(({ modelType }) => modelType === "base");

/** The revision of each model that was pulled last, if it is whole. */
function pulledModels(cacheDir: string): ModelHere[] {
  const all = listPulled(cacheDir);
  const latest = all.filter(({ hub }, i) => all.findIndex((pulled) => pulled.hub === hub) === i);
  return latest
    .filter((pulled) => firstMissing(pulled) === null)
    .flatMap(({ directory, hub }) => describe(nameOf(hub), directory));
}

function describe(name: string, directory: string): ModelHere[] {
  try {
    return [{ name, ...readAbilities(directory) }];
  } catch {
    return []; // no checkpoint of this kind
  }
}

/** Everything that has a name or lies in the cache. */
export function inventory(cacheDir: string): ModelRow[] {
  const counted = new Set<string>();
  const rows: (ModelRow & { sources: string[] })[] = [];
  for (const name of SHIPPED) {
    const directory = shippedCheckpoint();
    const row = {
      name,
      hub: null,
      here: "built in" as const,
      downloadBytes: null,
      bundles: [],
      abilities: abilitiesOf(directory),
    };
    rows.push({ ...row, checkpointBytes: diskBytes(directory, counted), sources: [realpathSync(directory)] });
  }
  const hubs = new Set([...Object.values(KNOWN_MODELS), ...listPulled(cacheDir)].map(({ hub }) => hub));
  for (const hub of hubs) {
    const name = nameOf(hub);
    const pulled = findPulled(cacheDir, hub);
    const folder = modelFolder(cacheDir, hub);
    const checkpointBytes = diskBytes(folder, counted);
    const here =
      pulled !== null && firstMissing(pulled) === null ? "yes" : checkpointBytes > 0 ? "in part" : "no";
    const abilities = KNOWN_MODELS[name] ?? (pulled === null ? null : abilitiesOf(pulled.directory));
    const sources = subfolders(folder).map((revision) => realpathSync(revision));
    rows.push({
      name,
      hub,
      here,
      checkpointBytes,
      downloadBytes: KNOWN_MODELS[name]?.bytes ?? null,
      bundles: [],
      abilities,
      sources,
    });
  }
  for (const directory of subfolders(syntheticFolder(cacheDir)).filter(isVisible))
    rows.push({
      ...{ hub: null, here: "random weights", downloadBytes: null, bundles: [] },
      name: directory,
      checkpointBytes: diskBytes(directory, counted),
      abilities: abilitiesOf(directory),
      sources: [realpathSync(directory)],
    });
  for (const directory of bundlesFolders(cacheDir).flatMap(subfolders)) addBundle(rows, directory, counted);
  return rows.map(({ sources: _, ...row }) => ({
    ...row,
    abilities: row.abilities === null ? null : onlyAbilities(row.abilities),
  }));
}

/** Not one that is being made. */
const isVisible = (directory: string) => !basename(directory).startsWith(".");

/** Adds a bundle to the row of its checkpoint, or as a row of its own. Leaves out one that is half made. */
function addBundle(
  rows: (ModelRow & { sources: string[] })[],
  directory: string,
  counted: Set<string>,
): void {
  if (!isVisible(directory) || !isBundle(directory)) return;
  const source = sourceOf(directory);
  const row = rows.find(
    ({ sources }) =>
      sources.includes(source ?? "") ||
      sources.some((path) => basename(directory).includes(`-${placeOf(path)}-`)),
  );
  const { fault, manifest } = tryOpen(directory);
  const bundle = {
    weights: manifest === null ? "?" : weightsInWords(manifest.weights),
    directory,
    bytes: diskBytes(directory, counted, row === undefined ? NOTHING : CLONES),
    fault,
  };
  if (row !== undefined) row.bundles.push(bundle);
  else
    rows.push({
      ...{ hub: null, checkpointBytes: 0, downloadBytes: null },
      here: source !== null && existsSync(source) ? "elsewhere" : "bundle only",
      name: source ?? directory,
      bundles: [bundle],
      abilities: manifest === null ? null : countAbilities(manifest.prompt),
      sources: source === null ? [] : [source],
    });
}

function tryOpen(directory: string): { fault: string; manifest: Manifest | null } {
  try {
    return { fault: "", manifest: openBundle(directory).manifest };
  } catch (error) {
    return { fault: asTtsError(error).message, manifest: null };
  }
}

const onlyAbilities = ({ modelType, speakers, languages, dialects, takesInstruct }: Abilities): Abilities => {
  return { modelType, speakers, languages, dialects, takesInstruct };
};

type Countable = Pick<PromptSpec, "modelType" | "takesInstruct" | "languages" | "speakers">;

function countAbilities({ languages, modelType, speakers, takesInstruct }: Countable): Abilities {
  const offered = languageNames({ languages }).length;
  const dialects = Object.keys(languages).length - offered;
  return { modelType, takesInstruct, speakers: Object.keys(speakers).length, languages: offered, dialects };
}

function abilitiesOf(directory: string): Abilities | null {
  try {
    return countAbilities(readAbilities(directory));
  } catch {
    return null;
  }
}

/** Clones of a checkpoint's weight files in a bundle: they take no room of their own. */
const CLONES = /^(?!tables).*\.safetensors$/;
const NOTHING = /^$/;

/**
 * Bytes on the disk of the files below `path`, except those named like `leftOut`. Files in `counted` are left
 * out; the others are added to it.
 */
function diskBytes(path: string, counted: Set<string>, leftOut = NOTHING): number {
  if (leftOut.test(basename(path))) return 0;
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (stat.isDirectory()) {
    if (lstatSync(path).isSymbolicLink()) return 0;
    return readdirSync(path).reduce((sum, name) => sum + diskBytes(join(path, name), counted, leftOut), 0);
  }
  const inode = `${stat.dev}:${stat.ino}`;
  if (counted.has(inode)) return 0;
  counted.add(inode);
  return stat.blocks * 512;
}
