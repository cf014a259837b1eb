// AXERA's NPU on the chip itself against the stand-ins for its two libraries: layouts, opening, running,
// states of lanes, everything that can go wrong, and leaks. The stand-ins' memory is not coherent: a
// forgotten flush or invalidation gives wrong numbers.

import { dlopen } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setEnvironment } from "../../../ffi/libc.ts";
import { type Layout, Struct } from "../../../ffi/load/struct.ts";
import {
  ENGINE_SYMBOLS,
  IO,
  IO_BUFFER,
  IO_INFO,
  IO_META,
  NPU_ATTR,
  SYS_SYMBOLS,
} from "../../../ffi/npu/_ax-engine-abi.ts";
import {
  type AxCall,
  type AxNpuFacts,
  axError,
  axNpuFacts,
  deviceProblem,
} from "../../../ffi/npu/_ax-engine-device.ts";
import { loadAxEngine, openAxEngineModel } from "../../../ffi/npu/ax-engine.ts";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import type { TtsError } from "../../../src/errors.ts";
import { compiler, compileStandIns, containerOf, noCompiler, standInEnvironment } from "../../_standins.ts";
import { scratchFolder } from "../../_support.ts";
import {
  AX_ENGINE,
  compile,
  doublingGraph,
  type Failure,
  fileOf,
  inputAt,
  layoutsInC,
  liveObjects,
  loadFailure,
  modelFile,
  runOf,
  standInsOf,
  statefulGraph,
  statefulOptions,
  storyOf,
} from "./_card.ts";
import { findingCases, modelCases, refusalCases } from "./_cases.ts";

const USABLE: AxNpuFacts = { node: { path: "/dev/npu", exists: true, usable: true }, isHost: false };
const ABSENT: AxNpuFacts = { node: { path: "/dev/npu", exists: false, usable: false }, isHost: false };

const story = (runs: number, faults: string) =>
  storyOf(AX_ENGINE, modelFile(AX_ENGINE, "story"), runs, { ...standInEnvironment(), TTS_NPU_FAULT: faults });

describe.skipIf(compiler === null)(`layouts in C${noCompiler}`, () => {
  test.each<[string, Layout]>([
    ["AX_ENGINE_NPU_ATTR_T", NPU_ATTR],
    ["AX_ENGINE_IOMETA_T", IO_META],
    ["AX_ENGINE_IO_INFO_T", IO_INFO],
    ["AX_ENGINE_IO_BUFFER_T", IO_BUFFER],
    ["AX_ENGINE_IO_T", IO],
  ])("%s has this size and these fields", (name, layout) => {
    const { fields, size } = layoutsInC().get(name)!;
    expect({ size, fields } as unknown).toEqual({ size: layout.size, fields: layout.fields });
  });
});

