// What stands in the way on this machine, and what to do about each. Pure: facts in, findings out.

import type { ErrorCode } from "../../errors.ts";
import { NPU_VENDORS } from "../../npu-vendors.ts";
import type { Facts, Folder } from "./_facts.ts";

export interface Problem {
  code: ErrorCode;
  /** Whether nothing can be spoken before it is solved. Its code then gives the exit status. */
  serious: boolean;
  /** What is wrong. */
  what: string;
  /** What to do next. */
  todo: string;
}

/** Other programs disturb from this share of all cores' time on. */
const BUSY_SHARE = 0.2;
/** Room for a bundle of the starter voice and a minute of sound. */
const LEAST_DISK_BYTES = 100e6;
/** The fastest core has 1024; cores below this run nothing larger than the starter voice well. */
const LITTLE_CAPACITY = 600;
/** The libraries' usual names. */
export const LIBRARY_TITLE = { llama: "libllama", onnxruntime: "ONNX Runtime" } as const;

/** The serious ones first. */
export function problemsOf(facts: Facts): Problem[] {
  const all = [
    ...libraryProblems(facts),
    ...folderProblems(facts),
    ...machineProblems(facts),
    ...npuProblems(facts),
    ...npuFolderProblems(facts),
    ...modelProblems(facts),
    ...hubProblems(facts),
  ];
  return [...all.filter(({ serious }) => serious), ...all.filter(({ serious }) => !serious)];
}

const oneLine = (text: string) => text.replace(/\s+/g, " ").trim();

function libraryProblems({ libraries, machine, measured }: Facts): Problem[] {
  const failed = libraries.flatMap(({ failure, glibcNeeded, name, path }): Problem[] => {
    if (failure === null) return [];
    const { code, hint, message } = failure;
    const title = LIBRARY_TITLE[name];
    const crashed = code === "LIBRARY_FAILED" || code === "STAGE_TIMEOUT";
    const what = crashed ? `${title}${path === "" ? "" : ` (${path})`} does not load: ${message}` : message;
    const old = isNewer(glibcNeeded, machine.glibc)
      ? `it needs glibc ${glibcNeeded}, this system has ${machine.glibc}: use a newer system`
      : "";
    return [{ code, serious: true, what: oneLine(what), todo: old || hint }];
  });
  if (failed.length > 0 || measured.speed !== null) return failed;
  const what = `the libraries load, but a short computation with them failed: ${oneLine(measured.failure)}`;
  return [
    {
      code: "LIBRARY_FAILED",
      serious: true,
      what,
      todo: "unset TTS_LIBLLAMA and TTS_LIBONNXRUNTIME, or install this program again",
    },
  ];
}

/** Compares versions such as 2.34 or 2.3.2; what follows the numbers does not count. */
function isNewer(version: string, than: string): boolean {
  const numbers = (text: string) => (/^[\d.]+/.exec(text)?.[0] ?? "").split(".").map(Number);
  const [a, b] = [numbers(version), numbers(than)];
  const at = a.findIndex((number, i) => number !== (b[i] ?? 0));
  return at >= 0 && a[at] > (b[at] ?? 0);
}

function folderProblems({ folders: { cache, voices }, models }: Facts): Problem[] {
  const unwritable = (
    { path, reason, writable }: Folder,
    serious: boolean,
    use: string,
    variable: string,
  ): Problem[] => {
    const what = `${path} cannot be written: ${oneLine(reason)}`;
    return writable
      ? []
      : [
          {
            code: "OUTPUT_FAILED",
            serious,
            what,
            todo: `${use}: make it writable, or set ${variable} to another folder`,
          },
        ];
  };
  const prepared = models.some(({ bundles }) => bundles.some(({ fault }) => fault === ""));
  const full = cache.writable && cache.freeBytes !== null && cache.freeBytes < LEAST_DISK_BYTES;
  return [
    ...unwritable(cache, !prepared, "models are prepared there", "TTS_CACHE"),
    ...unwritable(voices, false, "cloned voices are kept there", "TTS_VOICES"),
    ...problemIf(
      full,
      "OUTPUT_FAILED",
      `${cache.path} has ${((cache.freeBytes ?? 0) / 1e6).toFixed(0)} MB left`,
      "free disk space, or set TTS_CACHE",
    ),
  ];
}

