// Models on AXERA's card against the stand-in for its runtime: results, states of lanes, opening, threads, leaks, and everything that can go
// wrong on the way.

import { dlopen } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadAxcl, openAxclModel } from "../../ffi/axcl.ts";
import { setEnvironment } from "../../ffi/libc.ts";
import type { NpuModel, StatePair } from "../../ffi/npu.ts";
import { loadOnnxRuntime } from "../../ffi/onnxruntime.ts";
import { type ContainerOptions, compiler, compileStandIns, containerOf, noCompiler, standInEnvironment } from "../_standins.ts";
import { ROOT, scratchFolder } from "../_support.ts";
import {
  doublingGraph,
  type Failure,
  failureOf,
  growthOf,
  inProcess,
  inputAt,
  Reference,
  runOf,
  STATES,
  statefulGraph,
  testAlone,
} from "./_npu.ts";

const MODULE = join(ROOT, "ffi/axcl.ts");
/** The file system that the library is told of. */
const SYSTEM = join(scratchFolder(), "axcl-system");
const LOG = { TTS_STANDIN_AXCL_LOG: join(SYSTEM, "tmp/axcl/axcl_logs.txt") };

const fileOf = (name: string, bytes: Uint8Array | string): string => {
  const path = join(scratchFolder(), name);
  writeFileSync(path, bytes);
  return path;
};
const modelFile = (name: string, about: ContainerOptions = {}, onnx = statefulGraph()) =>
  fileOf(`${name}.axmodel`, containerOf(onnx, "ax", about));
const options = (path: string, lanes = 1, states: readonly StatePair[] = STATES) => ({ path, lanes, states });

let library = "";
let live = () => 0;
beforeAll(() => {
  if (compiler === null) return;
  for (const [name, value] of Object.entries(standInEnvironment(LOG))) setEnvironment(name, value);
  mkdirSync(join(SYSTEM, "tmp/axcl"), { recursive: true });
  library = compileStandIns().axcl;
  const { symbols } = dlopen(library, { standin_live_objects: { args: [], returns: "i64" } });
  live = () => Number(symbols.standin_live_objects());
  loadAxcl({ override: library, allowStandIn: true }, SYSTEM);
  loadOnnxRuntime();
});

/** Opens a model, hands it over and closes it. */
function withModel(path: string, lanes: number, use: (model: NpuModel) => void): void {
  const model = openAxclModel(options(path, lanes));
  try {
    use(model);
  } finally {
    model.close();
  }
}