describe("what a code means", () => {
  const call: AxCall = {
    call: "AX_ENGINE_CreateHandle",
    code: 0,
    running: false,
    model: { path: "/m/vocoder.axmodel", bytes: 4711 },
    version: "libax_engine 1.45.0",
    tools: "Pulsar2 5.0",
    mode: "divided",
  };
  test.each<[number, string, string, string]>([
    [0x80060081, "the handle is not valid", "LIBRARY_FAILED", "report it"],
    [0x80060082, "the task failed", "NPU_UNAVAILABLE", "dmesg"],
    [0x80060084, "an argument is wrong", "LIBRARY_FAILED", "report it"],
    [0x80060085, "no memory left", "NPU_UNAVAILABLE", "CMM"],
    [0x80060086, "the model is empty", "NPU_MODEL_INVALID", "again"],
    [
      0x80060087,
      "could not be made",
      "NPU_MODEL_INVALID",
      "newer Pulsar2 than this libax_engine 1.45.0 knows, or needs more cores than an NPU that is divided has",
    ],
    [0x80060088, "no usable name", "NPU_MODEL_INVALID", "Pulsar2"],
    [0x8006008a, "the graph failed", "NPU_MODEL_INVALID", "Pulsar2"],
    [0x8006008b, "did not end in time", "NPU_UNAVAILABLE", "dmesg"],
    [0x80060012, "nothing was initialised", "LIBRARY_FAILED", "report it"],
    [0x800b000a, "SYS: an argument is wrong", "LIBRARY_FAILED", "report it"],
    [0x800b000b, "SYS: a pointer is null", "LIBRARY_FAILED", "report it"],
    [0x800b0010, "SYS: the driver is not ready", "NPU_UNAVAILABLE", "drivers"],
    [0x800b0011, "SYS: it is busy", "NPU_UNAVAILABLE", "close other programs"],
    [0x800b0015, "SYS: it is not permitted", "NPU_UNAVAILABLE", "/dev/npu"],
    [0x800b0018, "SYS: there is no memory left", "NPU_UNAVAILABLE", "CMM"],
    [0x800b0027, "SYS: it did not end in time", "NPU_UNAVAILABLE", "dmesg"],
    [0x800b0029, "SYS: a code this program does not know", "LIBRARY_FAILED", "dmesg"],
    [0x800b0080, "SYS: memory could not be mapped", "NPU_UNAVAILABLE", "CMM"],
    [0x800b0081, "SYS: memory could not be unmapped", "NPU_UNAVAILABLE", "dmesg"],
    [0x800b0082, "SYS: memory could not be freed", "NPU_UNAVAILABLE", "dmesg"],
  ])("%d", (unsigned, means, expected, hint) => {
    const code = unsigned | 0; // as C returns it
    const error = axError({ ...call, code }, USABLE);
    expect(error.code).toBe(expected as TtsError["code"]);
    expect(error.hint).toContain(hint);
    const name = `0x${unsigned.toString(16).toUpperCase()}`;
    for (const part of [
      "AX_ENGINE_CreateHandle",
      name,
      means,
      "/m/vocoder.axmodel",
      "4711 bytes, made by Pulsar2 5.0",
      "libax_engine 1.45.0",
    ]) {
      expect(error.message).toContain(part);
    }
    expect(`${error.message}${error.hint}`).not.toContain("\n");
    expect(axError({ ...call, code, running: true }, USABLE).code).toBe("NPU_FAILED");
  });

  test("before a model is opened, a missing device is the reason", () => {
    const begin = { ...call, call: "AX_ENGINE_Init", code: 0x80060087 | 0, model: null };
    const missing = axError(begin, ABSENT);
    expect(missing.code).toBe("NPU_UNAVAILABLE");
    expect(missing.message).toContain("/dev/npu does not exist");
    expect(axError(begin, { ...ABSENT, isHost: true }).hint).toContain("axcl");
    const forbidden = axError(begin, { ...USABLE, node: { ...USABLE.node, usable: false } });
    expect(forbidden.message).toContain("may not read and write /dev/npu");
    expect(forbidden.hint).toContain("group");
  });
});

describe("what the system says", () => {
  const root = join(scratchFolder(), "system-ax");
  beforeAll(() => mkdirSync(join(root, "dev"), { recursive: true }));

  test("a chip, a host and a machine that has nothing to do with it", () => {
    expect(deviceProblem(axNpuFacts(root)).problem).toContain("does not exist");
    writeFileSync(join(root, "dev/axcl_host"), "");
    expect(deviceProblem(axNpuFacts(root)).hint).toContain("axcl");
    writeFileSync(join(root, "dev/npu"), "");
    expect(deviceProblem(axNpuFacts(root))).toEqual({ problem: "", hint: "" });
    expect(deviceProblem(axNpuFacts(root, () => false)).problem).toContain("may not read and write");
  });
});

