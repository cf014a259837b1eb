// tts doctor as a user runs it: a whole report, broken libraries and folders, exit statuses, and no use of a
// network.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { runChild } from "../../src/child.ts";
import { describeFolder, type Facts } from "../../src/cli/doctor/_facts.ts";
import { type Problem, problemsOf } from "../../src/cli/doctor/_problems.ts";
import { reportOf } from "../../src/cli/doctor/_report.ts";
import { describeBoard } from "../../src/machine/board.ts";
import { describeLibrary, describeNpu } from "../../src/machine/libraries.ts";
import { KNOWN_MODELS, modelFolder } from "../../src/models/catalog.ts";
import { rk3588, rootWith } from "../_board.ts";
import { compiler, compileStandIns, compileText } from "../_standins.ts";
import { newFolder, shell } from "./_tts.ts";

type Answer = Facts & { ready: boolean; problems: Problem[] };

/** Requests that the hub has got. */
let asked = 0;
const hub = Bun.serve({
  port: 0,
  fetch: () => {
    asked++;
    return new Response("", { status: 404 });
  },
});
afterAll(() => hub.stop(true));

/** Leaves the program one core, if there are more. */
const pinned = availableParallelism() > 1 && Bun.which("taskset") !== null ? "taskset -c 0" : "";
/**
 * Facts of a machine on which all is well, and of the same with one core and a few faults that are no reason
 * to fail. Each is collected once.
 */
let [answer, worse] = [{} as Answer, {} as Answer];
let folder = "";
beforeAll(async () => {
  folder = newFolder();
  const settings = `TTS_CACHE=${folder}/cache TTS_VOICES=${folder}/voices HF_ENDPOINT=http://127.0.0.1:${hub.port} HF_TOKEN=secret-word`;
  answer = await examine(settings, "$TTS doctor --json");
  const cache = newFolder();
  const part = join(modelFolder(cache, KNOWN_MODELS["0.6b-base"].hub), "0123456789abcdef");
  mkdirSync(part, { recursive: true });
  writeFileSync(join(part, "config.json"), "{}".padEnd(5_000));
  worse = await examine(
    `TTS_CACHE=${cache} TTS_VOICES=/proc/nothing HF_ENDPOINT=somewhere`,
    `${pinned} $TTS doctor --json`,
  );
});

async function examine(settings: string, command: string): Promise<Answer> {
  const { status, stderr, stdout } = await shell(`${settings} ${command}`, folder);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(textOf(stdout));
}

/** Decodes what {@link shell} read as bytes, because a report has characters beyond ASCII. */
const textOf = (stdout: string) => Buffer.from(stdout, "latin1").toString("utf8");

