// Files that a process holds locked as long as it lives: the kernel lets go of them when it ends, however it
// ends, and when the programs have ended that inherited the file. For queues that must survive a kill;
// lock.ts has locks that name their holder.

import { closeSync, constants, openSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { tryLockFile, unlockFile } from "../../ffi/libc.ts";
import { removeLitter, renameIntoPlace } from "./atomic.ts";

export interface HeldFile {
  /** The open file, for a program that is to hold it as well. */
  readonly file: number;
  /** Does nothing the second time. */
  release(): void;
}

const OWNER_ONLY = 0o600;

/** Makes the file if it is not there. null: another process holds it. Throws the file system's errors. */
export function tryHold(path: string): HeldFile | null {
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, OWNER_ONLY);
  return tryLockFile(file) ? heldFile(file, () => {}) : closed(file);
}

/** A new file that nobody ever sees unlocked; releasing it removes it. Throws the file system's errors. */
export function createHeld(path: string): HeldFile {
  const draft = join(dirname(path), `.${basename(path)}.part-${process.pid}`); // as removeAbandoned knows them
  const file = openSync(draft, "wx", OWNER_ONLY);
  const remove = () => removeLitter(path);
  try {
    tryLockFile(file);
    renameIntoPlace(draft, path);
  } catch (error) {
    closeSync(file);
    removeLitter(draft);
    throw error;
  }
  process.once("exit", remove);
  return heldFile(file, () => {
    process.off("exit", remove);
    remove();
  });
}

/** Whether a living process holds the file. One that cannot be opened is held by nobody. */
export function isHeld(path: string): boolean {
  try {
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const isFree = tryLockFile(file);
    closeSync(file);
    return !isFree;
  } catch {
    return false;
  }
}

function closed(file: number): null {
  closeSync(file);
  return null;
}

function heldFile(file: number, before: () => void): HeldFile {
  let isOpen = true;
  return {
    file,
    release() {
      if (!isOpen) return;
      isOpen = false;
      before();
      unlockFile(file); // also where another program still has it open
      closeSync(file);
    },
  };
}
