// C checks TypeScript: struct layouts, structs by value, and what happens when a library is missing, damaged
// or another version.

import { dlopen, ptr } from "bun:ffi";
import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  GGML_BASE_SYMBOLS,
  GGML_INIT_PARAMS,
  GGML_SYMBOLS,
  GGML_TENSOR,
  GGML_VERSION,
  THREADPOOL_PARAMS,
} from "../../ffi/_ggml-abi.ts";
import {
  BATCH,
  CONTEXT_PARAMS,
  LLAMA_SYMBOLS,
  LLAMA_VERSION,
  MODEL_PARAMS,
  QUANTIZE_PARAMS,
} from "../../ffi/_llama-abi.ts";
import { loadLlama } from "../../ffi/llama.ts";
import { findLibrary } from "../../ffi/load/library.ts";
import { byValue, callByValue, type Layout, Struct } from "../../ffi/load/struct.ts";
import { TtsError } from "../../src/errors.ts";
import { compileNative, compiler, compileText, noCompiler } from "../_standins.ts";
import { ROOT, scratchFolder } from "../_support.ts";

/** Exports every function. */
const LIBRARY = ["-shared", "-fPIC", "-fvisibility=default"];

const LAYOUTS: [string, Layout][] = [
  ["llama_model_params", MODEL_PARAMS],
  ["llama_context_params", CONTEXT_PARAMS],
  ["llama_model_quantize_params", QUANTIZE_PARAMS],
  ["llama_batch", BATCH],
  ["ggml_init_params", GGML_INIT_PARAMS],
  ["ggml_threadpool_params", THREADPOOL_PARAMS],
  ["ggml_tensor", GGML_TENSOR],
];

/** C's n_gpu_layers is our nGpuLayers. */
const camelCase = (name: string) =>
  name === "nthread" ? "nThread" : name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

describe.skipIf(compiler === null)(`layouts in C${noCompiler}`, () => {
  const sizes = new Map<string, number>();
  const fields = new Map<string, Record<string, [number, string]>>();

  beforeAll(() => {
    const program = join(scratchFolder(), "layouts");
    compileNative(program, "layouts.c");
    for (const line of Bun.spawnSync([program]).stdout.toString().trim().split("\n")) {
      const [struct, field, number, type] = line.split(" ");
      if (field === "sizeof") sizes.set(struct, Number(number));
      else fields.set(struct, { ...fields.get(struct), [camelCase(field)]: [Number(number), type] });
    }
  });

  test.each(LAYOUTS)("%s has this size and these fields", (name, layout) => {
    expect(sizes.get(name)).toBe(layout.size);
    expect(fields.get(name) as unknown).toEqual(layout.fields);
  });

  test("no other structs are described", () => {
    expect([...sizes.keys()].sort()).toEqual(LAYOUTS.map(([name]) => name).sort());
  });
});