describe.skipIf(compiler === null)(`a model on the card${noCompiler}`, () => {
  const path = modelFile("stateful");

  test("shows its tensors without those of the state", () => {
    withModel(path, 1, ({ inputs, outputs }) => {
      expect(inputs.map(({ name, shape, data }) => [name, [...shape], data.length])).toEqual([["x", [1, 2, 3], 6]]);
      expect(outputs.map(({ name, shape, data }) => [name, [...shape], data.length])).toEqual([["y", [1, 2, 3], 6]]);
    });
  });

  test("gives what ONNX Runtime gives, step by step, each lane for itself", () => {
    const references = [new Reference(), new Reference(), new Reference()];
    withModel(path, 3, (model) => {
      for (let step = 0; step < 12; step++) {
        const lane = [0, 0, 1, 2, 1][step % 5];
        expect(runOf(model, lane, inputAt(step))).toEqual(references[lane].step(inputAt(step)));
        model.keep();
      }
    });
  });

  test("a run that is not kept can be repeated with other inputs", () => {
    const reference = new Reference();
    withModel(path, 2, (model) => {
      for (let step = 0; step < 4; step++) {
        runOf(model, 0, inputAt(step + 100));
        runOf(model, 1, inputAt(step + 200));
        expect(runOf(model, 0, inputAt(step))).toEqual(reference.step(inputAt(step)));
        model.keep();
      }
      expect(Array.from(model.save(1)[1])).toEqual([0, 0]);
    });
  });

  test("saves, restores and resets a lane", () => {
    withModel(path, 2, (model) => {
      for (let step = 0; step < 3; step++) {
        runOf(model, 0, inputAt(step));
        model.keep();
      }
      const saved = model.save(0);
      expect(Array.from(saved[1])).toEqual([3, 3]);
      const next = runOf(model, 0, inputAt(3));
      model.keep();
      model.restore(1, saved);
      expect(runOf(model, 1, inputAt(3))).toEqual(next);
      model.reset(0);
      expect(model.save(0).map((values) => Array.from(values))).toEqual([Array(6).fill(0), [0, 0]]);
      expect(runOf(model, 0, inputAt(0))).toEqual(new Reference().step(inputAt(0)));
      expect(Array.from(model.save(1)[1])).toEqual([3, 3]);
      model.reset(1);
      model.save(1);
      expect(Array.from(saved[1])).toEqual([3, 3]); // a copy, not the memory that states travel through
    });
  });

  test("restores what it never had itself", () => {
    withModel(path, 2, (model) => {
      const state = [Float32Array.from({ length: 6 }, (_, i) => i / 7), Float32Array.of(7, 8)];
      model.restore(1, state);
      expect(model.save(0).map((values) => Array.from(values))).toEqual([Array(6).fill(0), [0, 0]]);
      expect(model.save(1)).toEqual(state);
    });
  });

  test("refuses what a program does wrong", () => {
    const model = openAxclModel(options(path, 2));
    expect(() => model.run(2)).toThrow("lane 2 of 2");
    expect(() => model.reset(-1)).toThrow(RangeError);
    expect(() => model.keep()).toThrow("nothing to keep");
    model.run(0);
    model.keep();
    expect(() => model.keep()).toThrow("nothing to keep");
    expect(() => model.restore(0, [new Float32Array(6)])).toThrow("a state of [6] values, not [6,2]");
    expect(() => openAxclModel({ ...options(path), card: 1 })).toThrow("uses card 0");
    model.close();
    expect(model.inputs[0].data.length + model.outputs[0].data.length).toBe(0);
    expect(() => model.run(0)).toThrow("closed");
    expect(() => model.save(0)).toThrow("closed");
    model.close();
    expect(live()).toBe(0);
  });

  test("two of a thread do not disturb each other, and the first may go first", () => {
    const [first, second] = [openAxclModel(options(path)), openAxclModel(options(path))];
    const references = [new Reference(), new Reference()];
    for (let step = 0; step < 3; step++) {
      for (const [i, model] of [first, second].entries()) {
        expect(runOf(model, 0, inputAt(step + i))).toEqual(references[i].step(inputAt(step + i)));
        model.keep();
      }
    }
    first.close();
    expect(runOf(second, 0, inputAt(3))).toEqual(references[1].step(inputAt(3)));
    second.close();
    expect(live()).toBe(0);
  });

  test("without states: lanes do not differ", () => {
    const model = openAxclModel(options(modelFile("doubling", {}, doublingGraph([2, 3])), 2, []));
    expect(runOf(model, 1, [1, 2, 3, 4, 5, 6])).toEqual([2, 4, 6, 8, 10, 12]);
    model.keep();
    expect(model.save(1)).toEqual([]);
    model.close();
  });

  testAlone(import.meta.path, "10,000 rounds of opening, running and closing leave nothing", () => {
    const growth = growthOf(10_000, (index) => {
      const model = openAxclModel(options(path, 1 + (index % 3)));
      model.run(0);
      model.keep();
      model.close();
    });
    expect(live()).toBe(0);
    expect(growth).toBeLessThan(16e6);
  });
});

