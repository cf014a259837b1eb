// What a machine is made of and how much of it this process may use, from the kernel's files: kinds of cores
// with caches, clocks and instructions, the board and its chip, memory, limits of a container. Facts only;
// `root` stands for / in tests.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { allowedCores, type Core, fastCores, kernelCores } from "../cores.ts";
import { textOrEmpty } from "../io/read.ts";

interface Cache {
  level: number;
  type: "data" | "instruction" | "unified";
  bytes: number;
  /** How many cores share it. */
  sharedBy: number;
}

/** Equal cores as one group. */
export interface CoreKind {
  /** Such as Cortex-A76, or the name in /proc/cpuinfo; "" where there is none. */
  name: string;
  cores: number[];
  /** 1024 is the fastest core of the machine, as the kernel sees it. */
  capacity: number;
  /** Whether steps run here: where cores are unequal, only the fast ones are used. */
  fast: boolean;
  maxMhz: number | null;
  governor: string | null;
  /** The caches of one core. */
  caches: Cache[];
  /** Instructions that matter to the kernels. */
  features: string[];
}

export interface Board {
  /** The name in the device tree, or "". */
  model: string;
  /** Such as rk3588, or "". */
  chip: string;
  /** Cores of the machine; `kinds` holds those that this process may use. */
  presentCores: number;
  kinds: CoreKind[];
  /** Computing time that a container may use, in cores; null means no limit. */
  cpuLimit: number | null;
  memory: Memory;
}

interface Memory {
  totalBytes: number;
  /** What programs can still take without swapping, within the limit. */
  availableBytes: number;
  /** The limit of a container, or null. */
  limitBytes: number | null;
  swapBytes: number;
  swapFreeBytes: number;
}

/** Name of a core by "CPU implementer" and "CPU part" of arm64. */
const ARM_CORES: Readonly<Record<string, string>> = {
  "0x41:0xd03": "Cortex-A53",
  "0x41:0xd04": "Cortex-A35",
  "0x41:0xd05": "Cortex-A55",
  "0x41:0xd07": "Cortex-A57",
  "0x41:0xd08": "Cortex-A72",
  "0x41:0xd09": "Cortex-A73",
  "0x41:0xd0a": "Cortex-A75",
  "0x41:0xd0b": "Cortex-A76",
  "0x41:0xd0c": "Neoverse N1",
  "0x41:0xd0d": "Cortex-A77",
  "0x41:0xd40": "Neoverse V1",
  "0x41:0xd41": "Cortex-A78",
  "0x41:0xd42": "Cortex-A78AE",
  "0x41:0xd44": "Cortex-X1",
  "0x41:0xd46": "Cortex-A510",
  "0x41:0xd47": "Cortex-A710",
  "0x41:0xd49": "Neoverse N2",
  "0x41:0xd4f": "Neoverse V2",
  "0x41:0xd80": "Cortex-A520",
  "0x41:0xd81": "Cortex-A720",
};

/** Spelled as in /proc/cpuinfo, x86 first, then arm64. */
const FEATURES =
  /^(avx2|fma|f16c|avx_vnni|avx512f|avx512_vnni|avx512_bf16|amx_int8|asimddp|asimdhp|i8mm|bf16|sve2?)$/;

/** The flags of a core that matter to the kernels of libllama and ONNX Runtime. */
export const instructionsOf = (flags: string) => flags.split(" ").filter((flag) => FEATURES.test(flag));

export function describeBoard(root = "/"): Board {
  const allowed = allowedCores(root);
  const limits = containerLimits(root);
  return {
    model: text(root, "proc/device-tree/model").replaceAll("\0", "").trim(),
    chip: chipOf(root),
    presentCores: coreCount(text(root, "sys/devices/system/cpu/present")) ?? allowed.length,
    kinds: coreKinds(root, allowed),
    cpuLimit: limits.cpus,
    memory: memoryOf(root, limits),
  };
}

/** The chip of a board from Rockchip, such as rk3588, or "". */
export const chipOf = (root = "/") =>
  text(root, "proc/device-tree/compatible")
    .split("\0")
    .map((entry) => /^rockchip,((?:rk|rv)\d+)/.exec(entry)?.[1])
    .find((chip) => chip !== undefined) ?? "";

const text = (root: string, path: string) => textOrEmpty(join(root, path)).trim();

function coreCount(list: string): number | null {
  return list === "" ? null : kernelCores(list).length;
}

/** Kinds of the allowed cores, the fastest first. */
function coreKinds(root: string, allowed: readonly Core[]): CoreKind[] {
  const described = processors(text(root, "proc/cpuinfo"));
  const fast = new Set(fastCores(allowed).map(({ id }) => id));
  const groups = Map.groupBy(allowed, ({ id }) => `${fast.has(id)}:${nameOf(described.get(id))}`);
  const kinds = [...groups.values()].map((cores): CoreKind => {
    const [{ id }] = cores;
    const folder = `sys/devices/system/cpu/cpu${id}`;
    const kilohertz = Number(text(root, `${folder}/cpufreq/cpuinfo_max_freq`));
    return {
      name: nameOf(described.get(id)),
      cores: cores.map((core) => core.id),
      capacity: Math.max(...cores.map(({ capacity }) => capacity)),
      fast: fast.has(id),
      maxMhz: kilohertz > 0 ? Math.round(kilohertz / 1000) : null,
      governor: text(root, `${folder}/cpufreq/scaling_governor`) || null,
      caches: cachesOf(root, folder),
      features: instructionsOf(described.get(id)?.flags ?? described.get(id)?.Features ?? ""),
    };
  });
  return kinds.toSorted((a, b) => b.capacity - a.capacity);
}