const problemIf = (holds: boolean, code: ErrorCode, what: string, todo: string): Problem[] =>
  holds ? [{ code, serious: false, what, todo }] : [];

function machineProblems({ board, forecasts, machine, measured }: Facts): Problem[] {
  const { cpuLimit, kinds, memory } = board;
  const [small] = forecasts ?? [];
  const asleep =
    machine.arch === "arm64" && kinds.some(({ fast, governor }) => fast && governor === "powersave");
  const little = kinds.length > 0 && kinds.every(({ capacity }) => capacity < LITTLE_CAPACITY);
  const swap = memory.swapBytes === 0 ? "add swap, " : "";
  return [
    ...problemIf(
      small !== undefined && !small.fitsMemory,
      "INTERNAL",
      `${(memory.availableBytes / 1e6).toFixed(0)} MB of memory are free, but even the starter voice needs ${((small?.memoryBytes ?? 0) / 1e6).toFixed(0)}`,
      `${swap}close other programs${memory.limitBytes === null ? "" : ", or raise the container's limit"}`,
    ),
    ...problemIf(
      measured.othersShare >= BUSY_SHARE,
      "INTERNAL",
      `other programs used ${(100 * measured.othersShare).toFixed(0)} % of all cores while this was measured`,
      "close them and run tts doctor again: these figures are those of a busy machine",
    ),
    ...problemIf(
      asleep,
      "INTERNAL",
      "the fast cores stay at their lowest clock (governor powersave)",
      "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    ),
    ...problemIf(
      little,
      "INTERNAL",
      "this process may use slow cores only",
      "give it the fast ones (taskset, or the container's cpuset)",
    ),
    ...problemIf(
      cpuLimit !== null && cpuLimit < 2,
      "INTERNAL",
      `a container limit leaves ${cpuLimit?.toFixed(1)} cores' worth of time`,
      "raise it to at least 2: talker and vocoder work side by side",
    ),
  ];
}

function npuProblems({ npus }: Facts): Problem[] {
  return npus
    .filter(({ present }) => present)
    .flatMap(({ hint, name, problem, warnings }) => [
      ...problemIf(
        problem !== "",
        "NPU_UNAVAILABLE",
        `${NPU_VENDORS[name].title}: ${oneLine(problem)}`,
        hint || "speech works without it",
      ),
      ...warnings.map((warning): Problem => {
        const [what, todo = "look at it soon"] = warning.split(/: (.*)/); // "what is wrong: what to do"
        return { code: "NPU_UNAVAILABLE", serious: false, what: `${NPU_VENDORS[name].title}: ${what}`, todo };
      }),
    ]);
}

/** A toolkit that is newer than the library makes models that the library may not read. */
function npuFolderProblems({ npuFolders, npus }: Facts): Problem[] {
  return npuFolders.flatMap(({ hint, path, problem, target, toolkit }) => {
    const library = npus.find(({ name }) => NPU_VENDORS[name].target === target)?.library?.version ?? "";
    return [
      ...problemIf(problem !== "", "NPU_MODEL_INVALID", oneLine(problem), oneLine(hint)),
      ...problemIf(
        library !== "" && toolkit !== "" && isNewer(toolkit, library),
        "NPU_MODEL_INVALID",
        `${path} was built by toolkit ${toolkit}, which is newer than the library here, ${library}`,
        "update the library to the toolkit's version, or build the folder with the older toolkit",
      ),
    ];
  });
}

function modelProblems({ models }: Facts): Problem[] {
  return models.flatMap(({ bundles, here, name }) => [
    ...problemIf(here === "in part", "MODEL_NOT_HERE", `${name} is here in part`, `tts pull ${name}`),
    ...bundles.flatMap(({ fault }) =>
      problemIf(
        fault !== "",
        "BUNDLE_INVALID",
        `a bundle of ${name} cannot be used: ${oneLine(fault)}`,
        "tts models --verify: the next use then makes it again",
      ),
    ),
  ]);
}

const hubProblems = ({ hub }: Facts) => problemIf(hub.problem !== "", "USAGE", hub.problem, hub.hint);
