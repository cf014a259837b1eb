// Rockchip's NPU against the stand-in for its runtime: layouts, opening, running, states of lanes, everything
// that can go wrong, and leaks.

import { dlopen, type Pointer } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setEnvironment } from "../../../ffi/libc.ts";
import { type Layout, Struct } from "../../../ffi/load/struct.ts";
import {
  ARRAYS,
  INPUT_OUTPUT_NUM,
  QUERY,
  RKNN_SYMBOLS,
  SDK_VERSION,
  TENSOR_ATTR,
  TENSOR_MEM,
  TYPE_F32,
} from "../../../ffi/npu/_rknn-abi.ts";
import {
  deviceProblem,
  type RknnCall,
  type RknpuFacts,
  rknnError,
  rknpuFacts,
} from "../../../ffi/npu/_rknn-device.ts";
import { loadRknn } from "../../../ffi/npu/rknn.ts";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import type { TtsError } from "../../../src/errors.ts";
import { compiler, compileStandIns, containerOf, noCompiler, standInEnvironment } from "../../_standins.ts";
import { scratchFolder } from "../../_support.ts";
import {
  compile,
  doublingGraph,
  type Failure,
  fileOf,
  inProcessOf,
  layoutsInC,
  liveObjects,
  loadFailure,
  modelFile,
  RKNN,
  statefulGraph,
  storyOf,
} from "./_card.ts";
import { findingCases, modelCases, refusalCases } from "./_cases.ts";

const NO_FACTS: RknpuFacts = { nodes: [], others: [], driver: "", chip: "" };
const USABLE: RknpuFacts = {
  ...NO_FACTS,
  nodes: [{ path: "/dev/dri/renderD129", driver: "RKNPU", usable: true }],
  driver: "0.9.8",
  chip: "rk3588",
};

const story = (runs: number, faults: string) =>
  storyOf(RKNN, modelFile(RKNN, "story"), runs, { ...standInEnvironment(), TTS_NPU_FAULT: faults });

describe.skipIf(compiler === null)(`layouts in C${noCompiler}`, () => {
  test.each<[string, Layout]>([
    ["rknn_input_output_num", INPUT_OUTPUT_NUM],
    ["rknn_tensor_attr", TENSOR_ATTR],
    ["rknn_sdk_version", SDK_VERSION],
    ["rknn_tensor_mem", TENSOR_MEM],
  ])("%s has this size and these fields", (name, layout) => {
    const { fields, size } = layoutsInC().get(name)!;
    expect({ size, fields } as unknown).toEqual({ size: layout.size, fields: layout.fields });
  });

  test("arrays inside them", () => {
    const all: unknown = Object.assign(
      {},
      layoutsInC().get("rknn_tensor_attr")!.arrays,
      layoutsInC().get("rknn_sdk_version")!.arrays,
    );
    expect(all).toEqual({
      dims: ARRAYS.attrDims,
      name: ARRAYS.attrName,
      apiVersion: ARRAYS.apiVersion,
      drvVersion: ARRAYS.driverVersion,
    });
  });
});

