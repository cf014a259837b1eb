// The cores that this process may use and how fast they are, from the kernel's files; lists of cores as
// people write them; and which stage keeps to which cores.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import { TtsError } from "./errors.ts";
import { textOrEmpty } from "./io/read.ts";

export interface Core {
  /** The kernel's number. */
  id: number;
  /** 1024 is the fastest core of the machine; all are the same where the kernel says nothing. */
  capacity: number;
}

/** The capacity of a core when the kernel tells none. */
const FULL_CAPACITY = 1024;
/** A core with this share of the fastest one's capacity counts as fast. An A55 beside an A76 has half. */
const FAST_SHARE = 0.8;
/** The most cores of a list: what the kernel's largest mask holds here. */
const MOST_CORES = 1024;

/** @param root stands for / in tests */
export function allowedCores(root = "/"): Core[] {
  const listed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(textOrEmpty(join(root, "proc/self/status")))?.[1];
  const ids =
    listed === undefined
      ? Array.from({ length: availableParallelism() }, (_, id) => id)
      : kernelCores(listed);
  // The list also names cores that are switched off, or that may be added one day. In a container it may name
  // other cores altogether.
  const online = new Set(kernelCores(textOrEmpty(join(root, "sys/devices/system/cpu/online"))));
  const usable = ids.filter((id) => online.has(id));
  return (usable.length > 0 ? usable : ids).map((id) => ({ id, capacity: capacityOf(id, root) }));
}

/**
 * The kernel's own measure, or else the highest clock, which tells a big core from a little one just as well.
 */
function capacityOf(id: number, root: string): number {
  const folder = join(root, `sys/devices/system/cpu/cpu${id}`);
  return Number(textOrEmpty(join(folder, "cpu_capacity"))) || maxClockMhz(folder) || FULL_CAPACITY;
}

const maxClockMhz = (folder: string) =>
  Math.round(Number(textOrEmpty(join(folder, "cpufreq/cpuinfo_max_freq"))) / 1000);

/** The fast ones of unequal cores, because steps wait for their slowest thread. */
export function fastCores(cores: readonly Core[]): Core[] {
  const fastest = Math.max(...cores.map(({ capacity }) => capacity));
  return cores.filter(({ capacity }) => capacity >= FAST_SHARE * fastest);
}

/**
 * "4-7,0" as [0, 4, 5, 6, 7].
 * @throws TtsError USAGE
 */
export function parseCores(list: string): number[] {
  const isRange = (part: string) => {
    const [from, to] = rangeOf(part);
    return from <= to && to < MOST_CORES;
  };
  if (list.split(",").every(isRange)) return kernelCores(list);
  throw new TtsError("USAGE", `"${list}" is no list of cores`, "write one such as 4-7 or 0,2,4-7");
}

/**
 * The same for a list in a kernel's file, which may name any number of cores that will never be there: those
 * from MOST_CORES on are left out.
 */
export function kernelCores(list: string): number[] {
  const cores = new Set<number>();
  for (const part of list.split(",")) {
    const [from, to] = rangeOf(part);
    for (let id = from; id <= Math.min(to, MOST_CORES - 1); id++) cores.add(id);
  }
  return [...cores].toSorted((a, b) => a - b);
}

/** The ends of "4-7" or "4"; NaN where it is neither. */
function rangeOf(part: string): [from: number, to: number] {
  const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
  return [Number(from), Number(to)];
}

/** [0, 4, 5, 6, 7] as "0,4-7". */
export function formatCores(cores: readonly number[]): string {
  const ranges: [from: number, to: number][] = [];
  for (const id of cores.toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === id - 1) last[1] = id;
    else ranges.push([id, id]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
}

/** The cores that each stage keeps to; none means any. */
export interface Placement {
  talker: readonly number[];
  predictor: readonly number[];
  vocoder: readonly number[];
}
export const ANYWHERE: Placement = { talker: [], predictor: [], vocoder: [] };

/** What was asked for: cores for everything, or for single stages. */
export type WantedCores = Partial<Record<"all" | keyof Placement, readonly number[]>>;

/**
 * Which cores each stage keeps to. On unequal cores, or where cores were named, the vocoder keeps to one fast
 * core, and talker and predictor, which take turns, keep to the others. Only prompts have them all, because
 * the vocoder has nothing to do meanwhile. Equal cores are left to the kernel: on a busy machine a pinned
 * thread waits for its core while others are free.
 */
export function placementOf(wanted: WantedCores, allowed: readonly Core[]): Placement {
  const named = Object.values(wanted).flatMap((ids) => ids ?? []);
  const forbidden = named.find((id) => !allowed.some((core) => core.id === id));
  if (forbidden !== undefined) {
    const cores = formatCores(allowed.map(({ id }) => id));
    throw new TtsError("USAGE", `this process may not use core ${forbidden}`, `choose from ${cores}`);
  }
  const usable = wanted.all === undefined ? allowed : allowed.filter(({ id }) => wanted.all?.includes(id));
  const fast = fastCores(usable).map(({ id }) => id);
  /**
   * The core that only prompts use where the talker has as many threads as cores: see ThreadPool in
   * ffi/ggml.ts.
   */
  const spare = fast.at(-2) ?? fast[0];
  const apart = wanted.all !== undefined || fast.length < usable.length;
  const own = {
    talker: fast,
    predictor: fast.filter((id) => fast.length === 1 || id !== spare),
    vocoder: [spare],
  };
  // A vocoder that was given other fast cores has them to itself.
  const rest = fast.filter((id) => !wanted.vocoder?.includes(id));
  const taken = fast.length - rest.length;
  const isMoved = rest.length > 0 && taken > 0 && (taken > 1 || rest.includes(spare));
  const standard = !apart ? ANYWHERE : isMoved ? { ...own, talker: rest, predictor: rest } : own;
  const { talker = standard.talker, predictor = standard.predictor, vocoder = standard.vocoder } = wanted;
  return { talker, predictor, vocoder };
}