describe.skipIf(compiler === null)(`structs by value${noCompiler}`, () => {
  const library = join(scratchFolder(), "by-value.so");
  beforeAll(() => compileNative(library, ...LIBRARY, "by-value.c"));

  /** A struct of words that differ, and the checksum that C makes of them. */
  function filled(bytes: number, seed: bigint): { struct: Struct<never>; sent: bigint[]; checksum: bigint } {
    const struct = new Struct<never>({ size: bytes, fields: {}, defaults: {} });
    for (let i = 0; i < bytes / 8; i++) struct.words[i] = BigInt.asIntN(64, seed * BigInt(i + 1) ** 5n - 3n);
    const sent = Array.from(struct.words);
    const sum = sent.reduce((before, word) => before * 31n + BigInt.asUintN(64, word), 0n);
    return { struct, sent, checksum: BigInt.asUintN(64, sum) };
  }
  const SEEDS = [1n, 0x9e3779b97f4a7c15n];

  test.each([
    [56, BATCH.size],
    [80, MODEL_PARAMS.size],
    [160, CONTEXT_PARAMS.size],
  ] as const)("%i bytes arrive whole behind a pointer", (bytes, used) => {
    expect(used).toBe(bytes);
    const name = `take_${bytes}`;
    const { symbols } = dlopen(library, { [name]: { args: ["ptr", ...byValue(bytes)], returns: "u64" } });
    for (const seed of SEEDS) {
      const { checksum, sent, struct } = filled(bytes, seed);
      const seen = new BigInt64Array(new ArrayBuffer(bytes));
      expect(BigInt(callByValue(symbols[name], [ptr(seen)], struct) as bigint)).toBe(checksum);
      expect(Array.from(seen)).toEqual(sent);
    }
  });

  test("24 bytes arrive whole as the only parameter", () => {
    expect(GGML_INIT_PARAMS.size).toBe(24);
    const { symbols } = dlopen(library, { take_only_24: { args: byValue(24, 0), returns: "u64" } });
    for (const seed of SEEDS) {
      const { checksum, struct } = filled(24, seed);
      expect(BigInt(callByValue(symbols.take_only_24, [], struct) as bigint)).toBe(checksum);
    }
  });
});

/**
 * Runs `load` of a module of ffi/ in a process of its own and returns the code and message of what it throws.
 */
function failureOf(
  module: string,
  load: string,
  argument: string,
): { code: string; message: string; hint: string } {
  const script = `
    const { ${load} } = await import(${JSON.stringify(join(ROOT, "ffi", module))});
    try { console.log(JSON.stringify({ code: "none", message: JSON.stringify(${load}(process.argv[1])) })); }
    catch (error) { console.log(JSON.stringify({ code: error.code ?? error.name, message: error.message, hint: error.hint })); }`;
  const { exitCode, stderr, stdout } = Bun.spawnSync([process.execPath, "-e", script, argument], {
    stderr: "pipe",
  });
  if (exitCode !== 0) throw new Error(`ended with ${exitCode}: ${stderr}`);
  return JSON.parse(stdout.toString());
}

const llamaFailure = (path: string) => failureOf("llama.ts", "loadLlama", path);
const ortFailure = (path: string) => failureOf("onnxruntime.ts", "loadOnnxRuntime", path);

