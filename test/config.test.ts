// Settings: where defaults come from, what they are on machines of several sizes, and which cores are taken.

import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  DEFAULT_WEIGHTS,
  generationThreads,
  inheritedSockets,
  loadConfig,
  loadServerToken,
  threadsFor,
  weightsFor,
  weightTypes,
} from "../src/config.ts";
import { allowedCores, type Core, fastCores, formatCores, parseCores, placementOf } from "../src/cores.ts";
import { rejectionOf, scratchFolder } from "./_support.ts";

test.each([
  [1, 1],
  [2, 2],
  [4, 4],
  [8, 4],
  [64, 4],
])("with %d fast cores talker and predictor share %d threads at most", (cores, threads) => {
  expect(generationThreads(cores)).toBe(threads);
});

test("threads whose number stays the same leave a core to the vocoder", () => {
  const fast = fastCores(allowedCores()).length;
  expect(loadConfig({ threads: 64 }, {}).steadyThreads).toBe(Math.max(fast - 1, 1));
  expect(loadConfig({ threads: 1 }, {}).steadyThreads).toBe(1);
});

test("a narrow talker has one thread, whatever the machine", () => {
  const config = loadConfig({ threads: 3 });
  expect([256, 511, 1_024].map((hidden) => threadsFor(hidden, config).threads)).toEqual([1, 1, 3]);
});

test("flags go before the environment, and the environment before defaults", () => {
  expect(loadConfig({ cacheDir: "/a" }, { TTS_CACHE: "/b" }).cacheDir).toBe("/a");
  expect(loadConfig({}, { TTS_CACHE: "/b", XDG_CACHE_HOME: "/c" }).cacheDir).toBe("/b");
  expect(loadConfig({}, { XDG_CACHE_HOME: "/c" }).cacheDir).toBe("/c/qwen3-tts");
  expect(loadConfig({}, { TTS_CACHE: "~/c", HOME: "/home" }).cacheDir).toBe("/home/c");
  expect(loadConfig({}, { TTS_CACHE: "/a~b", HOME: "/home" }).cacheDir).toBe("/a~b");
});

test("weights: a small checkpoint becomes f32, a larger one the default, and a choice is a choice", () => {
  expect(weightsFor(199e6, {})).toEqual(weightTypes("f32"));
  expect(weightsFor(200e6, {})).toEqual(weightTypes(DEFAULT_WEIGHTS));
  expect(weightsFor(2.5e9, { weights: "q8_0" })).toEqual(weightTypes("q8_0"));
  expect(weightsFor(1e6, { predictorWeights: "q4_0" })).toEqual(weightTypes("f32", "q4_0"));
});

