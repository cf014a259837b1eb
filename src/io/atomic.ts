// Results that appear whole or not at all: each is made beside its place, under a name that tells whose it
// is, and renamed when it is finished. The only place that renames results; what a lock does with its own
// file is in lock.ts.

import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { writeAll } from "./bytes.ts";

/**
 * A file or folder under construction. It goes with the process, or with {@link discard}, unless it takes its
 * place before.
 */
export class Draft {
  /** To be made here: nothing has this name yet, since one process may build the same thing twice at once. */
  readonly path: string;
  private readonly remove = () => rmSync(this.path, { recursive: true, force: true });

  /**
   * @param family the name that drafts of many targets in one folder share, so that each of them removes what
   * dead processes left of any
   */
  constructor(
    readonly target: string,
    family = target,
  ) {
    removeAbandoned(family);
    this.path = join(dirname(family), `${prefixOf(family)}${process.pid}-${randomBytes(4).toString("hex")}`);
    process.once("exit", this.remove);
  }

  /** Makes a file of it, open for writing. Throws what the file system does, and then nothing is left. */
  open(mode = 0o666): number {
    try {
      return openSync(this.path, "wx", mode);
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /** A file that was there goes in the same moment. */
  moveIntoPlace(): void {
    renameIntoPlace(this.path, this.target);
    this.discard();
  }

  /**
   * An old folder steps aside for an instant, and comes back after a failure; a program that has it open
   * keeps its files.
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
      if (existsSync(this.target)) rmSync(old, { recursive: true, force: true });
    }
  }

  /** Does nothing once it has taken its place. */
  discard(): void {
    process.off("exit", this.remove);
    this.remove();
  }
}

/**
 * What is whole already, a file or a listening socket, gets its name; what had that name before goes in the
 * same moment.
 */
export const renameIntoPlace = (path: string, target: string) => renameSync(path, target);

/**
 * Writes a file that every reader sees whole, in its old or its new state. Throws what the file system does,
 * and then nothing is left.
 * @param flush whether it must also be whole after a power cut
 * @param family as that of a {@link Draft}
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
 * Removes what killed processes left of the same target. Failures do not matter: it is only litter, and may
 * be another user's.
 */
function removeAbandoned(target: string): void {
  try {
    for (const name of readdirSync(dirname(target))) {
      const owner = name.startsWith(prefixOf(target))
        ? /^(\d+)(-[0-9a-f]+)?(\.old)?$/.exec(name.slice(prefixOf(target).length))
        : null;
      if (owner !== null && !isAlive(Number(owner[1])))
        rmSync(join(dirname(target), name), { recursive: true, force: true });
    }
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
