// What a library needs of the system, read from the file itself: against readelf, and against systems of
// other ages.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { libcVersion } from "../../../ffi/libc.ts";
import { loadLlama } from "../../../ffi/llama.ts";
import { type ElfFacts, parseElf, readElf } from "../../../ffi/load/elf.ts";
import { glibcNeeded, newest, problemOf, requireSystem } from "../../../ffi/load/system.ts";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { scratchFolder } from "../../_support.ts";

const llama = loadLlama().path;
const libraries = [llama, join(dirname(llama), "libggml-base.so"), loadOnnxRuntime().path];
/** A library that offers many versions; either architecture will do. */
const systemLibraries = ["x86_64", "aarch64"]
  .map((arch) => `/usr/lib/${arch}-linux-gnu/libstdc++.so.6`)
  .filter((path) => existsSync(path));
const readelf = Bun.which("readelf");
const skipped = readelf === null ? " (skipped: there is no readelf here)" : "";

describe.skipIf(readelf === null)(`versions in a library, as readelf finds them${skipped}`, () => {
  test.each([...libraries, ...systemLibraries])("%s", (path) => {
    const text = Bun.spawnSync([readelf!, "-VW", path], { env: { LC_ALL: "C" } }).stdout.toString();
    const section = (type: string) => text.split(/^Version /m).find((part) => part.startsWith(type)) ?? "";
    const needs = new Map<string, string[]>();
    let library = "";
    for (const [, file, name] of section("needs").matchAll(/File: (\S+)|Name: (\S+)/g)) {
      if (file !== undefined) {
        library = file;
        needs.set(library, []);
      } else needs.get(library)!.push(name);
    }
    const offers = [...section("definition").matchAll(/Flags: (\S+).*Name: (\S+)/g)].filter(
      ([, flags]) => flags !== "BASE",
    );
    const facts = readElf(path)!;
    expect(Object.fromEntries(facts.needs)).toEqual(Object.fromEntries(needs));
    expect(facts.offers).toEqual(offers.map(([, , name]) => name));
  });
});

describe("a file that is no library", () => {
  const bytes = readFileSync(libraries[1]);
  const folder = join(scratchFolder(), "elf");
  mkdirSync(folder, { recursive: true });

  test.each([
    ["empty", Buffer.alloc(0)],
    ["text", Buffer.from("this is no library, and longer than the header of one would have to be: yes\n")],
    ["32 bits", Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 1]), bytes.subarray(6)])],
    ["cut in the header", bytes.subarray(0, 50)],
    ["cut before its sections", bytes.subarray(0, 5000)],
  ])("%s: left to the loader", (name, content) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    expect(readElf(path)).toBeNull();
    expect(() => requireSystem("it", path)).not.toThrow();
  });

  test("reading ends, whatever is damaged in the file", () => {
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state % below;
    };
    const view = (data: Uint8Array, offset: number, count: number) => {
      if (count > 8 << 20 || offset + count > data.length) throw new RangeError("outside");
      return new DataView(data.buffer, data.byteOffset + offset, count);
    };
    const sections = Number(bytes.readBigUInt64LE(40));
    for (let round = 0; round < 25; round++) {
      const damaged = Uint8Array.from(bytes);
      for (let i = 0; i < 20; i++) damaged[sections + random(damaged.length - sections)] = random(256);
      try {
        parseElf((offset, count) => view(damaged, offset, count));
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }
  });
});