/** Blocks of /proc/cpuinfo by the processor's number: key -> value. */
function processors(info: string): Map<number, Record<string, string>> {
  const blocks = info.split(/\n\s*\n/).map((block): Record<string, string> => {
    return Object.fromEntries(
      block.split("\n").map((line) => [line.split(":")[0].trim(), line.slice(line.indexOf(":") + 1).trim()]),
    );
  });
  return new Map(
    blocks.filter((block) => block.processor !== undefined).map((block) => [Number(block.processor), block]),
  );
}

function nameOf(processor: Record<string, string> = {}): string {
  const part = `${processor["CPU implementer"]}:${processor["CPU part"]}`;
  return (
    processor["model name"] ??
    ARM_CORES[part] ??
    (part.includes("undefined") ? "" : `Arm core ${part}`)
  ).replace(/\s+/g, " ");
}

const SIZE_UNIT: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

function cachesOf(root: string, folder: string): Cache[] {
  return entries(root, `${folder}/cache`)
    .filter((name) => /^index\d+$/.test(name))
    .flatMap((name): Cache[] => {
      const value = (key: string) => text(root, `${folder}/cache/${name}/${key}`);
      const [, count, unit] = /^(\d+)([KMG]?)$/.exec(value("size")) ?? [];
      const type = value("type").toLowerCase() as Cache["type"];
      if (count === undefined) return [];
      return [
        {
          level: Number(value("level")),
          type,
          bytes: Number(count) * SIZE_UNIT[unit],
          sharedBy: coreCount(value("shared_cpu_list")) ?? 1,
        },
      ];
    })
    .toSorted((a, b) => a.level - b.level);
}

function entries(root: string, folder: string): string[] {
  try {
    return readdirSync(join(root, folder)).sort();
  } catch {
    return [];
  }
}

interface Limits {
  cpus: number | null;
  memoryBytes: number | null;
  /** Memory used within the limit; cached files that can be dropped do not count. */
  usedBytes: number;
}

/** The tightest limits of this process's control groups and of those around them, in either version. */
function containerLimits(root: string): Limits {
  const limits: Limits = { cpus: null, memoryBytes: null, usedBytes: 0 };
  const atMost = (old: number | null, found: number | null) =>
    found === null ? old : Math.min(old ?? found, found);
  for (const line of text(root, "proc/self/cgroup").split("\n")) {
    const [, controllers = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const folder of upwards(path)) {
      if (controllers === "") {
        const at = join("sys/fs/cgroup", folder);
        limits.cpus = atMost(
          limits.cpus,
          quota(...(text(root, `${at}/cpu.max`).split(" ") as [string, string])),
        );
        takeMemory(
          limits,
          root,
          [`${at}/memory.max`, `${at}/memory.current`, `${at}/memory.stat`],
          "inactive_file",
        );
      }
      if (controllers.split(",").includes("cpu")) {
        const at = join(`sys/fs/cgroup/${controllers}`, folder);
        limits.cpus = atMost(
          limits.cpus,
          quota(text(root, `${at}/cpu.cfs_quota_us`), text(root, `${at}/cpu.cfs_period_us`)),
        );
      }
      if (controllers === "memory") {
        const at = join("sys/fs/cgroup/memory", folder);
        const files = [`${at}/memory.limit_in_bytes`, `${at}/memory.usage_in_bytes`, `${at}/memory.stat`];
        takeMemory(limits, root, files, "total_inactive_file");
      }
    }
  }
  return limits;
}

/** "/a/b" as "/a/b", "/a", "/". */
function upwards(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return Array.from({ length: parts.length + 1 }, (_, i) => `/${parts.slice(0, parts.length - i).join("/")}`);
}

const quota = (time: string, period: string) =>
  Number(time) > 0 && Number(period) > 0 ? Number(time) / Number(period) : null;

/** Takes over a tighter limit. Version 1 states a number beyond any memory where there is no limit. */
function takeMemory(
  limits: Limits,
  root: string,
  [limitFile, usedFile, statFile]: string[],
  dropped: string,
): void {
  const limit = Number(text(root, limitFile));
  const total = 1024 * meminfo(root, "MemTotal");
  if (
    !(limit > 0) ||
    (total > 0 && limit >= total) ||
    limit >= (limits.memoryBytes ?? Number.POSITIVE_INFINITY)
  )
    return;
  const files = Number(new RegExp(`^${dropped} (\\d+)$`, "m").exec(text(root, statFile))?.[1] ?? 0);
  limits.memoryBytes = limit;
  limits.usedBytes = Math.max(0, Number(text(root, usedFile)) - files);
}

const meminfo = (root: string, key: string) =>
  Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(text(root, "proc/meminfo"))?.[1] ?? 0);

export const describeMemory = (root = "/") => memoryOf(root, containerLimits(root));

function memoryOf(root: string, { memoryBytes: limitBytes, usedBytes }: Limits): Memory {
  const bytes = (key: string) => 1024 * meminfo(root, key);
  const free = bytes("MemAvailable");
  return {
    totalBytes: bytes("MemTotal"),
    availableBytes: limitBytes === null ? free : Math.max(0, Math.min(free, limitBytes - usedBytes)),
    limitBytes,
    swapBytes: bytes("SwapTotal"),
    swapFreeBytes: bytes("SwapFree"),
  };
}
