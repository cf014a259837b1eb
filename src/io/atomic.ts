// Results appear whole or not at all: each is made beside its place, under a name with its process's id, and
// renamed when it is finished. Only this file renames results; a lock renames its own file in lock.ts.

import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { writeAll } from "./bytes.ts";

/**
 * A file or folder under construction. {@link discard} or the end of the process removes it, unless it has
 * taken its place by then.
 */
export class Draft {
  /**
   * Where to make it. Nothing has this name yet, since one process may build the same thing twice at once.
   */
  readonly path: string;
  private readonly remove = () => removeLitter(this.path);

  /**
   * @param family a name that drafts of many targets in one folder share: each draft removes what dead
   * processes left of any of them
   */
  constructor(
    readonly target: string,
    family = target,
  ) {
    removeAbandoned(dirname(family), prefixOf(family));
    const random = crypto.getRandomValues(Buffer.alloc(4)).toString("hex");
    this.path = join(dirname(family), `${prefixOf(family)}${process.pid}-${random}`);
    process.once("exit", this.remove);
  }

  /**
   * Creates the draft as a file, open for writing. Throws the file system's error and then leaves nothing.
   */
  open(mode = 0o666): number {
    try {
      return openSync(this.path, "wx", mode);
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /** Replaces a file of that name in the same moment. */
  moveIntoPlace(): void {
    renameIntoPlace(this.path, this.target);
    this.discard();
  }

  /**
   * Moves an old folder aside for an instant, and back after a failure. A program that has it open keeps its
   * files.
   */
  replaceFolder(): void {
    const old = `${this.path}.old`;
    try {
      if (existsSync(this.target)) renameSync(this.target, old);
      this.moveIntoPlace();
    } catch (error) {
      if (existsSync(old) && !existsSync(this.target)) renameSync(old, this.target);
      throw error;
    } finally {
      if (existsSync(this.target)) removeLitter(old);
    }
  }

  /** Removes the draft; does nothing once it has taken its place. */
  discard(): void {
    process.off("exit", this.remove);
    this.remove();
  }
}

/** Gives a whole file or a listening socket its name, and in the same moment replaces what had that name. */
export const renameIntoPlace = (path: string, target: string) => renameSync(path, target);

/**
 * Writes a file that every reader sees whole, in its old or its new state. Throws the file system's error and
 * then leaves nothing.
 * @param flush whether it must also be whole after a power cut
 * @param family see {@link Draft}
 */
export function replaceFile(
  path: string,
  content: string | Uint8Array,
  { mode, flush = true, family = path }: { mode?: number; flush?: boolean; family?: string } = {},
): void {
  const draft = new Draft(path, family);
  const file = draft.open(mode);
  try {
    try {
      writeAll(file, typeof content === "string" ? Buffer.from(content) : content);
      if (flush) fsyncSync(file);
    } finally {
      closeSync(file);
    }
    draft.moveIntoPlace();
  } finally {
    draft.discard();
  }
}

const prefixOf = (target: string) => `.${basename(target)}.part-`;

/**
 * Removes what killed processes left in a folder. Failures do not matter: the remains do no harm, and may be
 * another user's.
 * @param prefix of the drafts of one family; default: those of all
 */
export function removeAbandoned(folder: string, prefix = "."): void {
  try {
    for (const name of readdirSync(folder)) {
      const owner = name.startsWith(prefix) ? /\.part-(\d+)(-[0-9a-f]+)?(\.old)?$/.exec(name) : null;
      if (owner !== null && !isAlive(Number(owner[1]))) removeLitter(join(folder, name));
    }
  } catch {
    return;
  }
}

/** Cleans up. A failure is not told: it would hide that of the work itself. */
export function removeLitter(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    return;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