describe("a system", () => {
  const ours = { x64: 62, arm64: 183 }[process.arch as "x64" | "arm64"];
  const library = (libc: string[], stdcpp: string[] = [], machine = ours): ElfFacts => {
    const needs = new Map([["libc.so.6", libc]]);
    if (stdcpp.length > 0) needs.set("libstdc++.so.6", stdcpp);
    return { machine, needs, offers: [] };
  };
  const GCC10 = ["GLIBCXX_3.4", "GLIBCXX_3.4.9", "GLIBCXX_3.4.28", "CXXABI_1.3", "CXXABI_1.3.12"];
  const DEBIAN12 = /use Debian 12, Ubuntu 22.04 or a board image made from them/;

  test.each<[string, ElfFacts, string, string[] | null, RegExp | null, RegExp]>([
    ["new enough", library(["GLIBC_2.4", "GLIBC_2.31"], ["GLIBCXX_3.4.9"]), "2.31", GCC10, null, /^$/],
    [
      "glibc is older",
      library(["GLIBC_2.4", "GLIBC_2.34"]),
      "2.31",
      GCC10,
      /it needs glibc 2.34, this system has 2.31/,
      DEBIAN12,
    ],
    [
      "2.9 is older than 2.34",
      library(["GLIBC_2.34"]),
      "2.9",
      GCC10,
      /needs glibc 2.34, this system has 2.9/,
      DEBIAN12,
    ],
    ["2.4 is older than 2.31", library(["GLIBC_2.4"]), "2.31", GCC10, null, /^$/],
    [
      "libstdc++ is older",
      library(["GLIBC_2.4"], ["GLIBCXX_3.4.29"]),
      "2.36",
      GCC10,
      /GLIBCXX_3.4.29 .* has GLIBCXX_3.4.28/,
      DEBIAN12,
    ],
    [
      "its ABI is older",
      library([], ["GLIBCXX_3.4.9", "CXXABI_1.3.13"]),
      "2.36",
      GCC10,
      /CXXABI_1.3.13 .* has CXXABI_1.3.12/,
      DEBIAN12,
    ],
    [
      "there is no libstdc++",
      library([], ["GLIBCXX_3.4"]),
      "2.36",
      [],
      /libstdc\+\+.so.6, which this system lacks/,
      /apt install libstdc\+\+6/,
    ],
    ["none needed", library(["GLIBC_2.4"]), "2.36", [], null, /^$/],
    [
      "old enough for a board of 2021",
      library(["GLIBC_2.29"]),
      "2.28",
      GCC10,
      /2.29/,
      /Debian 11, Ubuntu 20.04/,
    ],
    [
      "newer than every known system",
      library(["GLIBC_2.99"]),
      "2.36",
      GCC10,
      /glibc 2.99/,
      /use a newer system/,
    ],
    [
      "packed relocations",
      library(["GLIBC_2.4", "GLIBC_ABI_DT_RELR"]),
      "2.35",
      GCC10,
      /glibc 2.36, this system has 2.35/,
      /Debian 13, Ubuntu 24.04/,
    ],
    ["private names say nothing", library(["GLIBC_PRIVATE", "GLIBC_2.4"]), "2.31", GCC10, null, /^$/],
    [
      "another processor",
      library(["GLIBC_2.4"], [], 40),
      "2.36",
      GCC10,
      /it is built for machine 40, this machine is/,
      /use a build for/,
    ],
  ])("%s", (_name, facts, glibc, stdcpp, what, hint) => {
    const problem = problemOf("it", facts, { glibc, stdcpp });
    if (what === null) expect(problem).toBeNull();
    else expect(problem).toEqual({ what: expect.stringMatching(what), hint: expect.stringMatching(hint) });
  });

  test("this system is new enough for what it has loaded", () => {
    for (const path of libraries) expect(() => requireSystem("it", path)).not.toThrow();
    expect(libcVersion()).toMatch(/^2\.\d+$/);
  });

  test("the C library that a file needs comes from its symbols, not from texts in it", () => {
    const path = join(scratchFolder(), "with-text.so");
    writeFileSync(path, Buffer.concat([readFileSync(llama), Buffer.from("\0GLIBC_2.99\0")]));
    expect(glibcNeeded(path)).toBe(newest(readElf(llama)!.needs.get("libc.so.6")!, "GLIBC_"));
    expect(glibcNeeded(path)).toMatch(/^2\.\d+$/);
    for (const none of ["", scratchFolder(), join(scratchFolder(), "nowhere.so")])
      expect(glibcNeeded(none)).toBe("");
  });

  test("versions are numbers, not texts", () => {
    expect(newest(["GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.9"], "GLIBC_")).toBe("2.34");
    expect(newest(["GLIBCXX_3.4", "GLIBCXX_3.4.9"], "GLIBCXX_")).toBe("3.4.9");
    expect(newest(["GLIBC_PRIVATE"], "GLIBC_")).toBe("");
  });
});
