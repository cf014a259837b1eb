// Finds the bundle of a model that the user names: as a bundle, a checkpoint directory, a known name or a hub
// id. Bundles of checkpoints are in the cache (cache.ts). Never asks the network: pull.ts does.

import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { embeddedFolder } from "../../ffi/load/embedded.ts";
import { unpack } from "../../ffi/load/unpack.ts";
import { type Config, DEFAULT_MODEL, unpackFolder } from "../config.ts";
import { TtsError } from "../errors.ts";
import { type Bundle, isBundle, openBundle } from "../formats/bundle.ts";
import { nearest } from "../nearest.ts";
import { cachedBundle, type ModelOptions } from "./cache.ts";
import { findPulled, firstMissing, hubIdOf, KNOWN_MODELS, nameOf, type Pulled } from "./catalog.ts";

/** Voices that come with this program, and so are there without being fetched. */
export const SHIPPED: readonly string[] = [DEFAULT_MODEL];

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
  if (hub !== null)
    return cachedBundle(pulledModel(model, hub, options.config).directory, nameOf(hub), options);
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