describe.skipIf(compiler === null)(`AXERA's NPU on the chip${noCompiler}`, () => {
  let engine: ReturnType<typeof dlopen<typeof ENGINE_SYMBOLS>>["symbols"];
  let sys: ReturnType<typeof dlopen<typeof SYS_SYMBOLS>>["symbols"];
  const path = modelFile(AX_ENGINE, "one");
  const live = () => liveObjects(AX_ENGINE);

  beforeAll(() => {
    for (const [name, value] of Object.entries(standInEnvironment())) setEnvironment(name, value);
    loadOnnxRuntime();
    const { axEngine } = compileStandIns();
    expect(loadAxEngine({ override: axEngine, allowStandIn: true })).toEqual({
      path: axEngine,
      version: AX_ENGINE.version,
    });
    const [enginePath, sysPath] = standInsOf(AX_ENGINE);
    engine = dlopen(enginePath, ENGINE_SYMBOLS).symbols;
    sys = dlopen(sysPath, SYS_SYMBOLS).symbols;
  });

  modelCases(AX_ENGINE, import.meta.path);

  test("the engine stays up until the last model is closed", () => {
    const [first, second] = [0, 1].map(() => openAxEngineModel(statefulOptions(path)));
    first.close();
    expect(live()).toEqual([2, 6]); // the engine and a model; its tensors
    second.close();
    expect(live()).toEqual([0, 0]);
  });

  test("an engine that is up already, in another mode, is used as it is and stays up", () => {
    expect(sys.AX_SYS_Init()).toBe(0);
    expect(engine.AX_ENGINE_Init(new Struct(NPU_ATTR).set("eHardMode", 2).bytes)).toBe(0);
    const opened = openAxEngineModel(statefulOptions(path));
    expect(runOf(opened, 0, inputAt(0))).toHaveLength(6);
    opened.close();
    expect(live()).toEqual([1, 0]);
    expect(engine.AX_ENGINE_Deinit()).toBe(0);
    for (let begun = 0; begun < 2; begun++) expect(sys.AX_SYS_Deinit()).toBe(0); // here and by the model
  });

  refusalCases(AX_ENGINE, [
    ["that is missing", () => join(scratchFolder(), "no.axmodel"), "does not exist", "build it"],
    [
      "that is a Git LFS pointer",
      () => fileOf("lfs.axmodel", "version https://git-lfs.github.com/spec/v1\n"),
      "Git LFS pointer",
      "git lfs pull",
    ],
    [
      "that is cut off",
      () => fileOf("cut.axmodel", containerOf(statefulGraph(), "ax").slice(0, -9)),
      "0x80060087",
      "damaged",
    ],
    [
      "of another vendor",
      () => fileOf("rknn.axmodel", containerOf(statefulGraph(), "rknn")),
      "0x80060087",
      "damaged",
    ],
    [
      "for another chip",
      () => modelFile(AX_ENGINE, "other", statefulGraph(), { platform: 620 }),
      "0x80060087",
      "another chip",
    ],
    [
      "of a newer compiler",
      () => modelFile(AX_ENGINE, "newer", statefulGraph(), { toolkit: 60000 }),
      "0x80060087",
      "newer Pulsar2",
    ],
    [
      "that is quantised",
      () => modelFile(AX_ENGINE, "u16", statefulGraph(), { quantised: true }),
      "[1,2,3] is u16",
      "f32 inputs and outputs",
    ],
    [
      "without the states asked for",
      () => modelFile(AX_ENGINE, "stateless", doublingGraph([1, 6])),
      "state.sum is missing",
      "build the model again",
    ],
  ]);

  test("four dimensions are as good as three", () => {
    const opened = openAxEngineModel(
      statefulOptions(modelFile(AX_ENGINE, "four", doublingGraph([1, 2, 1, 3])), 1, []),
    );
    expect(runOf(opened, 0, [1, 2, 3, 4, 5, 6])).toEqual([2, 4, 6, 8, 10, 12]);
    opened.close();
  });

  test.each<[string, string, string, string]>([
    [
      "without drivers",
      "AX_SYS_Init:0x800B0010:1",
      "NPU_UNAVAILABLE",
      "AX_SYS_Init gave 0x800B0010 (SYS: the driver is not ready)",
    ],
    ["without a device", "AX_ENGINE_Init:0x80060087:1", "NPU_UNAVAILABLE", "/dev/npu does not exist"],
    [
      "without memory",
      "AX_SYS_MemAllocCached:0x800B0018:3",
      "NPU_UNAVAILABLE",
      "AX_SYS_MemAllocCached of 8 bytes for input state.steps",
    ],
    [
      "without a context",
      "AX_ENGINE_CreateContext:0x80060081:1",
      "LIBRARY_FAILED",
      "AX_ENGINE_CreateContext gave 0x80060081",
    ],
    [
      "without a description",
      "AX_ENGINE_GetIOInfo:0x8006008A:1",
      "NPU_MODEL_INVALID",
      "made by Pulsar2 stand-in",
    ],
  ])("opening fails %s and leaves nothing behind", (_, faults, code, what) => {
    const { live: left, opened } = story(1, faults);
    expect((opened as Failure).code).toBe(code);
    expect((opened as Failure).message).toContain(what);
    expect(left).toEqual([0, 0]);
  });

  test.each<[string, string, string]>([
    ["vanishes", "AX_ENGINE_RunSync:gone:3", "0x80060082"],
    ["does not answer in time", "AX_ENGINE_RunSync:0x8006008B:3", "0x8006008B"],
    ["cannot be flushed to", "AX_SYS_MflushCache:0x800B000A:13", "AX_SYS_MflushCache gave 0x800B000A"],
  ])("a device that %s between runs fails the runs, not the state", (_, faults, what) => {
    const { live: left, runs, steps } = story(4, faults);
    expect(runs.slice(0, 2)).toEqual(["ok", "ok"]);
    for (const failed of runs.slice(2) as Failure[]) {
      expect(failed.code).toBe("NPU_FAILED");
      expect(failed.message).toContain(what);
    }
    expect(steps).toEqual([2, 2]);
    expect(left).toEqual([0, 0]);
  });

  test("a device that computes nonsense gives no error: only the values show it", () => {
    const { output, runs } = story(1, "AX_ENGINE_RunSync:garbage:1");
    expect(runs).toEqual(["ok"]);
    expect(output).not.toEqual(Array(6).fill("0"));
  });

  test("the stand-ins refuse what real ones refuse", () => {
    const out = new BigUint64Array(new ArrayBuffer(8));
    const attr = new Struct(NPU_ATTR);
    const bytes = containerOf(statefulGraph(), "ax");
    const [physical, at] = [new BigUint64Array(new ArrayBuffer(8)), new BigUint64Array(new ArrayBuffer(8))];
    const token = Buffer.from("t\0");
    const unsigned = (code: number) => code >>> 0;
    expect(unsigned(engine.AX_ENGINE_GetVNPUAttr(attr.bytes))).toBe(0x80060081); // not initialised
    expect(unsigned(engine.AX_ENGINE_CreateHandle(out, bytes, bytes.length))).toBe(0x80060084);
    expect(unsigned(engine.AX_ENGINE_Init(attr.bytes))).toBe(0x80060087); // SYS comes first
    expect(unsigned(sys.AX_SYS_MemAllocCached(physical, at, 24, 128, token))).toBe(0x800b0010);
    expect(sys.AX_SYS_Init()).toBe(0);
    expect(engine.AX_ENGINE_Init(attr.bytes)).toBe(0);
    // another mode
    expect(unsigned(engine.AX_ENGINE_Init(new Struct(NPU_ATTR).set("eHardMode", 1).bytes))).toBe(0x80060087);
    expect(engine.AX_ENGINE_CreateHandle(out, bytes, bytes.length)).toBe(0);
    const handle = Number(out[0]) as never;
    expect(unsigned(engine.AX_ENGINE_RunSync(handle, new Struct(IO).bytes))).toBe(0x80060081); // no context
    expect(engine.AX_ENGINE_CreateContext(handle)).toBe(0);
    expect(unsigned(engine.AX_ENGINE_RunSync(handle, new Struct(IO).bytes))).toBe(0x80060084); // no buffers
    expect(sys.AX_SYS_MemAllocCached(physical, at, 24, 128, token)).toBe(0);
    const block = Number(at[0]) as never;
    expect(unsigned(sys.AX_SYS_MflushCache(physical[0], block, 25))).toBe(0x800b000a); // longer than it is
    expect(sys.AX_SYS_MemFree(physical[0], block)).toBe(0);
    expect(unsigned(sys.AX_SYS_MemFree(physical[0], block))).toBe(0x800b0082); // twice
    expect(engine.AX_ENGINE_DestroyHandle(handle)).toBe(0);
    expect(unsigned(engine.AX_ENGINE_DestroyHandle(handle))).toBe(0x80060081);
    expect(engine.AX_ENGINE_Deinit()).toBe(0);
    expect(sys.AX_SYS_Deinit()).toBe(0);
    expect(unsigned(sys.AX_SYS_Deinit())).toBe(0x800b0010);
    expect(live()).toEqual([0, 0]);
  });
});