describe("what a code means", () => {
  const call: RknnCall = {
    call: "rknn_init",
    code: 0,
    running: false,
    model: { path: "/m/vocoder.rknn", bytes: 4711 },
    api: "2.3.2",
    driver: "0.9.8",
  };
  test.each<[number, string, string, string]>([
    [-1, "RKNN_ERR_FAIL", "NPU_MODEL_INVALID", "update librknnrt.so to at least the toolkit's version"],
    [-2, "RKNN_ERR_TIMEOUT", "NPU_UNAVAILABLE", "dmesg | grep -i rknpu"],
    [-3, "RKNN_ERR_DEVICE_UNAVAILABLE", "NPU_UNAVAILABLE", "the driver is at fault"],
    [-4, "RKNN_ERR_MALLOC_FAIL", "NPU_UNAVAILABLE", "cma="],
    [-5, "RKNN_ERR_PARAM_INVALID", "LIBRARY_FAILED", "report it"],
    [-6, "RKNN_ERR_MODEL_INVALID", "NPU_MODEL_INVALID", "newer rknn-toolkit2 than this librknnrt 2.3.2"],
    [-7, "RKNN_ERR_CTX_INVALID", "LIBRARY_FAILED", "report it"],
    [-8, "RKNN_ERR_INPUT_INVALID", "NPU_MODEL_INVALID", "f32 inputs"],
    [-9, "RKNN_ERR_OUTPUT_INVALID", "NPU_MODEL_INVALID", "f32 outputs"],
    [-10, "RKNN_ERR_DEVICE_UNMATCH", "NPU_UNAVAILABLE", "librknnrt is 2.3.2, the kernel driver 0.9.8"],
    [-11, "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL", "NPU_MODEL_INVALID", "without pre-compilation"],
    [-12, "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION", "NPU_MODEL_INVALID", "optimization_level"],
    [-13, "RKNN_ERR_TARGET_PLATFORM_UNMATCH", "NPU_MODEL_INVALID", "--target rknn --chip rk3588"],
    [-99, "does not know", "LIBRARY_FAILED", "report it"],
  ])("%i is %s", (code, symbol, expected, hint) => {
    const error = rknnError({ ...call, code }, USABLE);
    expect(error.code).toBe(expected as TtsError["code"]);
    expect(error.hint).toContain(hint);
    for (const part of [
      "rknn_init",
      String(code),
      symbol,
      "/m/vocoder.rknn",
      "4711 bytes",
      "librknnrt 2.3.2",
      "driver 0.9.8",
    ]) {
      expect(error.message).toContain(part);
    }
    expect(`${error.message}${error.hint}`).not.toContain("\n");
    expect(rknnError({ ...call, code, running: true }, USABLE).code).toBe("NPU_FAILED");
  });

  test.each([-1, -3])("%i says whether driver or permission is missing", (code) => {
    const missing = rknnError({ ...call, code }, NO_FACTS);
    expect(missing).toMatchObject({
      code: "NPU_UNAVAILABLE",
      message: expect.stringContaining("no NPU device"),
    });
    expect(missing.hint).toContain("RKNPU driver");
    const forbidden = rknnError(
      { ...call, code },
      { ...USABLE, nodes: [{ ...USABLE.nodes[0], usable: false }] },
    );
    expect(forbidden).toMatchObject({
      code: "NPU_UNAVAILABLE",
      message: expect.stringContaining("/dev/dri/renderD129"),
    });
    expect(forbidden.hint).toContain("video,render");
  });
});

describe("what the system says", () => {
  function systemWith(name: string, nodes: Record<string, string>): string {
    const root = join(scratchFolder(), `system-${name}`);
    for (const folder of ["dev/dri", "sys/module/rknpu", "proc/device-tree"])
      mkdirSync(join(root, folder), { recursive: true });
    for (const [node, driver] of Object.entries(nodes)) {
      writeFileSync(join(root, "dev/dri", node), "");
      mkdirSync(join(root, "sys/drivers", driver), { recursive: true });
      mkdirSync(join(root, "sys/class/drm", node, "device"), { recursive: true });
      symlinkSync(join(root, "sys/drivers", driver), join(root, "sys/class/drm", node, "device/driver"));
    }
    writeFileSync(join(root, "sys/module/rknpu/version"), "0.9.8\n");
    writeFileSync(join(root, "proc/device-tree/compatible"), "friendlyelec,cm3588\0rockchip,rk3588\0");
    return root;
  }

  test("the NPU's node is found among others, with driver and chip", () => {
    const root = systemWith("whole", { card0: "rockchip-drm", renderD128: "panthor", renderD129: "RKNPU" });
    const facts = rknpuFacts(root);
    expect(facts).toMatchObject({
      driver: "0.9.8",
      chip: "rk3588",
      nodes: [{ path: join(root, "dev/dri/renderD129"), usable: true }],
    });
    expect(deviceProblem(facts)).toEqual({ problem: "", hint: "" });
    const { problem } = deviceProblem(rknpuFacts(root, () => false));
    expect(problem).toBe(`this user may not read and write ${join(root, "dev/dri/renderD129")}`);
  });

  test("a display and a GPU are no NPU", () => {
    const { hint, problem } = deviceProblem(
      rknpuFacts(systemWith("none", { card0: "rockchip-drm", renderD128: "panthor" })),
    );
    expect(problem).toContain("renderD128 (panthor)");
    expect(hint).toContain("RKNPU driver");
  });

  test("an empty file system has no nodes, driver or chip", () => {
    expect(rknpuFacts(join(scratchFolder(), "no-system"))).toEqual(NO_FACTS);
    expect(deviceProblem(NO_FACTS).problem).toBe("no NPU device: /dev/dri has nothing");
  });
});

