// AXERA's NPU on the chip itself against the stand-ins for its two libraries: layouts, opening, running, states of lanes, everything that can
// go wrong, and leaks. The stand-ins' memory is not coherent: a forgotten flush or invalidation gives wrong numbers.

import { dlopen } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ENGINE_SYMBOLS, IO, IO_BUFFER, IO_INFO, IO_META, NPU_ATTR, SYS_SYMBOLS } from "../../ffi/_ax-engine-abi.ts";
import { type AxCall, type AxNpuFacts, axError, axNpuFacts, deviceProblem } from "../../ffi/_ax-engine-device.ts";
import { type Layout, Struct } from "../../ffi/_struct.ts";
import { describeAxEngine, loadAxEngine, openAxEngineModel } from "../../ffi/ax-engine.ts";
import { setEnvironment } from "../../ffi/libc.ts";
import type { NpuModel } from "../../ffi/npu.ts";
import { loadOnnxRuntime } from "../../ffi/onnxruntime.ts";
import type { TtsError } from "../../src/errors.ts";
import { type ContainerOptions, compiler, compileStandIns, containerOf, noCompiler, standInEnvironment } from "../_standins.ts";
import { maxDifference, scratchFolder } from "../_support.ts";
import {
  compile,
  doublingGraph,
  type Failure,
  failureOf,
  growthOf,
  inProcess,
  inputAt,
  layoutsInC,
  loadFailure,
  Reference,
  runOf,
  STATES,
  type Story,
  type Subject,
  statefulGraph,
  storyOf,
  testAlone,
} from "./_npu.ts";

const USABLE: AxNpuFacts = { node: { path: "/dev/npu", exists: true, usable: true }, isHost: false };
const ABSENT: AxNpuFacts = { node: { path: "/dev/npu", exists: false, usable: false }, isHost: false };

