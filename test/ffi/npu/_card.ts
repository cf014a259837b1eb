// What the tests of NPU libraries share: the libraries under test, a small graph with two states, and
// processes of their own for what a library keeps for good.

import { dlopen } from "bun:ffi";
import { test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ENGINE_SYMBOLS } from "../../../ffi/npu/_ax-engine-abi.ts";
import { AXCL_SYMBOLS } from "../../../ffi/npu/_axcl-abi.ts";
import { RKNN_SYMBOLS } from "../../../ffi/npu/_rknn-abi.ts";
import { describeAxEngine, loadAxEngine, openAxEngineModel } from "../../../ffi/npu/ax-engine.ts";
import { describeAxcl, loadAxcl, openAxclModel } from "../../../ffi/npu/axcl.ts";
import type {
  NpuDescription,
  NpuLibrary,
  NpuLibraryOptions,
  NpuModel,
  NpuModelOptions,
  StatePair,
} from "../../../ffi/npu/model.ts";
import { describeRknn, loadRknn, openRknnModel } from "../../../ffi/npu/rknn.ts";
import { OrtSession, OrtTensor, PreparedRun } from "../../../ffi/onnxruntime.ts";
import { Graph } from "../../../src/formats/onnx.ts";
import {
  type ContainerOptions,
  compileNative,
  compileStandIns,
  compileText,
  containerOf,
} from "../../_standins.ts";
import { patient, ROOT, scratchFolder } from "../../_support.ts";

export const STATES: StatePair[] = [
  ["state.sum", "next.sum"],
  ["state.steps", "next.steps"],
];
const SHAPE = [1, 2, 3];
const STEPS_SHAPE = [1, 2, 1];

/** y = tanh(sum') * x + steps, where sum' = sum + sin(x) and steps' = steps + 1. */
export function statefulGraph(): Uint8Array {
  const graph = new Graph({ name: "stateful" });
  const x = graph.input("x", "f32", SHAPE);
  const sum = graph.op("Add", [graph.input("state.sum", "f32", SHAPE), graph.op("Sin", [x])]);
  const steps = graph.input("state.steps", "f32", STEPS_SHAPE);
  graph.output("next.sum", sum, "f32", SHAPE);
  graph.output("y", graph.op("Add", [graph.op("Mul", [graph.op("Tanh", [sum]), x]), steps]), "f32", SHAPE);
  graph.output("next.steps", graph.op("Add", [steps, graph.float(1)]), "f32", STEPS_SHAPE);
  return graph.encode();
}

/** A graph whose input and output have this shape. */
export function doublingGraph(shape: number[]): Uint8Array {
  const graph = new Graph({ name: "doubling" });
  const x = graph.input("x", "f32", shape);
  graph.output("y", graph.op("Add", [x, x]), "f32", shape);
  return graph.encode();
}

/** The stateful graph on ONNX Runtime: one lane. */
export class Reference {
  private readonly data: Record<string, OrtTensor>;
  private readonly prepared: PreparedRun;

  constructor() {
    const session = OrtSession.fromBytes("stateful", statefulGraph(), { threads: 1 });
    const tensor = (shape: number[]) => {
      return new OrtTensor(
        new Float32Array(new ArrayBuffer(4 * shape.reduce((product, size) => product * size, 1))),
        shape,
      );
    };
    const inputs = { x: tensor(SHAPE), "state.sum": tensor(SHAPE), "state.steps": tensor(STEPS_SHAPE) };
    const outputs = { y: tensor(SHAPE), "next.sum": tensor(SHAPE), "next.steps": tensor(STEPS_SHAPE) };
    this.data = { ...inputs, ...outputs };
    this.prepared = new PreparedRun(session, inputs, outputs);
  }

  /** One step that is kept. */
  step(x: number[]): number[] {
    this.data.x.data.set(x as never);
    this.prepared.run();
    for (const [from, to] of STATES) this.data[from].data.set(this.data[to].data as never);
    return Array.from(this.data.y.data as Float32Array);
  }
}

/** One run of the stateful graph. */
export function runOf(model: NpuModel, lane: number, x: number[]): number[] {
  model.inputs[0].data.set(x);
  model.run(lane);
  return Array.from(model.outputs[0].data);
}

export const inputAt = (step: number) => Array.from({ length: 6 }, (_, i) => Math.cos(1.7 * step + i));

export interface Failure {
  code: string;
  message: string;
  hint: string;
}

