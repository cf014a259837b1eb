// Models on AXERA's card against the stand-in for its runtime: results, states of lanes, opening, threads,
// leaks, and everything that can go wrong on the way.

import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setEnvironment } from "../../../ffi/libc.ts";
import { loadAxcl } from "../../../ffi/npu/axcl.ts";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { compiler, compileStandIns, containerOf, noCompiler, standInEnvironment } from "../../_standins.ts";
import { ROOT, scratchFolder } from "../../_support.ts";
import {
  AXCL,
  doublingGraph,
  type Failure,
  fileOf,
  inProcess,
  inputAt,
  liveObjects,
  modelFile,
  statefulOptions as options,
  Reference,
  statefulGraph,
} from "./_card.ts";
import { modelCases, refusalCases } from "./_cases.ts";

const MODULE = join(ROOT, "ffi/npu/axcl.ts");
/** Root of the file system that the library is given. */
const SYSTEM = join(scratchFolder(), "axcl-system");
const LOG = { TTS_STANDIN_AXCL_LOG: join(SYSTEM, "tmp/axcl/axcl_logs.txt") };

let library = "";
beforeAll(() => {
  if (compiler === null) return;
  for (const [name, value] of Object.entries(standInEnvironment(LOG))) setEnvironment(name, value);
  mkdirSync(join(SYSTEM, "tmp/axcl"), { recursive: true });
  library = compileStandIns().axcl;
  loadAxcl({ override: library, allowStandIn: true }, SYSTEM);
  loadOnnxRuntime();
});

describe.skipIf(compiler === null)(`a model on the card${noCompiler}`, () => {
  modelCases(AXCL, import.meta.path);

  refusalCases(AXCL, [
    ["that is missing", () => join(scratchFolder(), "missing.axmodel"), "does not exist", "build it"],
    ["that is empty", () => fileOf("empty.axmodel", ""), "is empty", "again"],
    [
      "that is a Git LFS pointer",
      () => fileOf("lfs.axmodel", "version https://git-lfs.github.com/spec/v1\n"),
      "LFS",
      "git lfs pull",
    ],
    [
      "that is damaged",
      () => fileOf("damaged.axmodel", new Uint8Array(100)),
      "the card says 0x80060087",
      "Pulsar2",
    ],
    [
      "that is cut off",
      () => fileOf("cut.axmodel", containerOf(statefulGraph(), "ax").subarray(0, -9)),
      "0x8030070C",
      "Pulsar2",
    ],
    [
      "for another NPU",
      () => fileOf("other.axmodel", containerOf(statefulGraph(), "rknn")),
      "0x8030070C",
      "Pulsar2",
    ],
    [
      "for another chip",
      () => modelFile(AXCL, "chip", statefulGraph(), { platform: 620 }),
      "0x8030070C",
      "for AX650",
    ],
    [
      "of a newer compiler",
      () => modelFile(AXCL, "newer", statefulGraph(), { toolkit: 60000 }),
      "0x8030070C",
      "as new as Pulsar2",
    ],
    [
      "that is quantised",
      () => modelFile(AXCL, "u16", statefulGraph(), { quantised: true }),
      "is u16",
      "f32 inputs and outputs",
    ],
    [
      "without the states asked for",
      () => modelFile(AXCL, "doubled", doublingGraph([4])),
      "state.sum is missing",
      "this version",
    ],
  ]);
});

interface Story {
  opened: Failure | "ok";
  runs: (Failure | "ok")[];
  /** Failed runs whose state keep() took all the same. */
  keptFailures: number;
  output: number[];
  live: number;
}

