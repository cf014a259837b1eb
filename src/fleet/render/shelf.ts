// Finished sentences of a render on this machine's disk, so that one that was ended goes on where it stopped.
// A shelf that is full, damaged or read-only costs time, never a render.

import { mkdirSync, readdirSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { removeAbandoned, removeLitter, replaceFile } from "../../io/atomic.ts";
import { holderOf } from "../../io/lock.ts";
import { readRegularFile } from "../../io/read.ts";
import { LIMITS, RENDER_LIMITS } from "../../limits.ts";
import { readSentence, type SentenceSound, writeSentence } from "./sentence-file.ts";

/** Drafts of all sentences have one family, so that any write removes those of killed processes. */
const FAMILY = "sentence";
const LOCK = ".lock";

/** Below a folder that holds the shelves of all books. */
export class Shelf {
  private readonly folder: string;
  private bytes = 0;

  /** Also removes shelves that nobody has put anything on for long. */
  constructor(
    home: string,
    job: string,
    private readonly limits: { shelfBytes: number; shelfMs: number } = RENDER_LIMITS,
  ) {
    this.folder = join(home, job);
    try {
      mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    } catch {
      return; // nothing can be kept
    }
    for (const name of namesIn(home)) {
      const other = join(home, name);
      if (name === job || name.endsWith(LOCK)) continue;
      if (Date.now() - changedMs(other) > limits.shelfMs && holderOf(lockOf(home, name)) === null)
        removeLitter(other);
    }
    for (const name of namesIn(home)) this.bytes += bytesBelow(join(home, name));
    removeAbandoned(this.folder);
  }

  /** Keys of the sentences that are there. */
  keys(): Set<string> {
    return new Set(namesIn(this.folder).filter((name) => !name.startsWith(".")));
  }

  /** A sentence, or null. A damaged one is removed. */
  get(key: string): SentenceSound | null {
    const path = join(this.folder, key);
    try {
      const sound = readSentence(readRegularFile(path, RENDER_LIMITS.soundBytes), key);
      if (sound === null) removeLitter(path);
      return sound;
    } catch {
      return null;
    }
  }

  /** @returns false where there is no room for it */
  put(sound: SentenceSound): boolean {
    const bytes = writeSentence(sound);
    try {
      const { bavail, bsize } = statfsSync(this.folder);
      const room = Math.min(bavail * bsize - LIMITS.diskMarginBytes, this.limits.shelfBytes - this.bytes);
      if (bytes.length > room || bytes.length > RENDER_LIMITS.soundBytes) return false;
      const family = join(this.folder, FAMILY);
      replaceFile(join(this.folder, sound.key), bytes, { mode: 0o600, flush: false, family });
      this.bytes += bytes.length;
      return true;
    } catch {
      return false;
    }
  }

  /** The book is complete. */
  remove(): void {
    removeLitter(this.folder);
  }
}

/** One process at a time renders a book. */
export const lockOf = (home: string, job: string) => join(home, `${job}${LOCK}`);

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function changedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
}

function bytesBelow(folder: string): number {
  return namesIn(folder).reduce(
    (sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}
