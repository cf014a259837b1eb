// What travels inside a compiled binary, and where it is unpacked: native code opens files only. Loads no
// library and writes nothing.

import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Whether this program is one executable file, rather than sources. */
export const compiled = import.meta.url.startsWith("file:///$bunfs/");

/** The native libraries of the platform, and the starter voice as a checkpoint. */
export type Part = "lib" | "starter";

/** One part: all its files, one after the other, compressed as one with zstd. */
export interface Contents {
  /** The first digits of SHA-256 over the list and the bytes. */
  id: string;
  /** In the order of their bytes; paths are relative. */
  files: [path: string, bytes: number][];
}

/**
 * Files in the folder that the build script embeds: the index, `PART.zst` for each part, and the licences of
 * everything.
 */
export const INDEX_FILE = "index.json";
export const LICENCES_FILE = "licences.zst";
export const EMBEDDED_FOLDER = "embedded";
export const archiveFile = (part: Part) => `${part}.zst`;
const inside = (file: string) => join(import.meta.dir, EMBEDDED_FOLDER, file);

let index: Record<Part, Contents> | null = null;

export function contentsOf(part: Part): Contents {
  index ??= JSON.parse(readFileSync(inside(INDEX_FILE), "utf8")) as Record<Part, Contents>;
  return index[part];
}

/** The text of {@link LICENCES_FILE} in a binary. */
export const readLicences = () => Bun.zstdDecompressSync(readFileSync(inside(LICENCES_FILE))).toString();

export const readArchive = (part: Part) => readFileSync(inside(archiveFile(part)));

const folderName = (part: Part) => `${part}-${contentsOf(part).id}`;

/**
 * Where a part of this binary lies once it is unpacked below `base`; "" when this is no binary. Other
 * contents get another name.
 */
export const embeddedFolder = (part: Part, base: string) => (compiled ? join(base, folderName(part)) : "");

/** How to mend a damaged file or folder at `path` that this binary unpacked; null for any other path. */
export function remedyFor(path: string): string | null {
  const folder = [path, dirname(path)].find((place) => partOf(place) !== null);
  return folder === undefined ? null : `remove ${folder}: the next start unpacks it again`;
}

/** The part that an {@link embeddedFolder} is for; null for any other folder. */
export function partOf(folder: string): Part | null {
  if (!compiled) return null;
  return (["lib", "starter"] as const).find((part) => basename(folder) === folderName(part)) ?? null;
}