/** The shape of a value: objects key by key, lists by their first entry. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, shapeOf(entry)]));
}

describe("a machine that works", () => {
  test("says everything in one object, with the same keys everywhere", () => {
    const library = {
      name: "string",
      path: "string",
      version: "string",
      glibcNeeded: "string",
      failure: "null",
    };
    const place = { path: "string", writable: "boolean", reason: "string", freeBytes: "number" };
    const weights = { f32: "number", q8_0: "number", q4_0: "number" };
    expect(shapeOf(answer)).toMatchObject({
      ready: "boolean",
      program: { tts: "string", bun: "string" },
      machine: {
        cpu: "string",
        arch: "string",
        kernel: "string",
        cores: "number",
        memoryMb: "number",
        glibc: "string",
      },
      board: {
        model: "string",
        chip: "string",
        presentCores: "number",
        kinds: [{ name: "string", cores: ["number"], capacity: "number", fast: "boolean" }],
        memory: {
          totalBytes: "number",
          availableBytes: "number",
          swapBytes: "number",
          swapFreeBytes: "number",
        },
      },
      measured: {
        threads: "number",
        promptThreads: "number",
        bandwidthBytesPerSecond: "number",
        speed: { weights, prompt: "number", vocoder: "number", callMs: "number" },
        othersShare: "number",
        failure: "string",
      },
      libraries: [library],
      npus: [{ name: "string", driver: "string", problem: "string", hint: "string", present: "boolean" }],
      npuFolders: [],
      folders: { cache: place, voices: place },
      hub: { endpoint: "string", offline: "boolean", token: "boolean", problem: "string", hint: "string" },
      models: [{ name: "string", here: "string" }],
      forecasts: [
        {
          models: ["string"],
          weights: "string",
          rtf: "number",
          firstSoundMs: "number",
          msPerFrame: { talker: "number", predictor: "number", vocoder: "number" },
          bytesPerFrame: "number",
          memoryBytes: "number",
          conversionBytes: "number",
          fitsMemory: "boolean",
          diskBytes: "number",
          fitsDisk: "boolean",
        },
      ],
    });
    expect(answer.libraries.map(({ name }) => name)).toEqual(["llama", "onnxruntime"]);
    expect(answer.npus.map(({ name }) => name)).toEqual(["rknn", "axcl", "axEngine"]);
    const groundless = answer.npus.filter(
      ({ devices, library, present }) => present && library === null && devices.length === 0,
    );
    expect(answer.board.chip === "" ? groundless : []).toEqual([]);
    expect(answer.ready).toBeTrue();
  });

  test("forecasts every model of the catalog before it is here", () => {
    expect(answer.forecasts?.flatMap(({ models }) => models)).toEqual([
      "starter",
      ...Object.keys(KNOWN_MODELS),
    ]);
    const [starter, small, large] = answer.forecasts!;
    expect(starter.rtf).toBeGreaterThan(0);
    expect(small.rtf).toBeGreaterThan(2 * starter.rtf);
    expect(large.rtf).toBeGreaterThan(small.rtf);
    expect(large.memoryBytes).toBeGreaterThan(small.memoryBytes);
  });

  test("uses no network, shows no token and leaves nothing behind", () => {
    expect(asked).toBe(0);
    expect(answer.hub).toMatchObject({ token: true, endpoint: `http://127.0.0.1:${hub.port}` });
    expect(JSON.stringify(answer)).not.toContain("secret-word");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("fits its report on a screen, without a word about problems that are not there", () => {
    const npus = answer.npus.map((npu) => ({ ...npu, present: false }));
    const quiet = { ...answer, npus, measured: { ...answer.measured, othersShare: 0 } };
    const problems = problemsOf(quiet);
    expect(problems).toEqual([]);
    const report = reportOf(quiet, problems, false);
    expect(report.split("\n").length).toBeLessThan(50);
    for (const name of [
      "machine",
      "cores",
      "memory",
      "libraries",
      "NPU",
      "folders",
      "hub",
      "players",
      "models",
      "forecast",
      "problems",
    ]) {
      expect(report).toMatch(new RegExp(`^${name} `, "m"));
    }
    expect(report).toMatch(/^NPU +no NPU found$/m);
    expect(report).toMatch(/^problems +none$/m);
    const verbose = reportOf(quiet, problems, true);
    expect(verbose.split("\n").length).toBeGreaterThan(report.split("\n").length);
  });

  test("shows unequal cores apart, and which of them compute", () => {
    const board = describeBoard(rootWith(rk3588()));
    const lines = reportOf({ ...answer, board }, [], false).split("\n");
    expect(lines[0]).toStartWith("machine    FriendlyElec CM3588 NAS: Linux ");
    expect(lines.slice(1, 4)).toEqual([
      "cores      4-7  4 × Cortex-A76  2.3 GHz ondemand  L1 64 kB, L2 512 kB, L3 3 MB for 8  fast: these compute",
      "           0-3  4 × Cortex-A55  1.8 GHz ondemand  L1 32 kB, L2 128 kB, L3 3 MB for 8  slow: left to others",
      "           asimdhp asimddp",
    ]);
  });

  test.skipIf(pinned === "")("knows which cores this process may use", () => {
    const { board, measured } = worse;
    expect(board.kinds.flatMap(({ cores }) => cores)).toEqual([0]);
    expect(board.presentCores).toBeGreaterThan(1);
    expect(measured.threads).toBe(1);
    expect(reportOf({ ...answer, board }, [], false)).toContain("this process may use 1 of ");
  });
});

describe("what stands in the way", () => {
  test("a library that is not there and a folder that cannot be written: the first gives the status, both are in the report", async () => {
    writeFileSync(join(folder, "file"), "");
    const { status, stderr, stdout } = await shell(
      `TTS_LIBLLAMA=${folder}/nothing.so TTS_CACHE=${folder}/file/cache $TTS doctor`,
      folder,
    );
    expect(status).toBe(4);
    expect(stderr).toBe(
      `tts: this machine cannot speak yet: libllama (libllama.v0.5.0.so) was not found; tried ${folder}/nothing.so; correct TTS_LIBLLAMA\n`,
    );
    expect(stdout).toContain("libllama      DOES NOT WORK");
    expect(stdout).toContain("ONNX Runtime  1.");
    expect(textOf(stdout)).toMatch(
      /✗ libllama .* was not found; tried .*\n +→ correct TTS_LIBLLAMA\n +✗ .*\/file\/cache cannot be written: .*\n +→ .*TTS_CACHE/,
    );
  });

  test("a cache that cannot be written, where no model is prepared, is status 5", () => {
    writeFileSync(join(folder, "file"), "");
    const broken = {
      ...answer,
      folders: { ...answer.folders, cache: describeFolder(join(folder, "file/cache")) },
    };
    expect(problemsOf(broken)[0]).toMatchObject({ code: "OUTPUT_FAILED", serious: true });
    const bundles = [{ weights: "f32", directory: "/there", bytes: 1, fault: "" }];
    const prepared = { ...broken, models: [{ ...answer.models[0], bundles }] };
    expect(problemsOf(prepared)[0]).toMatchObject({ code: "OUTPUT_FAILED", serious: false });
  });

  test("a bundle that is damaged does not speak at once", () => {
    const bundles = [
      { weights: "f32", directory: "/there", bytes: 1, fault: "/there/talker.gguf is no GGUF file" },
    ];
    const damaged = { ...answer, models: [{ ...answer.models[0], bundles }] };
    const problem = problemsOf(damaged).find(({ code }) => code === "BUNDLE_INVALID");
    expect(problem).toMatchObject({ serious: false, what: expect.stringContaining("talker.gguf") });
    const lines = reportOf(damaged, problemsOf(damaged), false).split("\n");
    expect(lines.find((line) => /starter .* s /.test(line))).toContain("is made again first");
    expect(lines.find((line) => line.startsWith("models"))).toContain("f32 0.0 MB unusable");
  });

  test("libraries that load and cannot compute", () => {
    const measured = { ...answer.measured, speed: null, failure: "it ended its process (SIGILL)" };
    const broken = { ...answer, measured, forecasts: null };
    const [problem] = problemsOf(broken);
    expect(problem).toMatchObject({ code: "LIBRARY_FAILED", serious: true });
    expect(problem.what).toEndWith("failed: it ended its process (SIGILL)");
    expect(reportOf(broken, [problem], false)).toContain("forecast   none: the libraries have to work first");
  });

  test("a folder that is not there yet is tried beside it and not made", () => {
    const path = join(folder, "one/two");
    expect(describeFolder(path)).toMatchObject({ path, writable: true, reason: "" });
    expect(existsSync(join(folder, "one"))).toBeFalse();
    expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("a model in part, wrong settings of the hub and a voice folder that cannot be written: no reason to fail", () => {
    expect(worse.ready).toBeTrue();
    const found = worse.problems.map(({ code, todo, what }) => ({ code, todo, what }));
    expect(found).toContainEqual({
      code: "MODEL_NOT_HERE",
      what: "0.6b-base is here in part",
      todo: "tts pull 0.6b-base",
    });
    expect(found).toContainEqual({
      code: "USAGE",
      what: 'HF_ENDPOINT is "somewhere"',
      todo: "give an address such as https://huggingface.co",
    });
    const [voices] = found.filter(({ code }) => code === "OUTPUT_FAILED");
    expect(voices.what).toStartWith("/proc/nothing cannot be written: ");
    expect(voices.todo).toContain("set TTS_VOICES");
  });

  test("each finding says what to do", () => {
    const [kind] = answer.board.kinds;
    const bad: Facts = {
      ...answer,
      machine: { ...answer.machine, arch: "arm64" },
      measured: { ...answer.measured, othersShare: 0.5 },
      board: {
        ...answer.board,
        cpuLimit: 0.5,
        kinds: [{ ...kind, fast: true, capacity: 530, governor: "powersave" }],
        memory: { ...answer.board.memory, availableBytes: 50e6, swapBytes: 0 },
      },
      folders: { ...answer.folders, cache: { ...answer.folders.cache, freeBytes: 1e6 } },
      npus: answer.npus.map((npu) => ({
        ...npu,
        present: true,
        problem: "no driver",
        hint: "load it",
        warnings: ["card 0 has 105 °C: cool it"],
      })),
      forecasts: answer.forecasts!.map((forecast) => ({ ...forecast, fitsMemory: false })),
    };
    const problems = problemsOf(bad);
    expect(problems.every(({ serious, todo }) => !serious && todo !== "")).toBeTrue();
    const report = reportOf(bad, problems, false);
    for (const word of [
      "50 % of all cores",
      "slow cores only",
      "0.5 cores",
      "powersave",
      "50 MB of memory are free",
      "1 MB left",
      "AXERA card",
    ]) {
      expect(report).toContain(word);
    }
    expect(report).toContain("! AXERA card (AXCL): card 0 has 105 °C\n    → cool it\n");
    expect(report).toContain("does not fit into the free memory");
    expect(report.split("\n").length).toBeLessThan(75);
  });

  test("an argument is refused", async () => {
    expect((await shell("$TTS doctor now", folder)).status).toBe(2);
  });
});

describe("libraries are tried in a process of their own", () => {
  const npu = { rknn: "", axcl: "", axEngine: "" };
  const describeWith = (libraries: { llama?: string; onnxruntime?: string }) => {
    const name = libraries.llama === undefined ? "onnxruntime" : "llama";
    return describeLibrary(name, {
      allowStandIn: false,
      libraries: { llama: "", onnxruntime: "", ...npu, ...libraries },
    });
  };

  test("one that works tells its version and the C library that it needs", async () => {
    const { failure, glibcNeeded, path, version } = await describeWith({ llama: "" });
    expect(failure).toBeNull();
    expect(version).toStartWith("0.5.0-dev (ggml ");
    expect(path).toEndWith("/libllama.v0.5.0.so");
    expect(glibcNeeded).toMatch(/^2\.\d+$/);
  });

  test("a file that is no library, and another library", async () => {
    const path = join(newFolder(), "text.so");
    writeFileSync(path, "not a library");
    expect((await describeWith({ llama: path })).failure).toMatchObject({ code: "LIBRARY_MISMATCH" });
    const { path: other } = await describeWith({ onnxruntime: "" });
    expect((await describeWith({ llama: other })).failure).toMatchObject({ code: "LIBRARY_MISMATCH" });
  });

  test("files that are missing beside it", async () => {
    const { path } = await describeWith({ llama: "" });
    const lonely = join(newFolder(), "libllama.v0.5.0.so");
    symlinkSync(path, lonely);
    const { failure } = await describeWith({ llama: dirname(lonely) });
    expect(failure?.code).toBeOneOf(["LIBRARY_MISSING", "LIBRARY_MISMATCH"]);
  });

  if (compiler === null)
    console.info("doctor: no C compiler: libraries that crash or hang, and stand-ins, are not tested");
  /** A library that runs the C code `does` when it is loaded. */
  function libraryThat(name: string, does: string): string {
    const source = `#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n__attribute__((constructor)) static void start(void) { ${does} }\n`;
    return compileText(join(newFolder(), name), source);
  }

  test.skipIf(compiler === null)("one that hangs is ended", async () => {
    const onnxruntime = libraryThat("hanging.so", "for (;;) pause();");
    const job = { name: "onnxruntime", libraries: { llama: "", onnxruntime, ...npu }, allowStandIn: false };
    const late = await runChild("library", job, 500).catch((error) => error);
    expect(late).toMatchObject({ code: "STAGE_TIMEOUT", message: "no answer within 0.5 s" });
  });

  test.skipIf(compiler === null)("a stand-in for an NPU's is told from the real one", async () => {
    const libraries = { llama: "", onnxruntime: "", ...npu, rknn: compileStandIns().rknn };
    const refused = await describeNpu("rknn", { libraries, allowStandIn: false });
    expect(refused).toMatchObject({ library: null });
    expect(refused.problem).toContain("is a stand-in for");
    const allowed = await describeNpu("rknn", { libraries, allowStandIn: true });
    expect(allowed).toMatchObject({ problem: "", library: { path: libraries.rknn } });
    const npus = [{ ...refused, present: true }];
    const [problem] = problemsOf({ ...answer, measured: { ...answer.measured, othersShare: 0 }, npus });
    expect(problem).toMatchObject({ code: "NPU_UNAVAILABLE", serious: false });
    expect(problem.what).toStartWith("Rockchip NPU (RKNN): ");
    expect(reportOf({ ...answer, npus }, [problem], false)).toContain(
      "NPU        Rockchip NPU (RKNN): no library",
    );
  });

  test.skipIf(compiler === null)("one that crashes harms nobody", async () => {
    const crashing = libraryThat("crashing.so", 'fputs("I give up\\n", stderr); abort();');
    const facts = await describeWith({ onnxruntime: crashing });
    expect(facts).toMatchObject({ path: crashing, version: "", failure: { code: "LIBRARY_FAILED" } });
    expect(facts.failure?.message).toMatch(
      /ended its process \((SIGABRT|SIGILL|SIGTRAP)\), and said: I give up$/,
    );
    const [problem] = problemsOf({ ...answer, libraries: [answer.libraries[0], facts] });
    expect(problem).toMatchObject({ code: "LIBRARY_FAILED", serious: true });
    expect(problem.what).toStartWith(`ONNX Runtime (${crashing}) does not load: it ended its process`);
    expect(problem.todo).toBe("unset TTS_LIBONNXRUNTIME, or point it to another build");
  });
});

