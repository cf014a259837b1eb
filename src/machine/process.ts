// What the system says about this process: memory, mapped files, and the time of every thread; and who else
// has mapped a file. From /proc.

import { readdirSync, realpathSync } from "node:fs";
import { textOrEmpty } from "../io/read.ts";

/** Resident memory in bytes: all of it, what only this process has, and pages of files. */
export interface Memory {
  rss: number;
  anon: number;
  file: number;
}

export function memoryNow(): Memory {
  const status = textOrEmpty("/proc/self/status");
  const bytes = (name: string) =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
  return { rss: bytes("VmRSS"), anon: bytes("RssAnon") + bytes("RssShmem"), file: bytes("RssFile") };
}

/** Bytes of the files below some folders that are mapped, and how many of those are in memory. */
export function mappedFiles(folders: readonly string[]): { mapped: number; resident: number } {
  const below = [...new Set(folders)].map((folder) => `${realpathSync(folder)}/`);
  const found = { mapped: 0, resident: 0 };
  let inside = false;
  for (const line of textOrEmpty("/proc/self/smaps").split("\n")) {
    const path = /^[\da-f]+-[\da-f]+ \S+ \S+ \S+ \S+ +(.*)$/.exec(line)?.[1];
    if (path !== undefined) inside = below.some((folder) => path.startsWith(folder));
    else if (inside && line.startsWith("Size:")) found.mapped += kilobytes(line);
    else if (inside && line.startsWith("Rss:")) found.resident += kilobytes(line);
  }
  return found;
}

/** Other processes that have mapped a file below a folder; those of other users cannot be seen. */
export function processesUsing(folders: readonly string[]): number[] {
  const below = folders.map((folder) => `${folder}/`);
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids
    .filter((pid) => {
      const maps = textOrEmpty(`/proc/${pid}/maps`);
      return below.some((folder) => maps.includes(` ${folder}`));
    })
    .map(Number);
}

const kilobytes = (line: string) => 1024 * Number(/\d+/.exec(line)?.[0] ?? 0);

/** Time of one thread since its start: on a core, and ready to run but waiting for one. */
export interface ThreadTime {
  name: string;
  cpuMs: number;
  queuedMs: number;
}

/** Times by thread id. Threads that end meanwhile are left out. */
export function threadTimes(): Map<string, ThreadTime> {
  const times = new Map<string, ThreadTime>();
  for (const id of readdirSync("/proc/self/task")) {
    const [cpu, queued] = textOrEmpty(`/proc/self/task/${id}/schedstat`).trim().split(" ").map(Number);
    const name = id === String(process.pid) ? "main" : textOrEmpty(`/proc/self/task/${id}/comm`).trim();
    if (name !== "" && queued !== undefined)
      times.set(id, { name, cpuMs: cpu / 1e6, queuedMs: queued / 1e6 });
  }
  return times;
}

/** All threads of one name together. */
export interface ThreadUse extends ThreadTime {
  /** How many threads did more than {@link WORTHY_SHARE} of it. */
  count: number;
}

/** A thread counts above this share of its name's time: sleeping threads wake up now and then, too. */
const WORTHY_SHARE = 0.05;

/**
 * Use between two readings of {@link threadTimes}. A library's threads have the name of the stage that
 * started them.
 */
export function threadUse(before: Map<string, ThreadTime>, after: Map<string, ThreadTime>): ThreadUse[] {
  const byName = new Map<string, ThreadTime[]>();
  for (const [id, { name, cpuMs, queuedMs }] of after) {
    const known = before.get(id) ?? { cpuMs: 0, queuedMs: 0 };
    const own = byName.get(name) ?? [];
    own.push({ name, cpuMs: cpuMs - known.cpuMs, queuedMs: queuedMs - known.queuedMs });
    byName.set(name, own);
  }
  return [...byName].map(([name, threads]) => {
    const cpuMs = threads.reduce((sum, thread) => sum + thread.cpuMs, 0);
    const queuedMs = threads.reduce((sum, thread) => sum + thread.queuedMs, 0);
    return {
      name,
      cpuMs,
      queuedMs,
      count: threads.filter((thread) => thread.cpuMs > WORTHY_SHARE * cpuMs).length,
    };
  });
}