let subject: Subject;
let libraries: string[];
const fileOf = (name: string, bytes: Uint8Array | string): string => {
  const path = join(scratchFolder(), name);
  writeFileSync(path, bytes);
  return path;
};
const model = (name: string, onnx: Uint8Array, about: ContainerOptions = {}) => fileOf(name, containerOf(onnx, "ax", about));
const options = (path: string, lanes = 1) => ({ path, lanes, states: STATES });
const story = (path: string, runs: number, faults = ""): Story => {
  return storyOf(subject, path, runs, { ...standInEnvironment(), TTS_NPU_FAULT: faults }, libraries);
};

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

  test("before a model is opened, a device that is missing is the reason", () => {
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
  let path: string;
  let engine: ReturnType<typeof dlopen<typeof ENGINE_SYMBOLS>>["symbols"];
  let sys: ReturnType<typeof dlopen<typeof SYS_SYMBOLS>>["symbols"];
  let live: () => number[];

  beforeAll(() => {
    for (const [name, value] of Object.entries(standInEnvironment())) setEnvironment(name, value);
    loadOnnxRuntime();
    const { axEngine, folder } = compileStandIns();
    subject = { module: "ax-engine.ts", load: "loadAxEngine", open: "openAxEngineModel", library: axEngine };
    libraries = [axEngine, join(folder, "libax_sys.so")];
    expect(loadAxEngine({ override: axEngine, allowStandIn: true })).toEqual({ path: axEngine, version: "libax_engine 1.45.0 (stand-in)" });
    path = model("stateful.axmodel", statefulGraph());
    engine = dlopen(libraries[0], ENGINE_SYMBOLS).symbols;
    sys = dlopen(libraries[1], SYS_SYMBOLS).symbols;
    const counters = libraries.map((library) => dlopen(library, { standin_live_objects: { args: [], returns: "i64" } }).symbols);
    live = () => counters.map(({ standin_live_objects }) => Number(standin_live_objects()));
  });

  function withModel<T>(opened: NpuModel, use: (model: NpuModel) => T): T {
    try {
      return use(opened);
    } finally {
      opened.close();
    }
  }

  test("tensors have the graph's names and shapes, and start at zero", () => {
    withModel(openAxEngineModel(options(path)), ({ inputs, outputs }) => {
      expect(inputs.map(({ name, shape }) => ({ name, shape }))).toEqual([{ name: "x", shape: [1, 2, 3] }]);
      expect(outputs.map(({ name, shape }) => ({ name, shape }))).toEqual([{ name: "y", shape: [1, 2, 3] }]);
      expect(Array.from(inputs[0].data)).toEqual([0, 0, 0, 0, 0, 0]);
    });
  });

  test("two lanes of two models give what ONNX Runtime gives", () => {
    const references = [new Reference(), new Reference()];
    const other = openAxEngineModel(options(path, 2));
    withModel(openAxEngineModel(options(path, 2)), (opened) => {
      for (let step = 0; step < 8; step++) {
        const lane = step % 3 === 0 ? 1 : 0;
        const ours = runOf(opened, lane, inputAt(step));
        opened.keep();
        runOf(other, lane, inputAt(step + 1)); // another model of the same engine, which is not kept
        expect(maxDifference(ours, references[lane].step(inputAt(step)))).toBeLessThan(1e-6);
      }
    });
    expect(live()).toEqual([2, 6]); // the engine is up for the other one
    other.close();
    expect(live()).toEqual([0, 0]);
  });

  test("a run that is not kept can be repeated, and a lane be saved, put back and reset", () => {
    withModel(openAxEngineModel(options(path, 2)), (opened) => {
      const first = runOf(opened, 0, inputAt(0));
      expect(runOf(opened, 0, inputAt(1))).not.toEqual(first);
      expect(runOf(opened, 0, inputAt(0))).toEqual(first);
      opened.keep();
      const saved = opened.save(0);
      const second = runOf(opened, 0, inputAt(1));
      opened.keep();
      opened.restore(1, saved);
      expect(runOf(opened, 1, inputAt(1))).toEqual(second);
      opened.reset(0);
      expect(runOf(opened, 0, inputAt(0))).toEqual(first);
    });
  });

  test("after close() nothing of it is left to touch", () => {
    const opened = openAxEngineModel(options(path));
    const { data } = opened.outputs[0];
    opened.close();
    opened.close();
    expect(data.length).toBe(0);
    expect(() => opened.run(0)).toThrow("closed");
    expect(live()).toEqual([0, 0]);
  });

  test("an engine that is up already, in another mode, is used as it is and stays up", () => {
    expect(sys.AX_SYS_Init()).toBe(0);
    expect(engine.AX_ENGINE_Init(new Struct(NPU_ATTR).set("eHardMode", 2).bytes)).toBe(0);
    withModel(openAxEngineModel(options(path)), (opened) => expect(runOf(opened, 0, inputAt(0))).toHaveLength(6));
    expect(live()).toEqual([1, 0]);
    expect(engine.AX_ENGINE_Deinit()).toBe(0);
    for (let begun = 0; begun < 2; begun++) expect(sys.AX_SYS_Deinit()).toBe(0); // here and by the model
  });

  test.each<[string, () => string, string, string]>([
    ["that is missing", () => join(scratchFolder(), "no.axmodel"), "does not exist", "build it"],
    [
      "that is a Git LFS pointer",
      () => fileOf("lfs.axmodel", "version https://git-lfs.github.com/spec/v1\n"),
      "Git LFS pointer",
      "git lfs pull",
    ],
    ["that is cut off", () => fileOf("cut.axmodel", containerOf(statefulGraph(), "ax").slice(0, -9)), "0x80060087", "damaged"],
    ["of another vendor", () => fileOf("rknn.axmodel", containerOf(statefulGraph(), "rknn")), "0x80060087", "damaged"],
    ["for another chip", () => model("other.axmodel", statefulGraph(), { platform: 620 }), "0x80060087", "another chip"],
    ["of a newer compiler", () => model("newer.axmodel", statefulGraph(), { toolkit: 60000 }), "0x80060087", "newer Pulsar2"],
    ["that is quantised", () => model("u16.axmodel", statefulGraph(), { quantised: true }), "[1,2,3] is u16", "f32 inputs and outputs"],
    [
      "without the states asked for",
      () => model("stateless.axmodel", doublingGraph([1, 6])),
      "state.sum is missing",
      "build the model again",
    ],
  ])("refuses a file %s", (_, make, what, hint) => {
    const failure = failureOf(() => openAxEngineModel(options(make())));
    expect(failure.code).toBe("NPU_MODEL_INVALID");
    expect(failure.message).toContain(what);
    expect(failure.hint).toContain(hint);
    expect(live()).toEqual([0, 0]);
  });

  test("four dimensions are as good as three", () => {
    const wide = { path: model("four.axmodel", doublingGraph([1, 2, 1, 3])), lanes: 1, states: [] };
    withModel(openAxEngineModel(wide), (opened) => expect(runOf(opened, 0, [1, 2, 3, 4, 5, 6])).toEqual([2, 4, 6, 8, 10, 12]));
  });

  test.each<[string, string, string, string]>([
    ["without drivers", "AX_SYS_Init:0x800B0010:1", "NPU_UNAVAILABLE", "AX_SYS_Init gave 0x800B0010 (SYS: the driver is not ready)"],
    ["without a device", "AX_ENGINE_Init:0x80060087:1", "NPU_UNAVAILABLE", "/dev/npu does not exist"],
    ["without memory", "AX_SYS_MemAllocCached:0x800B0018:3", "NPU_UNAVAILABLE", "AX_SYS_MemAllocCached of 8 bytes for input state.steps"],
    ["without a context", "AX_ENGINE_CreateContext:0x80060081:1", "LIBRARY_FAILED", "AX_ENGINE_CreateContext gave 0x80060081"],
    ["without a description", "AX_ENGINE_GetIOInfo:0x8006008A:1", "NPU_MODEL_INVALID", "made by Pulsar2 stand-in"],
  ])("opening fails %s and leaves nothing behind", (_, faults, code, what) => {
    const { live: left, opened } = story(path, 1, faults);
    expect((opened as Failure).code).toBe(code);
    expect((opened as Failure).message).toContain(what);
    expect(left).toEqual([0, 0]);
  });

  test.each<[string, string, string]>([
    ["vanishes", "AX_ENGINE_RunSync:gone:3", "0x80060082"],
    ["does not answer in time", "AX_ENGINE_RunSync:0x8006008B:3", "0x8006008B"],
    ["cannot be flushed to", "AX_SYS_MflushCache:0x800B000A:13", "AX_SYS_MflushCache gave 0x800B000A"],
  ])("a device that %s between runs fails the runs, not the state", (_, faults, what) => {
    const { live: left, runs, steps } = story(path, 4, faults);
    expect(runs.slice(0, 2)).toEqual(["ok", "ok"]);
    for (const failed of runs.slice(2) as Failure[]) {
      expect(failed.code).toBe("NPU_FAILED");
      expect(failed.message).toContain(what);
    }
    expect(steps).toEqual([2, 2]);
    expect(left).toEqual([0, 0]);
  });

  test("a device that computes nonsense says nothing: whoever uses it must look", () => {
    const { output, runs } = story(path, 1, "AX_ENGINE_RunSync:garbage:1");
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
    expect(unsigned(engine.AX_ENGINE_Init(new Struct(NPU_ATTR).set("eHardMode", 1).bytes))).toBe(0x80060087); // another mode
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

  testAlone(import.meta.path, "10,000 rounds of opening, running and closing leave nothing behind", () => {
    const growth = growthOf(10_000, (round) => {
      const opened = openAxEngineModel(options(path));
      runOf(opened, 0, inputAt(round));
      opened.keep();
      opened.close();
    });
    expect(live()).toEqual([0, 0]);
    expect(growth).toBeLessThan(16e6);
  });
});

describe.skipIf(compiler === null)(`finding the libraries${noCompiler}`, () => {
  const load = (override: string, allowStandIn = true) => loadFailure(subject, override, allowStandIn);

  test("a folder will do", () => {
    expect(load(compileStandIns().folder).code).toBe("none");
  });

  test("a stand-in is refused unless it is wanted", () => {
    const { code, hint, message } = load(subject.library, false);
    expect(code).toBe("LIBRARY_MISMATCH");
    expect(message).toContain("is a stand-in for AXERA's NPU engine");
    expect(hint).toContain("TTS_LIBAXENGINE");
  });

  test("without them it says where it looked and where to get them", () => {
    const { code, hint, message } = load("");
    expect(code).toBe("LIBRARY_MISSING");
    for (const place of ["/soc/lib/libax_engine.so", "/usr/lib/libax_engine.so", "cannot open shared object"])
      expect(message).toContain(place);
    expect(hint).toContain("TTS_LIBAXENGINE");
    expect(load("/nowhere/libax_engine.so")).toEqual({
      code: "LIBRARY_MISSING",
      message: "AXERA's NPU engine (libax_engine.so) was not found; tried /nowhere/libax_engine.so",
      hint: "correct TTS_LIBAXENGINE",
    });
  });

  test("an engine without its system library, or without a function, is refused", () => {
    mkdirSync(join(scratchFolder(), "alone"), { recursive: true });
    const alone = join(scratchFolder(), "alone/libax_engine.so");
    copyFileSync(subject.library, alone);
    const missing = load(alone);
    expect(missing.code).toBe("LIBRARY_MISMATCH");
    expect(missing.message).toContain("libax_sys.so");
    const functions = Object.keys(ENGINE_SYMBOLS).map((name) => `void *${name}(void) { return 0; }`);
    const lacking = load(compile("ax-lacking", "libax_engine.so", functions.slice(1).join("\n")));
    expect(lacking.code).toBe("LIBRARY_MISMATCH");
    expect(lacking.message).toContain("AX_ENGINE_GetVersion");
    const noSys = load(compile("ax-no-sys", "libax_engine.so", functions.join("\n")));
    expect(noSys.code).toBe("LIBRARY_MISSING");
    expect(noSys.message).toContain("AXERA's system library (libax_sys.so) was not found");
  });

  test("one without the optional function will do", () => {
    const engine = compile(
      "ax-older",
      "libax_engine.so",
      Object.keys(ENGINE_SYMBOLS)
        .map((name) => `void *${name}(void) { return 0; }`)
        .join("\n"),
    );
    compile(
      "ax-older",
      "libax_sys.so",
      Object.keys(SYS_SYMBOLS)
        .map((name) => `int ${name}(void) { return 0; }`)
        .join("\n"),
    );
    expect(load(engine).code).toBe("none");
  });

  test("what is known is told without a device and never thrown", () => {
    const known = describeAxEngine({ override: "", allowStandIn: true }); // open already
    expect(known.library?.version).toBe("libax_engine 1.45.0 (stand-in)");
    expect(known.problem).toBe("");
    const body = `const { describeAxEngine } = await import(${JSON.stringify(join(import.meta.dir, "../../ffi/ax-engine.ts"))});
      Object.assign(result, describeAxEngine({ override: "", allowStandIn: false }));`;
    const unknown = inProcess<{ library: null; problem: string; hint: string }>(body);
    expect(unknown.library).toBeNull();
    expect(unknown.problem).toContain("was not found");
    expect(unknown.hint).toContain("TTS_LIBAXENGINE");
  });
});
