// AXCL below its models: layouts as C sees them; what codes, the system and cards say; finding the library;
// the stand-in's refusals of whatever a program does wrong.

import { dlopen } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setEnvironment } from "../../../ffi/libc.ts";
import { address } from "../../../ffi/load/memory.ts";
import { asFunctions, type Layout } from "../../../ffi/load/struct.ts";
import {
  ARRAYS,
  AXCL_SYMBOLS,
  CARD_TO_HOST,
  DEVICE_LIST,
  DEVICE_PROPERTIES,
  HOST_TO_CARD,
  IO_DIMS,
} from "../../../ffi/npu/_axcl-abi.ts";
import {
  type AxclCall,
  type AxclFacts,
  AxclLog,
  axclError,
  axclFacts,
  deviceProblem,
} from "../../../ffi/npu/_axcl-device.ts";
import { describeAxcl } from "../../../ffi/npu/axcl.ts";
import type { TtsError } from "../../../src/errors.ts";
import {
  compileNative,
  compiler,
  compileStandIns,
  containerOf,
  noCompiler,
  standInEnvironment,
} from "../../_standins.ts";
import { ROOT, scratchFolder } from "../../_support.ts";
import { AXCL, inProcess, statefulGraph } from "./_card.ts";
import { findingCases } from "./_cases.ts";

describe.skipIf(compiler === null)(`layouts in C${noCompiler}`, () => {
  const lines: string[][] = [];
  beforeAll(() => {
    const program = compileNative(join(scratchFolder(), "layouts-axcl"), "layouts-axcl.c");
    const printed = Bun.spawnSync([program]).stdout.toString().trim().split("\n");
    lines.push(...printed.map((line) => line.split(" ")));
  });

  test.each<[string, Layout, object]>([
    ["axclrtDeviceList", DEVICE_LIST, { devices: ARRAYS.devices }],
    ["axclrtDeviceProperties", DEVICE_PROPERTIES, { swVersion: ARRAYS.swVersion }],
    ["axclrtEngineIODims", IO_DIMS, { dims: ARRAYS.dims }],
  ])("%s", (name, layout, arrays) => {
    const own = lines.filter(([struct]) => struct === name);
    const of = (kind: (line: string[]) => boolean, value: (line: string[]) => unknown) =>
      Object.fromEntries(own.filter(kind).map((line) => [line[1], value(line)]));
    const isSize = ([, field]: string[]) => field === "sizeof";
    const isArray = ([, , , type]: string[]) => type === "bytes";
    const size = of(isSize, ([, , bytes]) => Number(bytes)).sizeof;
    const fields = of(
      (line) => !isSize(line) && !isArray(line),
      ([, , offset, type]) => [Number(offset), type],
    );
    expect({ size, fields } as unknown).toEqual({ size: layout.size, fields: layout.fields });
    expect(of(isArray, ([, , offset, , bytes]) => [Number(offset), Number(bytes)]) as object).toEqual(arrays);
  });
});