describe.skipIf(compiler === null)(`finding the libraries${noCompiler}`, () => {
  const functionsOf = (symbols: object, type: string) =>
    Object.keys(symbols)
      .map((name) => `${type} ${name}(void) { return 0; }`)
      .join("\n");
  findingCases(AX_ENGINE);

  test("an engine without its system library is refused", () => {
    mkdirSync(join(scratchFolder(), "alone"), { recursive: true });
    const alone = join(scratchFolder(), "alone/libax_engine.so");
    copyFileSync(compileStandIns().axEngine, alone);
    const missing = loadFailure(AX_ENGINE, alone);
    expect(missing.code).toBe("LIBRARY_MISMATCH");
    expect(missing.message).toContain("libax_sys.so");
    const noSys = loadFailure(
      AX_ENGINE,
      compile("ax-no-sys", "libax_engine.so", functionsOf(ENGINE_SYMBOLS, "void *")),
    );
    expect(noSys.code).toBe("LIBRARY_MISSING");
    expect(noSys.message).toContain("AXERA's system library (libax_sys.so) was not found");
  });

  test("one without the optional function will do", () => {
    const engine = compile("ax-older", "libax_engine.so", functionsOf(ENGINE_SYMBOLS, "void *"));
    compile("ax-older", "libax_sys.so", functionsOf(SYS_SYMBOLS, "int"));
    expect(loadFailure(AX_ENGINE, engine).code).toBe("none");
  });
});
