// Results under construction: each is made beside its place, under a name that tells whose it is, and renamed when it is whole.

import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const prefixOf = (target: string) => `.${basename(target)}.part-`;

/** A new place to build `target` at; another one each time, since one process may build the same thing twice at once. */
export function partPath(target: string): string {
  return join(dirname(target), `${prefixOf(target)}${process.pid}-${randomBytes(4).toString("hex")}`);
}

/** Removes what killed processes left of the same target. Failures do not matter: it is only litter. */
export function removeAbandonedParts(target: string): void {
  const folder = dirname(target);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    const owner = name.startsWith(prefixOf(target)) ? /^(\d+)(-[0-9a-f]+)?(\.old)?$/.exec(name.slice(prefixOf(target).length)) : null;
    if (owner !== null && !isAlive(Number(owner[1]))) rmSync(join(folder, name), { recursive: true, force: true });
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