function folderOf(name: string): string {
  const folder = join(scratchFolder(), name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** A libllama with its two siblings that has every symbol and these versions, but does nothing. */
function fakeLlama(name: string, llamaVersion: string, ggmlVersion: string): string {
  const folder = folderOf(name);
  const source = (symbols: object, versions: Record<string, string>) => {
    return Object.keys(symbols)
      .map((symbol) =>
        symbol in versions
          ? `const char *${symbol}(void) { return "${versions[symbol]}"; }`
          : `long ${symbol}(void) { return 0; }`,
      )
      .join("\n");
  };
  compileText(join(folder, "libllama.v0.5.0.so"), source(LLAMA_SYMBOLS, { llama_version: llamaVersion }));
  compileText(join(folder, "libggml.v0.5.0.so"), source(GGML_SYMBOLS, {}));
  compileText(
    join(folder, "libggml-base.so"),
    source(GGML_BASE_SYMBOLS, { ggml_version: ggmlVersion, ggml_commit: "0000000" }),
  );
  return folder;
}

describe.skipIf(compiler === null)(`another libllama${noCompiler}`, () => {
  test.each([
    ["9.9.9", GGML_VERSION],
    [LLAMA_VERSION, "0.1.0"],
  ])("is refused by its version: %s with ggml %s", (llama, ggml) => {
    const { code, hint, message } = llamaFailure(fakeLlama(`llama-${llama}-${ggml}`, llama, ggml));
    expect(code).toBe("LIBRARY_MISMATCH");
    expect(message).toContain(`llama.cpp ${llama} with ggml ${ggml}`);
    expect(hint).toContain(LLAMA_VERSION);
  });

  // The library's own defaults can only be asked for where a struct is returned through memory.
  test.skipIf(process.arch !== "x64")("is refused by its layout when the version says nothing", () => {
    const { code, message } = llamaFailure(fakeLlama("llama-layout", LLAMA_VERSION, GGML_VERSION));
    expect(code).toBe("LIBRARY_MISMATCH");
    expect(message).toContain("model parameters have another layout (nGpuLayers");
  });

  test("is refused when a function is missing", () => {
    const folder = fakeLlama("llama-old", LLAMA_VERSION, GGML_VERSION);
    compileText(join(folder, "libllama.v0.5.0.so"), "int llama_decode(void) { return 0; }");
    expect(llamaFailure(folder)).toMatchObject({
      code: "LIBRARY_MISMATCH",
      message: expect.stringContaining(folder),
    });
  });
});

describe.skipIf(compiler === null)(`another ONNX Runtime${noCompiler}`, () => {
  test.each([
    ["1.5.0", "is ONNX Runtime 1.5.0"],
    ["2.0.0", "is ONNX Runtime 2.0.0"],
    ["1.30.0", "no function table"],
  ])("is refused: %s", (version, reason) => {
    const library = join(folderOf(`ort-${version}`), "libonnxruntime.so.1");
    compileNative(library, ...LIBRARY, `-DFAKE_VERSION="${version}"`, "fake-onnxruntime.c");
    const { code, message } = ortFailure(library);
    expect(code).toBe("LIBRARY_MISMATCH");
    expect(message).toContain(reason);
  });
});

describe("a file that is missing or is no library", () => {
  const nowhere = join(scratchFolder(), "nowhere", "lib.so");
  const text = join(folderOf("text"), "libllama.v0.5.0.so");
  writeFileSync(text, "this is no library\n");

  test.each([
    ["libllama", llamaFailure, "TTS_LIBLLAMA"],
    ["ONNX Runtime", ortFailure, "TTS_LIBONNXRUNTIME"],
  ])("%s at a wrong path: says where it looked and which variable to correct", (title, failure, variable) => {
    const { code, hint, message } = failure(nowhere);
    expect(code).toBe("LIBRARY_MISSING");
    expect(message).toContain(title);
    expect(message).toContain(nowhere);
    expect(hint).toContain(variable);
  });

  test.each([
    ["libllama", llamaFailure],
    ["ONNX Runtime", ortFailure],
  ])("%s that is a text file: says which file", (title, failure) => {
    const { code, message } = failure(text);
    expect(code).toBe("LIBRARY_MISMATCH");
    expect(message).toStartWith(`${title} at ${text} could not be loaded`);
  });

  test("without a choice of the user: the package, beside the program and lib/ there", () => {
    const place = {
      title: "libnone",
      file: "libnone.so",
      variable: "TTS_LIBNONE",
      package: "no-such-package",
      folder: "bins",
    };
    try {
      findLibrary(place, "");
      throw new Error("found");
    } catch (error) {
      expect(error).toBeInstanceOf(TtsError);
      const { code, hint, message } = error as TtsError;
      const beside = dirname(process.execPath);
      expect(code).toBe("LIBRARY_MISSING");
      for (const path of [
        "node_modules/no-such-package/bins/libnone.so",
        join(beside, "libnone.so"),
        join(beside, "lib", "libnone.so"),
      ]) {
        expect(message).toContain(path);
      }
      expect(hint).toContain("TTS_LIBNONE");
    }
  });

  test("libllama without its CPU code says what is missing", () => {
    const folder = folderOf("no-cpu");
    const real = dirname(loadLlama().path);
    for (const name of readdirSync(real))
      if (/^lib(llama|ggml|ggml-base)\./.test(name)) copyFileSync(join(real, name), join(folder, name));
    expect(llamaFailure(folder)).toMatchObject({
      code: "LIBRARY_MISSING",
      message: expect.stringContaining("libggml-cpu-*.so"),
    });
  });
});