describe.skipIf(compiler === null)(`Rockchip's NPU${noCompiler}`, () => {
  let calls: ReturnType<typeof dlopen<typeof RKNN_SYMBOLS>>["symbols"];

  beforeAll(() => {
    for (const [name, value] of Object.entries(standInEnvironment())) setEnvironment(name, value);
    loadOnnxRuntime();
    const { rknn } = compileStandIns();
    expect(loadRknn({ override: rknn, allowStandIn: true })).toEqual({ path: rknn, version: RKNN.version });
    calls = dlopen(rknn, RKNN_SYMBOLS).symbols;
  });

  modelCases(RKNN, import.meta.path);

  refusalCases(RKNN, [
    ["that is missing", () => join(scratchFolder(), "no.rknn"), "does not exist", "build it"],
    ["that is a folder", () => scratchFolder(), "it is a folder", "model file itself"],
    ["that is empty", () => fileOf("empty.rknn", ""), "is empty", "again"],
    [
      "that is a Git LFS pointer",
      () => fileOf("lfs.rknn", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
      "Git LFS pointer",
      "git lfs pull",
    ],
    ["that is a web page", () => fileOf("page.rknn", "\n<!doctype html><html>"), "is a web page", "download"],
    [
      "that is a message",
      () => fileOf("text.rknn", "Entry not found"),
      'begins "Entry not found"',
      "download",
    ],
    [
      "that is cut off",
      () => fileOf("cut.rknn", containerOf(statefulGraph(), "rknn").slice(0, -9)),
      "-6 (RKNN_ERR_MODEL_INVALID",
      "damaged",
    ],
    [
      "of another vendor",
      () => fileOf("ax.rknn", containerOf(statefulGraph(), "ax")),
      "-6 (RKNN_ERR_MODEL_INVALID",
      "damaged",
    ],
    [
      "of a newer toolkit",
      () => modelFile(RKNN, "newer", statefulGraph(), { toolkit: 20400 }),
      "librknnrt 2.3.2",
      "newer rknn-toolkit2",
    ],
    [
      "for another chip",
      () => modelFile(RKNN, "other", statefulGraph(), { platform: 3566 }),
      "-13 (RKNN_ERR_TARGET",
      "--chip CHIP",
    ],
    [
      "with four dimensions",
      () => modelFile(RKNN, "four", doublingGraph([1, 2, 3, 4])),
      "input x has 4 dimensions [1,3,4,2]",
      "3 at most",
    ],
    [
      "without the states asked for",
      () => modelFile(RKNN, "stateless", doublingGraph([1, 6])),
      "state.sum is missing",
      "build the model again",
    ],
    [
      "that is quantised",
      () => modelFile(RKNN, "int8", statefulGraph(), { quantised: true }),
      "is i8 [1,2,3]",
      "f32 inputs and outputs",
    ],
  ]);

  test.each<[string, string, string, string]>([
    [
      "a device that is not there",
      "rknn_init:gone:1",
      "NPU_UNAVAILABLE",
      "rknn_init gave -3 (RKNN_ERR_DEVICE_UNAVAILABLE",
    ],
    [
      "no memory",
      "rknn_create_mem:-4:3",
      "NPU_UNAVAILABLE",
      "rknn_create_mem of 8 bytes for input state.steps gave -4",
    ],
    [
      "a tensor that cannot be bound",
      "rknn_set_io_mem:-5:2",
      "LIBRARY_FAILED",
      "rknn_set_io_mem of input state.sum [1,2,3] gave -5",
    ],
    ["a question that fails", "rknn_query:-7:2", "LIBRARY_FAILED", "rknn_query of IN_OUT_NUM gave -7"],
  ])("opening fails with %s and leaves nothing behind", (_, faults, code, what) => {
    const { live: left, opened } = story(1, faults);
    expect(opened).toMatchObject({ code, message: expect.stringContaining(what) });
    expect(left).toEqual([0]);
  });

  test.each<[string, string, string]>([
    ["vanishes", "rknn_run:gone:3", "RKNN_ERR_DEVICE_UNAVAILABLE"],
    ["does not answer in time", "rknn_run:-2:3", "RKNN_ERR_TIMEOUT"],
  ])("a device that %s between runs fails the runs, not the state", (_, faults, symbol) => {
    const { live: left, runs, steps } = story(4, faults);
    expect(runs.slice(0, 2)).toEqual(["ok", "ok"]);
    for (const failed of runs.slice(2) as Failure[]) {
      expect(failed.code).toBe("NPU_FAILED");
      expect(failed.message).toContain(`rknn_run gave`);
      expect(failed.message).toContain(symbol);
      expect(failed.message).toContain("librknnrt 2.3.2 (stand-in), driver 0.9.8");
    }
    expect(steps).toEqual([2, 2]);
    expect(left).toEqual([0]);
  });

  test("a device that computes nonsense gives no error: only the values show it", () => {
    const { output, runs } = story(1, "rknn_run:garbage:1");
    expect(runs).toEqual(["ok"]);
    expect(output).not.toEqual(Array(6).fill("0"));
  });

  test("the stand-in refuses what a real runtime refuses", () => {
    const context = new BigUint64Array(new ArrayBuffer(8));
    const bytes = containerOf(statefulGraph(), "rknn");
    expect(calls.rknn_init(context, bytes, bytes.length, 0x40000, null)).toBe(-5);
    expect(calls.rknn_init(context, bytes, bytes.length, 0, null)).toBe(0);
    const [id] = context;
    const attr = new Struct(TENSOR_ATTR);
    expect(calls.rknn_query(id, QUERY.inputAttr, attr.bytes, 372)).toBe(-5); // a struct of another version
    expect(calls.rknn_query(id, QUERY.sdkVersion, attr.bytes, 376)).toBe(-5);
    expect(calls.rknn_query(id, QUERY.inputAttr, attr.set("index", 3).bytes, 376)).toBe(-5);
    expect(calls.rknn_query(id, QUERY.inputAttr, attr.set("index", 0).bytes, 376)).toBe(0);
    const short = calls.rknn_create_mem(id, 20) as Pointer;
    const bind = (memory: Pointer) => calls.rknn_set_io_mem(id, memory, attr.bytes);
    expect(bind(short)).toBe(0); // float16, as the model has it
    attr.set("type", 2);
    expect(bind(short)).toBe(-5); // int8
    attr.set("type", TYPE_F32).set("sizeWithStride", 24);
    expect(bind(short)).toBe(-5); // too short
    const fitting = calls.rknn_create_mem(id, 24) as Pointer;
    for (const index of [3, 2 ** 31, 2 ** 32 - 1]) {
      attr.set("index", index);
      expect(bind(fitting)).toBe(-5); // no such tensor
    }
    attr.set("index", 0);
    expect(bind(fitting)).toBe(0);
    expect(calls.rknn_run(id, null)).toBe(-8); // other inputs are not bound
    expect(calls.rknn_destroy_mem(id, short)).toBe(0);
    expect(calls.rknn_destroy_mem(id, short)).toBe(-5); // twice
    expect(calls.rknn_destroy(id)).toBe(0);
    expect(calls.rknn_destroy(id)).toBe(-7);
    expect(calls.rknn_run(id, null)).toBe(-7);
    expect(liveObjects(RKNN)).toEqual([1]); // the memory that was left behind
  });
});

describe.skipIf(compiler === null)(`finding the library${noCompiler}`, () => {
  const functions = Object.keys(RKNN_SYMBOLS).map((name) => `int ${name}(void) { return 0; }`);
  findingCases(RKNN);

  test("a library that is too old is refused", () => {
    const version =
      '__attribute__((used)) static const char text[] = "librknnrt version: 1.4.0 (a10f100eb@2022-09-09T09:07:14)";';
    const old = compile("old", "librknnrt.so", [...functions, version].join("\n"));
    expect(loadFailure(RKNN, old)).toMatchObject({
      code: "LIBRARY_MISMATCH",
      message: `${old} is librknnrt 1.4.0 (a10f100eb@2022-09-09T09:07:14)`,
    });
  });

  test("a library that the loader finds under another file name has no known path, and so no known version", () => {
    const other = compile("another-name", "another.so", functions.join("\n"));
    symlinkSync(other, join(dirname(other), "librknnrt.so"));
    const body = `result.found = load({ override: "", allowStandIn: false });`;
    const { found } = inProcessOf<{ found: object }>(RKNN, body, { LD_LIBRARY_PATH: dirname(other) });
    expect(found).toEqual({ path: "librknnrt.so", version: "" });
  });
});