describe("cores", () => {
  const equal = (ids: number[]): Core[] => ids.map((id) => ({ id, capacity: 1024 }));
  /** Four A55 and four A76. */
  const board: Core[] = [0, 1, 2, 3, 4, 5, 6, 7].map((id) => ({ id, capacity: id < 4 ? 414 : 1024 }));
  const anywhere = { talker: [], predictor: [], vocoder: [] };

  test.each([
    ["4-7", [4, 5, 6, 7]],
    ["0", [0]],
    ["7,0-2,1", [0, 1, 2, 7]],
    [" 3 , 5 ", [3, 5]],
  ])("%s is a list", (list, cores) => {
    expect(parseCores(list)).toEqual(cores);
    expect(parseCores(formatCores(cores))).toEqual(cores);
  });

  test.each(["", ",", "4-", "-4", "7-4", "a", "1.5", "0x1", "1024", "99999", "0-1023-2"])(
    '"%s" is no list',
    (list) => {
      expect(() => parseCores(list)).toThrow(/is no list of cores/);
    },
  );

  test("lists are written short", () => {
    expect(formatCores([7, 0, 1, 2, 5])).toBe("0-2,5,7");
    expect(formatCores([])).toBe("");
  });

  test("the cores of this process are those that the kernel names", () => {
    const ids = allowedCores().map(({ id }) => id);
    const { stdout } = Bun.spawnSync(["taskset", "-pc", String(process.pid)]);
    expect(parseCores(stdout.toString().split(":")[1])).toEqual(ids);
  });

  test.each([
    ["capacities", (id: number) => ({ cpu_capacity: id < 4 ? "414\n" : "1024\n" })],
    ["highest clocks", (id: number) => ({ "cpufreq/cpuinfo_max_freq": id < 4 ? "1800000\n" : "2400000\n" })],
  ])("the cores of a board are told apart by %s, also when only some are allowed", (_what, filesOf) => {
    const root = mkdtempSync(join(scratchFolder(), "board-"));
    const write = (path: string, content: string) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    };
    write("proc/self/status", "Name:\tbun\nCpus_allowed_list:\t2-7\n");
    for (let id = 0; id < 8; id++) {
      for (const [name, content] of Object.entries(filesOf(id)))
        write(`sys/devices/system/cpu/cpu${id}/${name}`, content as string);
    }
    const cores = allowedCores(root);
    expect(cores.map(({ id }) => id)).toEqual([2, 3, 4, 5, 6, 7]);
    expect(fastCores(cores).map(({ id }) => id)).toEqual([4, 5, 6, 7]);
  });

  test("a kernel may name cores that will never be there", () => {
    const root = mkdtempSync(join(scratchFolder(), "large-"));
    mkdirSync(join(root, "proc/self"), { recursive: true });
    writeFileSync(join(root, "proc/self/status"), "Cpus_allowed_list:\t0-8191\n");
    expect(allowedCores(root).length).toBe(1024);
    mkdirSync(join(root, "sys/devices/system/cpu"), { recursive: true });
    writeFileSync(join(root, "sys/devices/system/cpu/online"), "0-1,3,4096-8191\n");
    expect(allowedCores(root).map(({ id }) => id)).toEqual([0, 1, 3]);
  });

  test("a container may name other cores than those that may be used", () => {
    const root = mkdtempSync(join(scratchFolder(), "container-"));
    for (const folder of ["proc/self", "sys/devices/system/cpu"])
      mkdirSync(join(root, folder), { recursive: true });
    writeFileSync(join(root, "proc/self/status"), "Cpus_allowed_list:\t6-7\n");
    writeFileSync(join(root, "sys/devices/system/cpu/online"), "0-1\n");
    expect(allowedCores(root).map(({ id }) => id)).toEqual([6, 7]);
  });

  test("equal ones are left to the kernel", () => {
    expect(placementOf({}, equal([0, 1, 2, 3]))).toEqual(anywhere);
    expect(placementOf({}, equal([0]))).toEqual(anywhere);
  });

  test("stages take the fast cores of a board, and the vocoder has one of them", () => {
    expect(placementOf({}, board)).toEqual({ talker: [4, 5, 6, 7], predictor: [4, 5, 7], vocoder: [6] });
    expect(placementOf({}, board.slice(0, 5))).toEqual({ talker: [4], predictor: [4], vocoder: [4] });
    expect(placementOf({}, board.slice(0, 4))).toEqual(anywhere); // under taskset -c 0-3 they are equal
  });

  test("named cores count, for all stages or for one", () => {
    expect(placementOf({ all: [0, 1, 2] }, equal([0, 1, 2, 3]))).toEqual({
      talker: [0, 1, 2],
      predictor: [0, 2],
      vocoder: [1],
    });
    expect(placementOf({ all: [2] }, equal([0, 1, 2, 3]))).toEqual({
      talker: [2],
      predictor: [2],
      vocoder: [2],
    });
    expect(placementOf({ all: [0, 1, 2, 3] }, board)).toEqual({
      talker: [0, 1, 2, 3],
      predictor: [0, 1, 3],
      vocoder: [2],
    });
    expect(placementOf({ vocoder: [0, 1] }, board)).toEqual({
      talker: [4, 5, 6, 7],
      predictor: [4, 5, 7],
      vocoder: [0, 1],
    });
    expect(placementOf({ vocoder: [6] }, board)).toEqual(placementOf({}, board));
    expect(placementOf({ vocoder: [4] }, board)).toEqual({
      talker: [5, 6, 7],
      predictor: [5, 6, 7],
      vocoder: [4],
    });
    expect(placementOf({ vocoder: [6, 7] }, board)).toEqual({
      talker: [4, 5],
      predictor: [4, 5],
      vocoder: [6, 7],
    });
    expect(placementOf({ vocoder: [4, 5, 6, 7] }, board)).toMatchObject({
      talker: [4, 5, 6, 7],
      vocoder: [4, 5, 6, 7],
    });
    expect(placementOf({ talker: [3] }, equal([0, 1, 2, 3]))).toEqual({ ...anywhere, talker: [3] });
  });

  test("more threads than a stage has cores are refused", () => {
    const [core] = allowedCores().map(({ id }) => id);
    expect(() => loadConfig({ threads: 2, cpus: { talker: [core] } }, {})).toThrow(
      "2 threads do not fit on the 1 core of the talker",
    );
    expect(loadConfig({ threads: 1, cpus: { talker: [core] } }, {}).threads).toBe(1);
  });

  test("a stage has no more threads than cores, and the other stage has as many", () => {
    const cores = { talker: [], predictor: [] };
    expect(generationThreads(8, { ...cores, talker: [4] })).toBe(1);
    expect(generationThreads(8, { ...cores, predictor: [4, 5] })).toBe(2);
    expect(generationThreads(4, { talker: [0, 1, 2, 3], predictor: [0, 1, 2, 3] })).toBe(4);
  });

  test("a core that the process may not use is an error", () => {
    expect(() => placementOf({ all: [1, 9] }, equal([1, 2, 3]))).toThrow("this process may not use core 9");
    // as the command line gives it
    const single = { all: undefined, talker: undefined, predictor: undefined, vocoder: [7] };
    expect(() => placementOf(single, equal([1, 2, 3]))).toThrow("this process may not use core 7");
  });
});