/** Opens a model in a process of its own, runs it, and closes it. */
function storyOf(runs: number, environment: Record<string, string>): Story {
  const path = modelFile(AXCL, "story");
  return inProcess<Story>(
    `const { loadAxcl, openAxclModel } = await import(${JSON.stringify(MODULE)});
    const { dlopen } = await import("bun:ffi");
    loadAxcl(${JSON.stringify({ override: library, allowStandIn: true })}, ${JSON.stringify(SYSTEM)});
    Object.assign(result, { opened: "ok", runs: [], keptFailures: 0, output: [] });
    try {
      const model = openAxclModel(${JSON.stringify(options(path))});
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
    [
      "no driver",
      { TTS_NPU_FAULT: "axclInit:0x8030010b" },
      "NPU_UNAVAILABLE",
      "card not on the PCI bus",
      "lspci",
    ],
    ["none there", { TTS_STANDIN_AXCL_DEVICES: "" }, "NPU_UNAVAILABLE", "no card is connected", "lspci"],
    [
      "no connection",
      { TTS_NPU_FAULT: "axclrtSetDevice:0x80300186" },
      "NPU_UNAVAILABLE",
      "axclrtSetDevice gave 0x80300186",
      "other programs",
    ],
    [
      "no context",
      { TTS_NPU_FAULT: "axclrtCreateContext:0x80300281" },
      "NPU_UNAVAILABLE",
      "0x80300281",
      "other programs",
    ],
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
    [
      "little memory",
      { TTS_STANDIN_AXCL_CMM_KB: "1" },
      "NPU_UNAVAILABLE",
      "of the card's memory to be loaded",
      "axcl-smi",
    ],
    [
      "memory taken by others",
      { TTS_NPU_FAULT: "axclrtMalloc:0x8030050c:3" },
      "NPU_UNAVAILABLE",
      "axclrtMalloc of 8 bytes",
      "fewer lanes",
    ],
    [
      "a size that is a code",
      { TTS_NPU_FAULT: "axclrtEngineGetInputSizeByIndex:0x80300702" },
      "LIBRARY_FAILED",
      "axclrtEngineGetInputSizeByIndex of x gave 0x80300702",
      "report",
    ],
  ])("%s", (_name, environment, code, message, hint) => {
    const { live, opened } = storyOf(0, environment);
    expect(opened).toMatchObject({
      code,
      message: expect.stringContaining(message),
      hint: expect.stringContaining(hint),
    });
    expect(live).toBe(0);
  });

  test("a card that does not tell its free memory is no obstacle", () => {
    expect(failing("axclrtGetDeviceProperties:0x8030090c", 1)).toMatchObject({
      opened: "ok",
      runs: ["ok"],
      live: 0,
    });
  });

  test("the first card is taken, whatever its id", () => {
    expect(storyOf(1, { TTS_STANDIN_AXCL_DEVICES: "5,129" })).toMatchObject({
      opened: "ok",
      runs: ["ok"],
      live: 0,
    });
  });

  test("when the card vanishes in use, every later run says so, and closing is possible", () => {
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
    expect(runs).toMatchObject([
      "ok",
      { code: "NPU_FAILED", message: expect.stringContaining("NPU: the task failed") },
    ]);
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
      const model = openAxclModel(${JSON.stringify(options(modelFile(AXCL, "hang")))});
      model.run(0);
      require("node:fs").writeSync(1, "first ");
      model.run(0);
      require("node:fs").writeSync(1, "second");`;
    const environment = {
      ...process.env,
      ...standInEnvironment(),
      TTS_NPU_FAULT: "axclrtEngineExecute:hang:2",
    };
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
    const path = modelFile(AXCL, "threads");
    const source = URL.createObjectURL(new Blob([WORKER], { type: "application/typescript" }));
    const workers = [new Worker(source), new Worker(source)];
    await Promise.all(
      workers.map(
        (worker) => new Promise((resolve) => worker.addEventListener("message", resolve, { once: true })),
      ),
    );
    expect(await ask(workers, () => ({ library, open: options(path) }))).toEqual(["open", "open"]);
    const references = [new Reference(), new Reference()];
    const inputs = (step: number, index: number) => inputAt(7 * step + index);
    for (let step = 0; step < 20; step++) {
      const outputs = await ask(workers, (index) => ({ input: inputs(step, index) }));
      expect(outputs).toEqual(references.map((reference, index) => reference.step(inputs(step, index))));
    }
    expect(await ask([workers[0]], () => ({}))).toEqual(["closed"]);
    expect(await ask([workers[1]], () => ({ input: inputs(20, 1) }))).toEqual([
      references[1].step(inputs(20, 1)),
    ]);
    expect(await ask([workers[1]], () => ({}))).toEqual(["closed"]);
    for (const worker of workers) worker.terminate();
    URL.revokeObjectURL(source);
    expect(liveObjects(AXCL)).toEqual([0]);
  });
});
