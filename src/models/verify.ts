// Compares everything in the cache with its sums: pulled checkpoints with what the hub said, bundles with
// their manifests. Asks no network.

import { basename, join } from "node:path";
import { unpack } from "../../ffi/load/unpack.ts";
import { isBundle, isOutdated } from "../formats/bundle.ts";
import { bundlesFolders, distrust, faultOf } from "./cache.ts";
import { listPulled, nameOf, type Pulled, subfolders } from "./catalog.ts";
import { inspect } from "./download.ts";
import { shippedCheckpoint } from "./resolve.ts";

/** A checkpoint or a bundle. */
export interface Verified {
  kind: "checkpoint" | "bundle";
  path: string;
  /** Outdated: another version of this program made it. That is no fault. */
  state: "whole" | "damaged" | "outdated";
  /** What is wrong with it, and what to do; both "" where nothing is. */
  fault: string;
  remedy: string;
}

/**
 * A damaged bundle is made again at its next use.
 * @param onItem told before each item
 * @throws what the file system does
 */
export async function verifyCache(
  cacheDir: string,
  onItem: (path: string, done: number, total: number) => void,
): Promise<Verified[]> {
  unpack(shippedCheckpoint(), true); // what a binary has unpacked, it mends by itself
  const checkpoints = listPulled(cacheDir);
  const folders = bundlesFolders(cacheDir).flatMap(subfolders);
  const bundles = folders.filter((folder) => !basename(folder).startsWith(".") && isBundle(folder));
  const work = [
    ...checkpoints.map((pulled) => ({ path: pulled.directory, verify: () => verifyPulled(pulled) })),
    ...bundles.map((path) => ({ path, verify: async () => verifyBundle(path) })),
  ];
  const verified: Verified[] = [];
  for (const [i, { path, verify }] of work.entries()) {
    onItem(path, i, work.length);
    verified.push(await verify());
  }
  return verified;
}

async function verifyPulled({ directory, files, hub, revision }: Pulled): Promise<Verified> {
  const item = { kind: "checkpoint" as const, path: directory };
  for (const file of files) {
    const path = join(directory, file.path);
    const { fault } = await inspect(path, file);
    if (fault === null) continue;
    const remedy = `rm -f ${path}; tts pull ${nameOf(hub)} --revision ${revision}`;
    return { ...item, state: "damaged", fault: `${file.path}: ${fault}`, remedy };
  }
  return { ...item, state: "whole", fault: "", remedy: "" };
}

function verifyBundle(path: string): Verified {
  const item = { kind: "bundle" as const, path };
  if (isOutdated(path)) return { ...item, state: "outdated", fault: "", remedy: "" };
  const fault = faultOf(path);
  if (fault === null) return { ...item, state: "whole", fault: "", remedy: "" };
  let remedy = "its next use makes it again";
  try {
    distrust(path);
  } catch {
    remedy = `rm -r ${path}: its next use makes it again`; // a cache that cannot be written
  }
  return { ...item, state: "damaged", fault, remedy };
}
