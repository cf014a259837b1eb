// Takes a model out of the cache: a pulled checkpoint and the bundles made from it, or the bundles of a
// checkpoint that lies elsewhere. Touches nothing outside of the cache.

import { existsSync, lstatSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { meaningOf, TtsError } from "../errors.ts";
import { isBundle } from "../formats/bundle.ts";
import { holderOf } from "../io/lock.ts";
import { processesUsing } from "../machine/process.ts";
import { nearest } from "../nearest.ts";
import { bundlesFolders, placeOf, sourceOf } from "./cache.ts";
import {
  hubIdOf,
  KNOWN_MODELS,
  listPulled,
  modelFolder,
  nameOf,
  PULL_LOCK,
  subfolders,
  syntheticFolder,
} from "./catalog.ts";
import { SHIPPED, shippedCheckpoint } from "./resolve.ts";

export interface Removed {
  path: string;
  /** That became free: a file with another name or place stays. */
  bytes: number;
}

/**
 * @param model a name, a hub id, or the directory of a checkpoint, of which only the bundles go, unless tts
 * bench has made it
 * @throws TtsError MODEL_UNKNOWN, MODEL_NOT_HERE, MODEL_BUSY, OUTPUT_FAILED
 */
export function removeModel(model: string, cacheDir: string): Removed[] {
  const { folder, source } = placesOf(model, cacheDir);
  const paths = [...(folder === null ? [] : [folder]), ...bundlesOf(source, cacheDir)].filter(existsSync);
  if (paths.length === 0)
    throw new TtsError("MODEL_NOT_HERE", `nothing of ${model} is in the cache`, "tts models shows what is");
  for (const path of paths) assertInside(path, cacheDir);
  const users = processesUsing(paths.map((path) => realpathSync(path)));
  const pulling = folder === null ? null : holderOf(join(folder, PULL_LOCK));
  const [pid] = pulling === null ? users : [pulling];
  if (pid !== undefined)
    throw new TtsError("MODEL_BUSY", `process ${pid} uses ${model}`, "end it, then try again");
  return paths.map((path) => ({ path, bytes: remove(path) }));
}

/** The folder of a pulled model, and below which directory the sources of its bundles lie. */
function placesOf(model: string, cacheDir: string): { folder: string | null; source: string } {
  const isDirectory = existsSync(model) && statSync(model).isDirectory();
  if (isDirectory && isBundle(model))
    throw new TtsError(
      "MODEL_UNKNOWN",
      `${model} is a bundle`,
      `only the cache is cleaned here: rm -r ${model}`,
    );
  if (isDirectory && existsSync(join(model, "config.json"))) {
    const isSynthetic = dirname(resolve(model)) === resolve(syntheticFolder(cacheDir));
    return { folder: isSynthetic ? model : null, source: realpathSync(model) };
  }
  if (SHIPPED.includes(model)) return { folder: null, source: realpathSync(shippedCheckpoint()) };
  const hub = hubIdOf(model);
  if (hub !== null) {
    const folder = modelFolder(cacheDir, hub);
    return { folder, source: existsSync(folder) ? realpathSync(folder) : folder };
  }
  const known = [
    ...SHIPPED,
    ...Object.keys(KNOWN_MODELS),
    ...listPulled(cacheDir).map((one) => nameOf(one.hub)),
  ];
  const guess = nearest(model, known);
  const hint = guess === null ? "tts models shows what is here" : `did you mean ${guess}?`;
  throw new TtsError("MODEL_UNKNOWN", `there is no model "${model}"`, hint);
}

/** By what they say of their source, or by its place in their names. */
function bundlesOf(source: string, cacheDir: string): string[] {
  const isBelow = (path: string) => path === source || path.startsWith(`${source}/`);
  const places = [source, ...subfolders(source).map((path) => realpathSync(path))].map(
    (path) => `-${placeOf(path)}-`,
  );
  return bundlesFolders(cacheDir)
    .flatMap(subfolders)
    .filter((path) => {
      const from = sourceOf(path);
      return from === null ? places.some((place) => basename(path).includes(place)) : isBelow(from);
    });
}

/** @throws TtsError OUTPUT_FAILED */
function assertInside(path: string, cacheDir: string): void {
  const caches = bundlesFolders(cacheDir).map(dirname).filter(existsSync);
  const real = realpathSync(path);
  if (caches.some((cache) => real.startsWith(`${realpathSync(cache)}/`))) return;
  throw new TtsError("OUTPUT_FAILED", `${path} leads out of the cache, to ${real}`, "remove it by hand");
}

/** Links are removed, not what they lead to. @throws TtsError OUTPUT_FAILED */
function remove(path: string): number {
  const bytes = bytesOf(path);
  try {
    rmSync(path, { recursive: true });
  } catch (cause) {
    const what = `cannot remove ${path}: ${meaningOf(cause, "write").what}`;
    throw new TtsError(
      "OUTPUT_FAILED",
      what,
      "let this user write there, or set TTS_CACHE to another folder",
      {
        cause,
      },
    );
  }
  return bytes;
}

function bytesOf(path: string): number {
  const stat = lstatSync(path);
  if (stat.isDirectory()) return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0);
  return stat.nlink === 1 ? stat.blocks * 512 : 0;
}