describe.skipIf(compiler === null)(`a model file that cannot be used${noCompiler}`, () => {
  test.each<[string, () => string, string, string, string]>([
    ["missing", () => join(scratchFolder(), "missing.axmodel"), "NPU_MODEL_INVALID", "does not exist", "build it"],
    ["empty", () => fileOf("empty.axmodel", ""), "NPU_MODEL_INVALID", "is empty", "again"],
    [
      "a pointer of Git LFS",
      () => fileOf("lfs.axmodel", "version https://git-lfs.github.com/spec/v1\n"),
      "NPU_MODEL_INVALID",
      "LFS",
      "git lfs pull",
    ],
    ["damaged", () => fileOf("damaged.axmodel", new Uint8Array(100)), "NPU_MODEL_INVALID", "the card says 0x80060087", "Pulsar2"],
    [
      "cut off",
      () => fileOf("cut.axmodel", containerOf(statefulGraph(), "ax").subarray(0, -9)),
      "NPU_MODEL_INVALID",
      "0x8030070C",
      "Pulsar2",
    ],
    ["for another NPU", () => fileOf("other.axmodel", containerOf(statefulGraph(), "rknn")), "NPU_MODEL_INVALID", "0x8030070C", "Pulsar2"],
    ["for another chip", () => modelFile("chip", { platform: 620 }), "NPU_MODEL_INVALID", "0x8030070C", "for AX650"],
    ["of a newer compiler", () => modelFile("newer", { toolkit: 60000 }), "NPU_MODEL_INVALID", "0x8030070C", "as new as Pulsar2"],
    ["quantised outside", () => modelFile("u16", { quantised: true }), "NPU_MODEL_INVALID", "is u16", "f32 inputs and outputs"],
    ["without the states", () => modelFile("doubled", {}, doublingGraph([4])), "NPU_MODEL_INVALID", "state.sum is missing", "this version"],
  ])("%s", (_name, file, code, message, hint) => {
    const path = file();
    const error = failureOf(() => openAxclModel(options(path)));
    expect(error.message).toContain(path);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message), hint: expect.stringContaining(hint) });
    expect(live()).toBe(0);
  });

  test("a state of another shape than its next", () => {
    const swapped: StatePair[] = [["state.sum", "next.steps"]];
    const error = failureOf(() => openAxclModel(options(modelFile("swapped"), 1, swapped)));
    expect(error.message).toContain("state.sum is [1,2,3] and its next next.steps is [1,2,1]");
    expect(live()).toBe(0);
  });
});

interface Story {
  opened: Failure | "ok";
  runs: (Failure | "ok")[];
  /** Failed runs that could be kept all the same. */
  keptFailures: number;
  output: number[];
  live: number;
}

/** Opens a model in a process of its own, runs it, and closes it. */
function storyOf(runs: number, environment: Record<string, string>, more: object = {}): Story {
  const path = modelFile("story");
  return inProcess<Story>(
    `const { loadAxcl, openAxclModel } = await import(${JSON.stringify(MODULE)});
    const { dlopen } = await import("bun:ffi");
    loadAxcl(${JSON.stringify({ override: library, allowStandIn: true })}, ${JSON.stringify(SYSTEM)});
    Object.assign(result, { opened: "ok", runs: [], keptFailures: 0, output: [] });
    try {
      const model = openAxclModel(${JSON.stringify({ ...options(path), ...more })});
      for (let i = 0; i < ${runs}; i++) {
        try { model.run(0); result.runs.push("ok"); } catch (error) { result.runs.push(failure(error)); }
        if (i % 2 === 0) continue; // not kept
        try { model.keep(); result.keptFailures += result.runs[i] !== "ok"; } catch {}
      }
      result.output = Array.from(model.outputs[0].data);
      model.close();
    } catch (error) { result.opened = failure(error); }
    const { symbols } = dlopen(${JSON.stringify(library)}, { standin_live_objects: { args: [], returns: "i64" } });
    result.live = Number(symbols.standin_live_objects());`,
    { ...standInEnvironment(LOG), ...environment },
  );
}
const failing = (fault: string, runs = 0) => storyOf(runs, { TTS_NPU_FAULT: fault });