/** Runs an async function body that fills `result` in a process of its own. */
export function inProcess<T>(body: string, environment: Record<string, string> = {}): T {
  const script = `const result = {}; const failure = (error) => ({ code: error.code ?? error.name, message: error.message, hint: error.hint });
    ${body}
    console.log(JSON.stringify(result));`;
  const { exitCode, stderr, stdout } = Bun.spawnSync([process.execPath, "-e", script], {
    env: { ...process.env, ...environment },
    stderr: "pipe",
  });
  if (exitCode !== 0) throw new Error(`ended with ${exitCode}: ${stderr}`);
  return JSON.parse(stdout.toString().trim().split("\n").at(-1)!) as T;
}

/** One of the libraries under test. Its functions are called by their names in other processes. */
export interface Subject {
  module: string;
  load: (options: NpuLibraryOptions) => NpuLibrary;
  open: (options: NpuModelOptions) => NpuModel;
  describe: (options: NpuLibraryOptions) => NpuDescription;
  symbols: object;
  /** File names of the stand-ins: the library, and what comes with it. */
  files: readonly [string, ...string[]];
  version: string;
  title: string;
  variable: string;
  /** Where it is looked for, and what to install. */
  places: readonly string[];
  from: string;
  /** Vendor of its models. */
  vendor: "rknn" | "ax";
}

export const RKNN: Subject = {
  module: "npu/rknn.ts",
  ...{ load: loadRknn, open: openRknnModel, describe: describeRknn, symbols: RKNN_SYMBOLS },
  files: ["librknnrt.so"],
  version: "2.3.2 (stand-in)",
  title: "Rockchip's NPU runtime",
  variable: "TTS_LIBRKNNRT",
  places: ["/usr/lib/librknnrt.so", "/usr/lib/aarch64-linux-gnu/librknnrt.so", "/usr/local/lib/librknnrt.so"],
  from: "rknn-toolkit2",
  vendor: "rknn",
};
export const AXCL: Subject = {
  module: "npu/axcl.ts",
  ...{ load: loadAxcl, open: openAxclModel, describe: describeAxcl, symbols: AXCL_SYMBOLS },
  files: ["libaxcl_rt.so"],
  version: "V3.10.2 (stand-in)",
  title: "AXCL, the runtime of AXERA's cards",
  variable: "TTS_LIBAXCL",
  places: ["/usr/lib/axcl/libaxcl_rt.so"],
  from: "axclhost",
  vendor: "ax",
};
export const AX_ENGINE: Subject = {
  module: "npu/ax-engine.ts",
  ...{ load: loadAxEngine, open: openAxEngineModel, describe: describeAxEngine, symbols: ENGINE_SYMBOLS },
  files: ["libax_engine.so", "libax_sys.so"],
  version: "libax_engine 1.45.0 (stand-in)",
  title: "AXERA's NPU engine",
  variable: "TTS_LIBAXENGINE",
  places: ["/soc/lib/libax_engine.so", "/usr/lib/libax_engine.so"],
  from: "the board's BSP",
  vendor: "ax",
};

/** The stand-ins of a subject. */
export const standInsOf = ({ files }: Subject) => files.map((file) => join(compileStandIns().folder, file));

/** Number of objects in each stand-in that nobody has destroyed. */
export function liveObjects(subject: Subject): number[] {
  const symbols = { standin_live_objects: { args: [], returns: "i64" } } as const;
  return standInsOf(subject).map((path) => Number(dlopen(path, symbols).symbols.standin_live_objects()));
}

export function fileOf(name: string, bytes: Uint8Array | string): string {
  const path = join(scratchFolder(), name);
  writeFileSync(path, bytes);
  return path;
}

const SUFFIX = { rknn: "rknn", ax: "axmodel" };

/** A model file for a stand-in. */
export const modelFile = (
  { vendor }: Subject,
  name: string,
  onnx = statefulGraph(),
  about: ContainerOptions = {},
) => fileOf(`${name}.${SUFFIX[vendor]}`, containerOf(onnx, vendor, about));

export const statefulOptions = (path: string, lanes = 1, states: readonly StatePair[] = STATES) => ({
  path,
  lanes,
  states,
});

const imports = ({ describe, load, module, open }: Subject) =>
  `const { ${load.name}: load, ${open.name}: open, ${describe.name}: describe } = await import(${JSON.stringify(join(ROOT, "ffi", module))});`;

/**
 * Runs an async function body, which knows load(), open() and describe() of a subject, in a process of its
 * own: see {@link inProcess}.
 */
