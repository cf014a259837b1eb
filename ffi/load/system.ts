// Checks that this system is new enough for a library before it is loaded: the loader's own message names no
// system that would do. Also tells where the loader found a library.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { TtsError } from "../../src/errors.ts";
import { libcVersion } from "../libc.ts";
import { type ElfFacts, readElf } from "./elf.ts";
import { openSymbols } from "./open.ts";

const MACHINES: Record<string, { code: number; title: string }> = {
  x64: { code: 62, title: "x86-64" },
  arm64: { code: 183, title: "AArch64" },
};
const STDCPP = "libstdc++.so.6";

/** Distributions that boards and servers run, oldest first, with what their C and C++ libraries have. */
const SYSTEMS = [
  { names: "Debian 10", glibc: "2.28", glibcxx: "3.4.25", cxxabi: "1.3.11" },
  { names: "Debian 11, Ubuntu 20.04", glibc: "2.31", glibcxx: "3.4.28", cxxabi: "1.3.12" },
  { names: "Debian 12, Ubuntu 22.04", glibc: "2.35", glibcxx: "3.4.30", cxxabi: "1.3.13" },
  { names: "Debian 13, Ubuntu 24.04", glibc: "2.39", glibcxx: "3.4.33", cxxabi: "1.3.15" },
];

export interface SystemVersions {
  glibc: string;
  /** GLIBCXX_... and CXXABI_... that libstdc++ offers; empty without libstdc++, null when not known. */
  stdcpp: readonly string[] | null;
}

/** @throws TtsError LIBRARY_MISMATCH saying what is needed, what this system has and which system would do */
export function requireSystem(title: string, path: string): void {
  const facts = readElf(path);
  if (facts === null) return; // the loader says what is wrong with it
  const problem = problemOf(title, facts, {
    glibc: libcVersion(),
    stdcpp: facts.needs.has(STDCPP) ? stdcppVersions() : [],
  });
  if (problem !== null) throw new TtsError("LIBRARY_MISMATCH", `${problem.what} (${path})`, problem.hint);
}

/** The newest glibc that a library asks for, such as "2.34"; "" where it asks for none, or cannot be read. */
export function glibcNeeded(path: string): string {
  try {
    const facts = readElf(path);
    return facts === null ? "" : newest(askedBy(facts), "GLIBC_");
  } catch {
    return "";
  }
}

const askedBy = ({ needs }: ElfFacts) =>
  [...needs.values()].flat().map((version) => (version === "GLIBC_ABI_DT_RELR" ? "GLIBC_2.36" : version));

/** Why a library with these facts cannot be loaded on a system with these versions, or null. */
export function problemOf(
  title: string,
  facts: ElfFacts,
  system: SystemVersions,
): { what: string; hint: string } | null {
  const { machine, needs } = facts;
  const ours = MACHINES[process.arch];
  if (ours !== undefined && machine !== ours.code) {
    const theirs =
      Object.values(MACHINES).find(({ code }) => code === machine)?.title ?? `machine ${machine}`;
    return {
      what: `${title} is built for ${theirs}, this machine is ${ours.title}`,
      hint: `use a build for ${ours.title}`,
    };
  }
  const asked = askedBy(facts);
  const glibc = newest(asked, "GLIBC_");
  if (glibc !== "" && compareVersions(glibc, system.glibc) > 0) {
    return { what: `${title} needs glibc ${glibc}, this system has ${system.glibc}`, hint: newEnough(asked) };
  }
  const { stdcpp } = system;
  if (!needs.has(STDCPP) || stdcpp === null) return null;
  if (stdcpp.length === 0) {
    return {
      what: `${title} needs ${STDCPP}, which this system lacks`,
      hint: "install it: apt install libstdc++6",
    };
  }
  const lacking = (needs.get(STDCPP) ?? []).filter(
    (version) => /^(GLIBCXX|CXXABI)_\d/.test(version) && !stdcpp.includes(version),
  );
  if (lacking.length === 0) return null;
  const prefix = lacking.some((version) => version.startsWith("GLIBCXX_")) ? "GLIBCXX_" : "CXXABI_";
  const what = `${title} needs ${prefix}${newest(lacking, prefix)} of ${STDCPP}, this system's has ${prefix}${newest(stdcpp, prefix)}`;
  return { what, hint: newEnough(asked) };
}

function newEnough(asked: readonly string[]): string {
  const found = SYSTEMS.find(({ cxxabi, glibc, glibcxx }) => {
    const has = { GLIBC_: glibc, GLIBCXX_: glibcxx, CXXABI_: cxxabi };
    return Object.entries(has).every(
      ([prefix, version]) => compareVersions(newest(asked, prefix) || "0", version) <= 0,
    );
  });
  return found === undefined
    ? "use a newer system"
    : `use ${found.names} or a board image made from them, or newer`;
}

/** "3.4.29" of GLIBCXX_3.4 and GLIBCXX_3.4.29; "" where none has the prefix and a number. */
export function newest(versions: readonly string[], prefix: string): string {
  const numbers = versions
    .filter((version) => version.startsWith(prefix))
    .map((version) => version.slice(prefix.length));
  return numbers
    .filter((number) => /^\d+(\.\d+)*$/.test(number))
    .reduce((a, b) => (compareVersions(a || "0", b) >= 0 ? a : b), "");
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  const at = left.findIndex((number, i) => number !== (right[i] ?? 0));
  if (at >= 0) return left[at] - (right[at] ?? 0);
  return right.length > left.length && right.slice(left.length).some((number) => number > 0) ? -1 : 0;
}

let known: readonly string[] | null = null;

/** Versions in the libstdc++ that the loader takes. Loads it, as every library that asks for it would. */
function stdcppVersions(): SystemVersions["stdcpp"] {
  if (known !== null) return known;
  try {
    openSymbols(STDCPP, { __cxa_pure_virtual: { args: [], returns: "void" } });
  } catch {
    return [];
  }
  const path = loadedFile(STDCPP);
  known = path === null ? null : (readElf(path)?.offers ?? null);
  return known;
}

/**
 * Path of a loaded library that was asked for by name, with links followed, as from libx.so to libx.so.2.3;
 * null when it is not known.
 */
export function loadedFile(name: string): string | null {
  const mapping = readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .find((line) => basename(line).startsWith(name));
  return mapping?.slice(mapping.indexOf("/")) ?? null;
}
