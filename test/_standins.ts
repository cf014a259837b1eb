// Stand-ins for the libraries of NPU vendors: compiled once, and model files for them. Only the paths given
// here lead to them, and their versions say what they are.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { madeOnce, ROOT } from "./_support.ts";

export const compiler = Bun.which("cc") ?? Bun.which("gcc") ?? Bun.which("clang");
/** Ends the title of a test that is skipped without a compiler. */
export const noCompiler = compiler === null ? " (skipped: there is no C compiler here)" : "";

const NATIVE = join(ROOT, "native");
const FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fvisibility=hidden", "-I", NATIVE];
const LIBRARY_FLAGS = ["-shared", "-fPIC", "-pthread", "-Wl,-Bsymbolic"];

/** Compiles C sources of native/ (and passes on options) to `target`. */
export function compileNative(target: string, ...args: string[]): string {
  const paths = args.map((arg) => (arg.endsWith(".c") ? join(NATIVE, arg) : arg));
  const { exitCode, stderr } = Bun.spawnSync([compiler!, ...FLAGS, "-o", target, ...paths], {
    stderr: "pipe",
  });
  if (exitCode !== 0) throw new Error(`${compiler} ${args.join(" ")}: ${stderr}`);
  return target;
}

/** Compiles the text of a C library to `target`. @returns its path */
export function compileText(target: string, text: string): string {
  const command = [
    compiler!,
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
    "-fPIC",
    "-o",
    target,
    "-x",
    "c",
    "-",
  ];
  const { exitCode, stderr } = Bun.spawnSync(command, { stdin: Buffer.from(text), stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${target}: ${stderr}`);
  return target;
}

export interface StandIns {
  folder: string;
  /** librknnrt.so */
  rknn: string;
  /** libaxcl_rt.so */
  axcl: string;
  /** libax_engine.so, with libax_sys.so beside it */
  axEngine: string;
}

/** All stand-ins, in one folder. */
export function compileStandIns(): StandIns {
  const folder = madeOnce("standins", (part) => {
    mkdirSync(part);
    const library = (name: string, ...args: string[]) =>
      compileNative(join(part, name), ...LIBRARY_FLAGS, ...args, "standin-graph.c", "-ldl", "-lm");
    library("libax_sys.so", "ax-sys-standin.c");
    library("librknnrt.so", "rknnrt-standin.c");
    library("libaxcl_rt.so", "axcl-standin.c", "axcl-standin-engine.c");
    library("libax_engine.so", "ax-engine-standin.c", `-L${part}`, "-lax_sys", "-Wl,-rpath,$ORIGIN");
  });
  const [rknn, axcl, axEngine] = ["librknnrt.so", "libaxcl_rt.so", "libax_engine.so"].map((name) =>
    join(folder, name),
  );
  return { folder, rknn, axcl, axEngine };
}

/** What a process needs to use a stand-in: permission, and the library that computes for it. */
export function standInEnvironment(more: Record<string, string> = {}): Record<string, string> {
  const folder = join(
    ROOT,
    "node_modules/onnxruntime-node/bin/napi-v6/linux",
    process.arch === "arm64" ? "arm64" : "x64",
  );
  return { TTS_NPU_STANDIN: "1", TTS_STANDIN_ONNXRUNTIME: join(folder, "libonnxruntime.so.1"), ...more };
}

const MAGIC = "TTSNPU\r\n";
const HEADER_BYTES = 32;
const VENDORS = {
  rknn: { number: 1, toolkit: 20302, platform: 3588 },
  ax: { number: 2, toolkit: 50000, platform: 650 },
};

export interface ContainerOptions {
  /** Version of the toolkit that "built" it: 20302 is 2.3.2. */
  toolkit?: number;
  /** The chip it is for. */
  platform?: number;
  /** Whether the stand-ins describe its inputs and outputs as quantised. */
  quantised?: boolean;
  /** Whether the rows of its tensors are padded to a length of their own. */
  paddedRows?: boolean;
}

/** A model file for a stand-in: an ONNX model whose weights are inside it. */
export function containerOf(
  onnx: Uint8Array,
  vendor: keyof typeof VENDORS,
  options: ContainerOptions = {},
): Uint8Array {
  const {
    number,
    paddedRows = false,
    platform,
    quantised = false,
    toolkit,
  } = { ...VENDORS[vendor], ...options };
  const container = Buffer.alloc(HEADER_BYTES + onnx.length);
  container.write(MAGIC, "latin1");
  for (const [i, value] of [number, toolkit, platform, Number(quantised) + 2 * Number(paddedRows)].entries())
    container.writeUInt32LE(value, 8 + 4 * i);
  container.writeBigUInt64LE(BigInt(onnx.length), 24);
  container.set(onnx, HEADER_BYTES);
  return container;
}