test("models for an NPU: the report forecasts their share, and a newer toolkit or another chip is a problem", () => {
  const share = { multiplications: 0.9, bytesPerFrame: 2e6, leastCpuOperators: 3, leastMs: 0.2, cpuMs: 8 };
  const known = { path: "/f", target: "rknn", chip: "rk3588", toolkit: "2.5.0", share } as const;
  const npus = answer.npus.map((npu) =>
    npu.name === "rknn" ? { ...npu, library: { path: "/l", version: "2.3.2 (429f97ae6b)" } } : npu,
  );
  const facts = {
    ...answer,
    npus,
    npuFolders: [{ ...known, problem: "it is for another chip", hint: "again" }],
  };
  const found = problemsOf(facts).filter(({ code }) => code === "NPU_MODEL_INVALID");
  expect(found).toEqual([
    expect.objectContaining({ what: "it is for another chip", todo: "again", serious: false }),
    expect.objectContaining({
      what: "/f was built by toolkit 2.5.0, which is newer than the library here, 2.3.2 (429f97ae6b)",
    }),
  ]);
  expect(reportOf(facts, [], false)).toContain(`NPU models /f: for rk3588, toolkit 2.5.0
             forecast: 90 % of the vocoder's multiply-adds, 2.0 MB a frame, at least 3 operators of a run on the CPU
             at least 0.2 ms a frame; this CPU takes about 8.0
`);
  const older = { ...facts, npuFolders: [{ ...known, toolkit: "2.3.2", problem: "", hint: "" }] };
  expect(problemsOf(older).filter(({ code }) => code === "NPU_MODEL_INVALID")).toEqual([]);
});
