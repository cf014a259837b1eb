// A lock file lets in one process at a time and names its holder. The lock of a dead process is taken over.
// It works on one machine, not between several.

import { linkSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { removeLitter } from "./atomic.ts";
import { textOrNull } from "./read.ts";

/**
 * Does `work` while holding the lock `path`, whose folder exists.
 * @param onWait called once, with the holder's process id, when another process holds it
 * @throws TtsError MODEL_BUSY after LIMITS.lockWaitMs; the file system's errors
 */
export async function withLock<T>(
  path: string,
  onWait: (pid: number) => void,
  work: () => Promise<T>,
): Promise<T> {
  await acquire(path, onWait);
  const release = () => {
    if (textOrNull(path) === identity(process.pid)) removeLitter(path);
  };
  process.once("exit", release);
  try {
    return await work();
  } finally {
    process.off("exit", release);
    release();
  }
}

/** The living process that holds a lock, or null. */
export function holderOf(path: string): number | null {
  const holder = textOrNull(path);
  return holder !== null && isLiving(holder) ? Number.parseInt(holder, 10) : null;
}

/** @param holder what {@link identity} gave once */
export const isLiving = (holder: string) => identity(Number.parseInt(holder, 10)) === holder;

async function acquire(path: string, onWait: (pid: number) => void): Promise<void> {
  let told = false;
  for (let waitedMs = 0; waitedMs <= LIMITS.lockWaitMs; waitedMs += LIMITS.lockPollMs) {
    if (tryAcquire(path)) return;
    const holder = textOrNull(path);
    if (holder === null) continue; // it was released just now
    if (!isLiving(holder)) {
      removeStale(path, holder);
      continue;
    }
    if (!told) onWait(Number.parseInt(holder, 10));
    told = true;
    await sleep(LIMITS.lockPollMs);
  }
  throw new TtsError(
    "MODEL_BUSY",
    `process ${textOrNull(path)?.split(" ")[0] ?? "?"} has held ${path} for too long`,
    "end it, then try again",
  );
}

/** The link appears with its content: nobody sees a lock without a holder. */
function tryAcquire(path: string): boolean {
  const own = `${path}-${process.pid}`;
  writeFileSync(own, identity(process.pid) ?? "");
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  } finally {
    removeLitter(own);
  }
}

/**
 * Moves the lock away first: when several processes find it stale, only one can move it. A fresh lock goes
 * back.
 */
function removeStale(path: string, holder: string): void {
  const aside = `${path}-stale-${process.pid}`;
  try {
    renameSync(path, aside);
    if (textOrNull(aside) !== holder) linkSync(aside, path);
  } catch {
    // another process was faster
  }
  removeLitter(aside);
}

/**
 * Process id and start time, because the system reuses ids. null when there is no such process, or it has
 * ended and its parent has not looked yet.
 */
export function identity(pid: number): string | null {
  const stat = textOrNull(`/proc/${pid}/stat`);
  if (stat === null) return null;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // field 3 and the next ones
  const [state, started] = [fields[0], fields[19]];
  return state === "Z" ? null : `${pid} ${started}`;
}