describe.skipIf(compiler === null)(`a card that does not do as it should${noCompiler}`, () => {
  test.each<[string, Record<string, string>, string, string, string]>([
    ["no driver", { TTS_NPU_FAULT: "axclInit:0x8030010b" }, "NPU_UNAVAILABLE", "card not on the PCI bus", "lspci"],
    ["none there", { TTS_STANDIN_AXCL_DEVICES: "" }, "NPU_UNAVAILABLE", "no card is connected", "lspci"],
    [
      "no connection",
      { TTS_NPU_FAULT: "axclrtSetDevice:0x80300186" },
      "NPU_UNAVAILABLE",
      "axclrtSetDevice gave 0x80300186",
      "other programs",
    ],
    ["no context", { TTS_NPU_FAULT: "axclrtCreateContext:0x80300281" }, "NPU_UNAVAILABLE", "0x80300281", "other programs"],
    [
      "no engine",
      { TTS_NPU_FAULT: "axclrtEngineInit:0x8030070c,axclrtEngineGetVNpuKind:0x8030070c" },
      "NPU_UNAVAILABLE",
      "axclrtEngineInit gave 0x8030070C",
      "dmesg",
    ],
    [
      "a load that fails silently",
      { TTS_NPU_FAULT: "axclrtEngineLoadFromFile:garbage" },
      "NPU_MODEL_INVALID",
      "was not loaded",
      "readable",
    ],
    ["little memory", { TTS_STANDIN_AXCL_CMM_KB: "1" }, "NPU_UNAVAILABLE", "of the card's memory to be loaded", "axcl-smi"],
    ["memory taken by others", { TTS_NPU_FAULT: "axclrtMalloc:0x8030050c:3" }, "NPU_UNAVAILABLE", "axclrtMalloc of 8 bytes", "fewer lanes"],
    [
      "a size that is a code",
      { TTS_NPU_FAULT: "axclrtEngineGetInputSizeByIndex:0x80300702" },
      "LIBRARY_FAILED",
      "axclrtEngineGetInputSizeByIndex of x gave 0x80300702",
      "report",
    ],
  ])("%s", (_name, environment, code, message, hint) => {
    const { live, opened } = storyOf(0, environment);
    expect(opened).toMatchObject({ code, message: expect.stringContaining(message), hint: expect.stringContaining(hint) });
    expect(live).toBe(0);
  });

  test("a memory that the card does not tell of is no obstacle", () => {
    expect(failing("axclrtGetDeviceProperties:0x8030090c", 1)).toMatchObject({ opened: "ok", runs: ["ok"], live: 0 });
  });

  test("cards are counted from 0, whatever their ids", () => {
    const cards = { TTS_STANDIN_AXCL_DEVICES: "5,129" };
    expect(storyOf(1, cards, { card: 1 })).toMatchObject({ opened: "ok", runs: ["ok"], live: 0 });
    const { live, opened } = storyOf(1, cards, { card: 2 });
    expect(opened).toMatchObject({ code: "NPU_UNAVAILABLE", message: "there is no card 2: AXCL lists 2 cards, counted from 0" });
    expect(live).toBe(0);
  });

  test("it vanishes while the model runs: every run says so from then on, and closing is possible", () => {
    const { opened, runs } = failing("axclrtEngineExecute:gone:3", 4);
    expect([opened, runs[0], runs[1]]).toEqual(["ok", "ok", "ok"]);
    for (const failure of runs.slice(2)) {
      const { code, message } = failure as Failure;
      expect(code).toBe("NPU_FAILED");
      for (const part of ["story.axmodel", "card not on the PCI bus"]) expect(message).toContain(part);
    }
  });

  test("a run that fails on the card names the card's own code and cannot be kept", () => {
    const { keptFailures, live, runs } = failing("axclrtEngineExecute:0x80060082:2", 2);
    expect(runs).toMatchObject(["ok", { code: "NPU_FAILED", message: expect.stringContaining("NPU: the task failed") }]);
    expect([keptFailures, live]).toEqual([0, 0]);
  });

  test("a copy that fails is a failed run", () => {
    expect(failing("axclrtMemcpy:0x8030050c:2", 1).runs).toMatchObject([
      { code: "NPU_FAILED", message: expect.stringContaining("Memcpy from") },
    ]);
  });

  test("garbage comes without any error: only its values show it", () => {
    const [good, bad] = [storyOf(2, {}), failing("axclrtEngineExecute:garbage:2", 2)];
    expect(bad.runs).toEqual(["ok", "ok"]);
    expect(bad.output).not.toEqual(good.output);
  });

  test("a run that hangs never returns: only the end of the process ends it", async () => {
    const script = `const { loadAxcl, openAxclModel } = await import(${JSON.stringify(MODULE)});
      loadAxcl(${JSON.stringify({ override: library, allowStandIn: true })});
      const model = openAxclModel(${JSON.stringify(options(modelFile("hang")))});
      model.run(0);
      require("node:fs").writeSync(1, "first ");
      model.run(0);
      require("node:fs").writeSync(1, "second");`;
    const environment = { ...process.env, ...standInEnvironment(), TTS_NPU_FAULT: "axclrtEngineExecute:hang:2" };
    const child = Bun.spawn([process.execPath, "-e", script], { env: environment, stdout: "pipe" });
    const reader = child.stdout.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("first ");
    expect(await Promise.race([child.exited, Bun.sleep(300)])).toBeUndefined();
    child.kill("SIGKILL");
    expect((await reader.read()).done).toBe(true);
    expect(await child.exited).not.toBe(0);
  });
});