export const inProcessOf = <T>(subject: Subject, body: string, environment: Record<string, string> = {}) =>
  inProcess<T>(`${imports(subject)} ${body}`, environment);

/** What load() of a library says, in a process of its own. */
export function loadFailure(subject: Subject, override: string, allowStandIn = true): Failure {
  const options = JSON.stringify({ override, allowStandIn });
  return inProcessOf<{ failure: Failure }>(
    subject,
    `try { load(${options}); result.failure = { code: "none", message: "", hint: "" }; } catch (error) { result.failure = failure(error); }`,
  ).failure;
}

/**
 * Results of opening the stateful model and of `runs` kept runs on it, and the stand-ins' live objects at the
 * end.
 */
export interface Story {
  opened: Failure | "ok";
  runs: (Failure | "ok")[];
  /** The lane's state at the end. */
  steps: number[];
  output: number[];
  live: number[];
}

export function storyOf(
  subject: Subject,
  path: string,
  runs: number,
  environment: Record<string, string>,
): Story {
  const libraries = standInsOf(subject);
  return inProcessOf<Story>(
    subject,
    `const { dlopen } = await import("bun:ffi");
    load({ override: ${JSON.stringify(libraries[0])}, allowStandIn: true });
    Object.assign(result, { opened: "ok", runs: [], steps: [], output: [] });
    try {
      const model = open(${JSON.stringify(statefulOptions(path))});
      for (let i = 0; i < ${runs}; i++) {
        try { model.run(0); model.keep(); result.runs.push("ok"); } catch (error) { result.runs.push(failure(error)); }
      }
      result.steps = Array.from(model.save(0)[1]);
      result.output = Array.from(model.outputs[0].data, String);
      model.close();
    } catch (error) { result.opened = failure(error); }
    result.live = ${JSON.stringify(libraries)}.map((path) => Number(dlopen(path, { standin_live_objects: { args: [], returns: "i64" } }).symbols.standin_live_objects()));`,
    environment,
  );
}

const ALONE = "TTS_TEST_ALONE";

/** A test in a process of its own: memory of other tests would disturb what it measures. */
export function testAlone(file: string, title: string, work: () => void): void {
  test(title, () => {
    if (process.env[ALONE] === "1") return work();
    run([process.execPath, "test", file, "--timeout", String(patient(120_000)), "-t", title], "", {
      ...process.env,
      [ALONE]: "1",
    });
  });
}

const WARM_UP_ROUNDS = 1_000;

/** Bytes by which this process grows in `rounds` rounds, not counting the first WARM_UP_ROUNDS. */
export function growthOf(rounds: number, round: (index: number) => void): number {
  const measured = () => {
    Bun.gc(true);
    return process.memoryUsage.rss();
  };
  for (let i = 0; i < WARM_UP_ROUNDS; i++) round(i);
  const before = measured();
  for (let i = WARM_UP_ROUNDS; i < rounds; i++) round(i);
  return measured() - before;
}

function run(command: string[], text = "", env = process.env): string {
  const { exitCode, stderr, stdout } = Bun.spawnSync(command, {
    stdin: Buffer.from(text),
    stderr: "pipe",
    env,
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout.toString();
}

/** A library of this C text. @returns its path */
export function compile(folder: string, file: string, text: string): string {
  mkdirSync(join(scratchFolder(), folder), { recursive: true });
  return compileText(join(scratchFolder(), folder, file), text);
}

interface LayoutInC {
  size: number;
  fields: Record<string, [number, string]>;
  arrays: Record<string, [number, number]>;
}

let layouts: Map<string, LayoutInC> | null = null;

/** What the C compiler makes of the structs of native/layouts-rknn-ax.c; C's n_elems is our nElems. */
export function layoutsInC(): Map<string, LayoutInC> {
  if (layouts !== null) return layouts;
  layouts = new Map();
  const program = compileNative(join(scratchFolder(), "layouts-rknn-ax"), "layouts-rknn-ax.c");
  for (const line of run([program]).trim().split("\n")) {
    const [struct, field, number, type, bytes] = line.split(" ");
    const name = field.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    const known = layouts.get(struct) ?? { size: 0, fields: {}, arrays: {} };
    layouts.set(struct, known);
    if (field === "sizeof") known.size = Number(number);
    else if (type === "bytes") known.arrays[name] = [Number(number), Number(bytes)];
    else known.fields[name] = [Number(number), type];
  }
  return layouts;
}