test.each([
  ["", 120_000],
  ["2.5", 2_500],
])("TTS_STAGE_TIMEOUT=%s is %d ms", (text, milliseconds) => {
  expect(loadConfig({}, { TTS_STAGE_TIMEOUT: text }).stageTimeoutMs).toBe(milliseconds);
});

test.each(["0", "-1", "x", "1e9"])("TTS_STAGE_TIMEOUT=%s is an error", (text) => {
  expect(() => loadConfig({}, { TTS_STAGE_TIMEOUT: text })).toThrow("TTS_STAGE_TIMEOUT");
});

test("a server's token comes from a file, else from TTS_TOKEN, and is one word", async () => {
  const file = join(scratchFolder(), "token");
  writeFileSync(file, "of-the-file\n");
  expect(await loadServerToken(file, { TTS_TOKEN: "other" })).toBe("of-the-file");
  expect(await loadServerToken(undefined, { TTS_TOKEN: " a-word\n" })).toBe("a-word");
  expect(await loadServerToken(undefined, {})).toBeNull();
  expect(await loadServerToken(undefined, { TTS_TOKEN: "" })).toBeNull();
  const two = await rejectionOf(loadServerToken(undefined, { TTS_TOKEN: "secret word" }));
  expect([two.code, two.inOneLine.includes("secret")]).toEqual(["USAGE", false]);
});

test("sockets are inherited by the process that they were opened for, by their names", () => {
  const handed = (names: string | undefined, count: number, pid = process.pid) =>
    Object.fromEntries(
      inheritedSockets({ LISTEN_PID: `${pid}`, LISTEN_FDS: `${count}`, LISTEN_FDNAMES: names }),
    );
  expect(handed("http:wyoming", 2)).toEqual({ http: 3, wyoming: 4 });
  expect(handed("wyoming", 1)).toEqual({ wyoming: 3 });
  expect(handed("tts.socket", 1)).toEqual({ http: 3 });
  expect(handed(undefined, 1)).toEqual({ http: 3 });
  expect(handed("http", 1, 1)).toEqual({});
  expect(inheritedSockets({}).size).toBe(0);
  expect(() => handed("a:b", 2)).toThrow("LISTEN_FDNAMES");
});