/** What a worker does: one model, one step per message, until it is told to stop. */
const WORKER = `
  const { loadAxcl, openAxclModel } = await import(${JSON.stringify(MODULE)});
  let model = null;
  onmessage = ({ data: { library, open, input } }) => {
    if (open !== undefined) {
      loadAxcl({ override: library, allowStandIn: true });
      model = openAxclModel(open);
      postMessage("open");
    } else if (input !== undefined) {
      model.inputs[0].data.set(input);
      model.run(0);
      model.keep();
      postMessage(Array.from(model.outputs[0].data));
    } else {
      model.close();
      postMessage("closed");
    }
  };
  postMessage("ready");`;

describe.skipIf(compiler === null)(`threads${noCompiler}`, () => {
  /** Sends one message to each worker and waits for the answers. */
  const ask = (workers: Worker[], message: (index: number) => object) =>
    Promise.all(
      workers.map((worker, index) => {
        const answer = new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = ({ message }) => reject(new Error(message));
        });
        worker.postMessage(message(index));
        return answer;
      }),
    );

  test("each has a context of its own; one may end while the other goes on", async () => {
    const path = modelFile("threads");
    const source = URL.createObjectURL(new Blob([WORKER], { type: "application/typescript" }));
    const workers = [new Worker(source), new Worker(source)];
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }))));
    expect(await ask(workers, () => ({ library, open: options(path) }))).toEqual(["open", "open"]);
    const references = [new Reference(), new Reference()];
    const inputs = (step: number, index: number) => inputAt(7 * step + index);
    for (let step = 0; step < 20; step++) {
      const outputs = await ask(workers, (index) => ({ input: inputs(step, index) }));
      expect(outputs).toEqual(references.map((reference, index) => reference.step(inputs(step, index))));
    }
    expect(await ask([workers[0]], () => ({}))).toEqual(["closed"]);
    expect(await ask([workers[1]], () => ({ input: inputs(20, 1) }))).toEqual([references[1].step(inputs(20, 1))]);
    expect(await ask([workers[1]], () => ({}))).toEqual(["closed"]);
    for (const worker of workers) worker.terminate();
    URL.revokeObjectURL(source);
    expect(live()).toBe(0);
  });
});