/** A file system with these files. */
function systemWith(name: string, files: Record<string, string>): string {
  const root = join(scratchFolder(), `axcl-${name}`);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(join(root, file, ".."), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

const PCI = {
  "sys/bus/pci/devices/0000:01:00.0/vendor": "0x1f4b\n",
  "sys/bus/pci/devices/0000:01:00.0/device": "0x0650\n",
};
const OTHER = {
  "sys/bus/pci/devices/0000:02:00.0/vendor": "0x1f4b\n",
  "sys/bus/pci/devices/0000:02:00.0/device": "0x1234\n",
};
const NODE = { "dev/axcl_host": "" };
const THERE: AxclFacts = { onBus: true, node: { path: "/dev/axcl_host", exists: true, usable: true } };
const AWAY: AxclFacts = { onBus: false, node: { path: "/dev/axcl_host", exists: false, usable: false } };

describe("what the system says", () => {
  test.each<[string, Record<string, string>, boolean, string, string]>([
    ["nothing", {}, true, "card not on the PCI bus", "lspci -d 1f4b:0650"],
    ["other", { ...OTHER, ...NODE }, true, "card not on the PCI bus", "power"],
    ["driverless", { ...OTHER, ...PCI }, true, "card present, driver not loaded", "axclhost"],
    ["forbidden", { ...PCI, ...NODE }, false, "may not read and write", "udev"],
    ["unconnected", { ...PCI, ...NODE }, true, "driver loaded, card not connected", "axcl-smi reboot"],
  ])("%s", (name, files, usable, problem, hint) => {
    const found = deviceProblem(axclFacts(systemWith(name, files), () => usable));
    expect(found.problem).toContain(problem);
    expect(found.hint).toContain(hint);
  });

  test("permissions are those of the file system by default", () => {
    expect(axclFacts(systemWith("real", { ...PCI, ...NODE }))).toMatchObject({
      onBus: true,
      node: { exists: true, usable: true },
    });
  });
});

describe("what a code means", () => {
  const call: AxclCall = {
    call: "axclrtSomething",
    code: 0,
    running: false,
    model: { path: "/m/vocoder.axmodel", bytes: 4711 },
    version: "V3.10.2",
    compiler: "5.0",
  };
  const log = () => new AxclLog(join(scratchFolder(), "no-log"));

  test.each<[number, string, TtsError["code"], string]>([
    [0x8030010b, "cannot be opened", "NPU_UNAVAILABLE", "axcl-smi reboot"],
    [0x80300181, "no card is connected", "NPU_UNAVAILABLE", "axcl-smi reboot"],
    [0x80300184, "no card of this id", "LIBRARY_FAILED", "report it"],
    [0x80300186, "gives no connection", "NPU_UNAVAILABLE", "other programs"],
    [0x80300284, "this thread has no context", "LIBRARY_FAILED", "report it"],
    [0x80300302, "stream: null pointer", "LIBRARY_FAILED", "report it"],
    [0x80300305, "stream: timed out", "NPU_UNAVAILABLE", "dmesg"],
    [0x8030040c, "did not take the task", "NPU_UNAVAILABLE", "dead card"],
    [0x8030050c, "card's memory is used up", "NPU_UNAVAILABLE", "fewer lanes"],
    [0x80300581, "not in the card's memory", "LIBRARY_FAILED", "report it"],
    [0x80300681, "settings: a code this program does not know", "LIBRARY_FAILED", "report it"],
    [0x80300703, "argument of the engine", "LIBRARY_FAILED", "report it"],
    [0x80300709, "missing or damaged", "NPU_UNAVAILABLE", "CMM"],
    [0x8030070c, "the engine on the card failed", "NPU_MODEL_INVALID", "Pulsar2"],
    [0x80300b0c, "transfer: failed on the card", "NPU_UNAVAILABLE", "dmesg"],
    [0x80060087, "NPU: it could not be made", "NPU_MODEL_INVALID", "Pulsar2"],
    [0x80060082, "NPU: the task failed", "NPU_UNAVAILABLE", "dead card"],
    [0x800b0018, "SYS: there is no memory left for the NPU", "NPU_UNAVAILABLE", "fewer lanes"],
  ])("%i is: %s", (code, means, expected, hint) => {
    const error = axclError({ ...call, code: code | 0 }, THERE, log());
    expect(error.code).toBe(expected);
    expect(error.hint).toContain(hint);
    const hex = `0x${code.toString(16).toUpperCase()}`;
    for (const part of [
      "axclrtSomething",
      hex,
      means,
      "/m/vocoder.axmodel",
      "4711 bytes",
      "Pulsar2 5.0",
      "AXCL V3.10.2",
    ]) {
      expect(error.message).toContain(part);
    }
    expect(`${error.message}${error.hint}`).not.toContain("\n");
    const failed = axclError({ ...call, code: code | 0, running: true }, THERE, log());
    // it has run
    expect([failed.code, failed.hint.includes("build the model")]).toEqual(["NPU_FAILED", false]);
  });

  test.each([0x8030010b, 0x80300181, 0x8030040c])("%i says when there is no card", (code) => {
    const error = axclError({ ...call, code: code | 0 }, AWAY, log());
    expect(error.message).toEndWith("card not on the PCI bus");
    expect(error.hint).toContain("lspci");
  });

  test("a failure on the card brings the card's own code from the log, but no code that was there before", () => {
    const root = systemWith("log", {
      "tmp/axcl/axcl_logs.txt": "[E] request api(4) return fail, status: -2147090297\n",
    });
    const seen = new AxclLog(root);
    expect(axclError({ ...call, code: 0x8030070c | 0 }, THERE, seen).message).not.toContain("the card says");
    appendFileSync(seen.path, "[E] request api(7) return fail, status: -2146762728\n[I] all is well\n");
    const error = axclError({ ...call, code: 0x8030070c | 0 }, THERE, seen);
    expect(error.message).toContain("the card says 0x800B0018 (SYS: there is no memory left for the NPU)");
    expect([error.code, error.hint]).toEqual(["NPU_UNAVAILABLE", expect.stringContaining("fewer lanes")]);
    expect(axclError({ ...call, code: 0x80300703 | 0 }, THERE, seen).message).not.toContain("the card says");
    writeFileSync(seen.path, "fail, status: 0x80060084\n"); // a new file
    expect(axclError({ ...call, code: 0x8030050c | 0 }, THERE, seen).message).toContain("0x80060084");
  });
});

/** Functions that the program does not use. */
const MORE_SYMBOLS = asFunctions({
  ...AXCL_SYMBOLS,
  axclrtEngineGetInputIndexByName: { args: ["u64", "ptr"], returns: "i32" },
  axclrtEngineSetInputBufferByName: { args: ["u64", "ptr", "u64", "u64"], returns: "i32" },
  axclrtEngineGetInputBufferByIndex: { args: ["u64", "u32", "ptr", "ptr"], returns: "i32" },
  standin_live_objects: { args: [], returns: "i64" },
});

describe.skipIf(compiler === null)(`the stand-in refuses${noCompiler}`, () => {
  let card: ReturnType<typeof dlopen<typeof MORE_SYMBOLS>>["symbols"];
  const code = (result: number) => `0x${(result >>> 0).toString(16)}`;
  const text = (value: string) => Buffer.from(`${value}\0`);
  const out = new BigUint64Array(new ArrayBuffer(8));
  const taken = (result: number) => {
    expect(code(result)).toBe("0x0");
    return out[0];
  };
  const host = new Float32Array(new ArrayBuffer(4096));
  const hostAt = BigInt(address(host));
  let [context, model, run, info, io] = [0n, 0n, 0n, 0n, 0n];
  const path = join(scratchFolder(), "refused.axmodel");

  beforeAll(() => {
    for (const [name, value] of Object.entries(standInEnvironment())) setEnvironment(name, value);
    card = dlopen(compileStandIns().axcl, MORE_SYMBOLS).symbols;
    writeFileSync(path, containerOf(statefulGraph(), "ax"));
  });

  test("a thread without context, and a card that is not set", () => {
    taken(card.axclInit(null));
    expect(code(card.axclrtMalloc(out, 128, 0))).toBe("0x80300284");
    expect(code(card.axclrtCreateContext(out, 1))).toBe("0x80300183");
    expect(code(card.axclrtSetDevice(0))).toBe("0x80300184"); // an index in place of the id
    taken(card.axclrtSetDevice(1));
    expect(code(card.axclrtMalloc(out, 128, 0))).toBe("0x80300284");
    context = taken(card.axclrtCreateContext(out, 1));
  });

  test("an engine that is up already, and no missing model", () => {
    taken(card.axclrtEngineInit(0));
    expect(code(card.axclrtEngineInit(0))).toBe("0x8030070c");
    out[0] = 0n;
    expect([code(card.axclrtEngineLoadFromFile(text("/nowhere.axmodel"), out)), out[0]]).toEqual(["0x0", 0n]);
    model = taken(card.axclrtEngineLoadFromFile(text(path), out));
    run = taken(card.axclrtEngineCreateContext(model, out));
    info = taken(card.axclrtEngineGetIOInfo(model, out));
    io = taken(card.axclrtEngineCreateIO(info, out));
  });

  test("a wrong kind of copy, a host address, a freed address, and sizes beyond the memory", () => {
    const memory = taken(card.axclrtMalloc(out, 256, 0));
    taken(card.axclrtMemcpy(memory, hostAt, 256, HOST_TO_CARD));
    for (const kind of [0, CARD_TO_HOST, 3])
      expect(code(card.axclrtMemcpy(memory, hostAt, 256, kind))).toBe("0x80300581");
    expect(code(card.axclrtMemcpy(hostAt, hostAt + 1024n, 256, HOST_TO_CARD))).toBe("0x80300581");
    expect(code(card.axclrtMemcpy(memory, hostAt, 257, HOST_TO_CARD))).toBe("0x80300581");
    expect(code(card.axclrtMemset(hostAt, 0, 256))).toBe("0x80300581");
    expect(code(card.axclrtMemset(memory + 128n, 0, 256))).toBe("0x80300581");
    expect(code(card.axclrtMalloc(out, 2n ** 32n, 0))).toBe("0x80300503");
    taken(card.axclrtFree(memory));
    expect(code(card.axclrtFree(memory))).toBe("0x80300581");
    expect(code(card.axclrtMemcpy(memory, hostAt, 256, HOST_TO_CARD))).toBe("0x80300581");
  });

  test("names and numbers of tensors that are not there, as the vendor's library answers", () => {
    const index = card.axclrtEngineGetInputIndexByName(info, text("nothing"));
    expect([index < 0, code(index)]).toEqual([true, "0x80300703"]);
    expect(card.axclrtEngineGetInputSizeByIndex(info, 0, 9)).toBe(0xffffffff80300703n);
    expect(card.axclrtEngineGetOutputSizeByIndex(info, 1, 0)).toBe(0xffffffff80300703n);
    expect(card.axclrtEngineGetInputSizeByIndex(0n, 0, 0)).toBe(0xffffffff80300702n);
    expect(code(card.axclrtEngineGetNumInputs(0n))).toBe("0x80300702");
    expect(code(card.axclrtEngineSetInputBufferByIndex(io, 9, 0x1000, 24))).toBe("0x80300703");
  });

  test("functions by name: they take the first tensor, whatever the name", () => {
    const last = card.axclrtEngineGetNumInputs(info) - 1;
    const name = card.axclrtEngineGetInputNameByIndex(info, last);
    taken(card.axclrtEngineSetInputBufferByName(io, name, 0x1000n, 24n));
    const [pointer, size] = [new BigUint64Array(new ArrayBuffer(8)), new BigUint64Array(new ArrayBuffer(8))];
    taken(card.axclrtEngineGetInputBufferByIndex(io, last, pointer, size));
    expect(pointer[0]).toBe(0n);
    taken(card.axclrtEngineGetInputBufferByIndex(io, 0, pointer, size));
    expect([pointer[0], size[0]]).toEqual([0x1000n, 24n]);
  });

  test("a run without buffers, with host memory, or with a wrong size; and everything once it is right", () => {
    const execute = () => code(card.axclrtEngineExecute(model, run, 0, io));
    expect(execute()).toBe("0x8030070c");
    const buffers: [set: "Input" | "Output", index: number, memory: bigint, bytes: bigint][] = [];
    for (const side of ["Input", "Output"] as const) {
      for (let index = 0; index < card[`axclrtEngineGetNum${side}s`](info); index++) {
        const bytes = card[`axclrtEngineGet${side}SizeByIndex`](info, 0, index);
        buffers.push([side, index, taken(card.axclrtMalloc(out, bytes, 0)), bytes]);
      }
    }
    const set = (side: "Input" | "Output", index: number, memory: bigint, bytes: bigint) =>
      taken(card[`axclrtEngineSet${side}BufferByIndex`](io, index, memory, bytes));
    for (const buffer of buffers) set(...buffer);
    expect(execute()).toBe("0x0");
    const [side, index, memory, bytes] = buffers[0];
    set(side, index, memory, bytes - 4n);
    expect(execute()).toBe("0x8030070c");
    set(side, index, hostAt, bytes);
    expect(execute()).toBe("0x8030070c");
    set(side, index, memory, bytes);
    expect(code(card.axclrtEngineExecute(model, run + 1n, 0, io))).toBe("0x80300703");
    expect(code(card.axclrtEngineExecute(model, run, 1, io))).toBe("0x80300703");
    expect(execute()).toBe("0x0");
    for (const buffer of buffers) taken(card.axclrtFree(buffer[2]));
  });

  test("closing in a wrong order; the right order leaves nothing", () => {
    expect(code(card.axclrtEngineUnload(model))).toBe("0x80300703");
    taken(card.axclrtEngineDestroyIO(io));
    taken(card.axclrtEngineDestroyIOInfo(info));
    taken(card.axclrtEngineUnload(model));
    taken(card.axclrtDestroyContext(context));
    expect(code(card.axclrtSetCurrentContext(context))).toBe("0x80300282");
    taken(card.axclrtResetDevice(1));
    expect(code(card.axclrtResetDevice(1))).toBe("0x80300183");
    taken(card.axclFinalize());
    expect(card.standin_live_objects()).toBe(0n);
  });
});

const MODULE = join(ROOT, "ffi/npu/axcl.ts");
/** Root of the file system that the library is given. */
const SYSTEM = join(scratchFolder(), "axcl-nothing");

describe.skipIf(compiler === null)(`the library${noCompiler}`, () => {
  findingCases(AXCL);
});

describe.skipIf(compiler === null)(`what is said of the cards${noCompiler}`, () => {
  const library = compiler === null ? "" : compileStandIns().axcl;
  const described = (environment: Record<string, string>, override = library) =>
    inProcess<ReturnType<typeof describeAxcl>>(
      `const { describeAxcl } = await import(${JSON.stringify(MODULE)});
      Object.assign(result, describeAxcl(${JSON.stringify({ override, allowStandIn: true })}, ${JSON.stringify(SYSTEM)}));`,
      { ...standInEnvironment(), ...environment },
    );

  test("all of them, with their properties", () => {
    const { devices, problem, warnings } = describeAxcl({ override: library, allowStandIn: true }, SYSTEM);
    expect([problem, warnings]).toEqual(["", []]);
    expect(devices).toEqual([
      "PCI 1f4b:0650: not there",
      `${join(SYSTEM, "dev/axcl_host")}: does not exist`,
      "card 0 at 0000:01:00: software Ax_Version V3.10.2, 41.5 °C, 7382 MB of 7382 MB free, CPU 2 %, NPU 1 %",
    ]);
  });

  test("another version on a card than in the host is a warning", () => {
    const { devices, problem, warnings } = described({
      TTS_STANDIN_AXCL_CARD: "V3.6.5_20250722",
      TTS_STANDIN_AXCL_DEVICES: "1,4",
    });
    expect([devices.length, problem]).toEqual([4, ""]);
    expect(warnings).toEqual([
      expect.stringContaining(
        "the host has AXCL 3.10.2, card 0 has 3.6.5: install the axclhost package again",
      ),
      expect.stringContaining("card 1 has 3.6.5"),
    ]);
  });

  test.each<[string, Record<string, string>, string, string]>([
    ["no driver", { TTS_NPU_FAULT: "axclInit:0x8030010b" }, "card not on the PCI bus", "lspci"],
    ["no card", { TTS_STANDIN_AXCL_DEVICES: "" }, "no card is connected", "lspci"],
    [
      "a card that does not answer",
      { TTS_NPU_FAULT: "axclrtGetDeviceProperties:gone" },
      "did not take the task",
      "lspci",
    ],
  ])("%s: what is wrong and what to do", (_name, environment, problem, hint) => {
    const found = described(environment);
    expect(found.library).toMatchObject({ version: "V3.10.2 (stand-in)" });
    expect(found.problem).toContain(problem);
    expect(found.hint).toContain(hint);
  });

  test("no library", () => {
    const found = described({}, "/nowhere/libaxcl_rt.so");
    expect(found).toMatchObject({
      library: null,
      problem: expect.stringContaining("was not found"),
      warnings: [],
    });
    expect(found.hint).toContain("TTS_LIBAXCL");
  });
});
