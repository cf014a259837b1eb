// What speed depends on: facts of this machine, how busy it is, and one clock for all threads. Judges
// nothing.

import { arch, availableParallelism, cpus, release, totalmem } from "node:os";
import { textOrEmpty } from "../io/read.ts";
import { describeMemory, instructionsOf } from "./board.ts";

export { libcVersion, monotonicMs } from "../../ffi/libc.ts";

export interface Machine {
  cpu: string;
  arch: string;
  kernel: string;
  /** Cores that this process may use. */
  cores: number;
  /** Instructions that matter to the kernels of libllama and ONNX Runtime. */
  features: string[];
  memoryMb: number;
}

export function describeMachine(): Machine {
  const info = textOrEmpty("/proc/cpuinfo");
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1] ?? "";
  return {
    cpu: processorName(info),
    arch: arch(),
    kernel: release(),
    cores: availableParallelism(),
    features: instructionsOf(flags),
    memoryMb: Math.round(totalmem() / 1e6),
  };
}

/** Arm processors have no name in /proc/cpuinfo: the board's name tells more. */
function processorName(info: string): string {
  const named = /^model name\s*:\s*(.*)$/m.exec(info)?.[1];
  const board = textOrEmpty("/proc/device-tree/model").replaceAll("\0", "");
  return (named || board || cpus()[0]?.model || "unknown processor").replace(/\s+/g, " ").trim();
}

/** Time of all cores together since the start of the machine. */
export interface CoreTime {
  busyMs: number;
  totalMs: number;
}
/** The unit of /proc/stat. */
const TICK_MS = 10;

/** Time that a virtual machine's host took away counts as busy. */
export function coreTime(): CoreTime {
  const [user = 0, nice = 0, system = 0, idle = 0, ioWait = 0, irq = 0, softIrq = 0, stolen = 0] =
    textOrEmpty("/proc/stat").split("\n")[0].split(/\s+/).slice(1).map(Number);
  const busy = user + nice + system + irq + softIrq + stolen;
  return { busyMs: TICK_MS * busy, totalMs: TICK_MS * (busy + idle + ioWait) };
}

/** Share of all cores' time that other processes used between two moments, 0 to 1. */
export function othersShare(from: CoreTime, to: CoreTime, ownMs: number): number {
  const totalMs = to.totalMs - from.totalMs;
  return totalMs > 0 ? Math.max(0, to.busyMs - from.busyMs - ownMs) / totalMs : 0;
}

/** Time of all threads of this process, in user and system mode. */
export function processMs(): number {
  const { system, user } = process.cpuUsage();
  return (system + user) / 1e3;
}

/** Memory that programs can still have without swapping, within the limits of a container. */
export const availableBytes = () => describeMemory().availableBytes || totalmem() / 4;
