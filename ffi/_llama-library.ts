// libllama and the ggml libraries beside it: found, opened once per thread, checked, silenced. Every file
// that calls them starts here.

import { linkSymbols, type Pointer } from "bun:ffi";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { TtsError } from "../src/errors.ts";
import { GGML_BASE_SYMBOLS, GGML_CPU_SYMBOLS, GGML_SYMBOLS, GGML_VERSION } from "./_ggml-abi.ts";
import { CONTEXT_PARAMS, LLAMA_SYMBOLS, LLAMA_VERSION, MODEL_PARAMS, QUANTIZE_PARAMS } from "./_llama-abi.ts";
import { NOOP_CALLBACK } from "./libc.ts";
import { compiled } from "./load/embedded.ts";
import { settleEnvironment } from "./load/environment.ts";
import { findLibrary, type LibraryPlace, openLibrary } from "./load/library.ts";
import { Pin } from "./load/memory.ts";
import { noted } from "./load/steps.ts";
import { byValueOnStack, Struct } from "./load/struct.ts";

const arch = process.arch === "arm64" ? "arm64" : "x64";
const PLACE: LibraryPlace = {
  title: "libllama",
  file: "libllama.v0.5.0.so",
  otherNames: ["libllama.so"],
  variable: "TTS_LIBLLAMA",
  package: `@node-llama-cpp/linux-${arch}`,
  folder: `bins/linux-${arch}`,
};

type Libraries = ReturnType<typeof openAll>;
type CpuFunctions = ReturnType<typeof linkCpu>;
let opened: (Libraries & { cpu: CpuFunctions }) | null = null;

function openAll(override: string) {
  settleEnvironment();
  const path = findLibrary(PLACE, override);
  const folder = dirname(path);
  const llama = openLibrary("libllama", path, LLAMA_SYMBOLS).symbols;
  const base = openLibrary("libggml-base", join(folder, "libggml-base.so"), GGML_BASE_SYMBOLS).symbols;
  const ggml = openLibrary("libggml", findSibling(folder, /^libggml\.(v[\d.]+\.)?so/), GGML_SYMBOLS).symbols;
  const version = {
    llama: String(llama.llama_version()),
    ggml: String(base.ggml_version()),
    commit: String(base.ggml_commit()),
  };
  return { path, folder, llama, base, ggml, version };
}

function findSibling(folder: string, pattern: RegExp): string {
  const name = readdirSync(folder).find((file) => pattern.test(file));
  if (name === undefined)
    throw new TtsError(
      "LIBRARY_MISSING",
      `${folder} holds no library like ${pattern.source}`,
      "copy all files of the build",
    );
  return join(folder, name);
}

/**
 * Opens libllama once per thread, refuses another version or layout, silences it and loads the best CPU code.
 * @param override TTS_LIBLLAMA: a file or folder, or "" for the package.
 * @param turn one shared word, 0 at first: loading CPU code is not safe on two threads at once.
 */
export function loadLlama(
  override = "",
  turn: Int32Array = new Int32Array(new SharedArrayBuffer(4)),
): { path: string; version: string } {
  if (opened === null) {
    opened = noted("libllama", () => {
      const libraries = openAll(override);
      checkVersion(libraries);
      if (byValueOnStack) checkLayouts(libraries);
      libraries.llama.llama_log_set(NOOP_CALLBACK, null);
      loadCpuCode(libraries, turn);
      return { ...libraries, cpu: linkCpu(libraries) };
    });
  }
  return {
    path: opened.path,
    version: `${opened.version.llama} (ggml ${opened.version.ggml} ${opened.version.commit})`,
  };
}

function checkVersion({ path, version }: Libraries): void {
  if (version.llama === LLAMA_VERSION && version.ggml === GGML_VERSION) return;
  const found = `llama.cpp ${version.llama} with ggml ${version.ggml}`;
  const own = compiled ? "unset TTS_LIBLLAMA" : 'run "make setup" or unset TTS_LIBLLAMA';
  const hint = `this program needs ${LLAMA_VERSION} with ${GGML_VERSION}: ${own}, or point it to that version`;
  throw new TtsError("LIBRARY_MISMATCH", `${path} is ${found}`, hint);
}

/** The library's own defaults must equal the bytes of the hand-written tables. */
function checkLayouts({ path, llama }: Libraries): void {
  const pin = new Pin();
  const tables = [
    ["model", new Struct(MODEL_PARAMS), llama.llama_model_default_params],
    ["context", new Struct(CONTEXT_PARAMS), llama.llama_context_default_params],
    ["quantise", new Struct(QUANTIZE_PARAMS), llama.llama_model_quantize_default_params],
  ] as const;
  for (const [title, ours, fill] of tables) {
    const theirs = pin.bytes(512);
    fill(theirs);
    const wrong = ours.differences(theirs);
    if (wrong.length > 0) {
      throw new TtsError(
        "LIBRARY_MISMATCH",
        `${path}: its ${title} parameters have another layout (${wrong.join(", ")})`,
        `use llama.cpp ${LLAMA_VERSION}`,
      );
    }
  }
}

function loadCpuCode({ path, folder, ggml }: Libraries, turn: Int32Array): void {
  while (Atomics.compareExchange(turn, 0, 0, 1) !== 0) Atomics.wait(turn, 0, 1, 100);
  try {
    if (Number(ggml.ggml_backend_reg_count()) === 0)
      ggml.ggml_backend_load_all_from_path(Buffer.from(`${folder}\0`));
    if (Number(ggml.ggml_backend_reg_count()) > 0) return;
    throw new TtsError(
      "LIBRARY_MISSING",
      `no libggml-cpu-*.so beside ${path} runs on this processor`,
      "copy all files of the build",
    );
  } finally {
    Atomics.store(turn, 0, 0);
    Atomics.notify(turn, 0);
  }
}

const registryOf = ({ ggml }: Libraries) => ggml.ggml_backend_reg_by_name(Buffer.from("CPU\0")) as Pointer;
/** The registry of the loaded CPU code. */
export const cpuRegistry = () => registryOf(library());

/** The functions of the loaded CPU code, whose file has no fixed name. */
function linkCpu(libraries: Libraries) {
  const { base, path } = libraries;
  const registry = registryOf(libraries);
  const find = (name: string): Pointer => {
    const pointer = base.ggml_backend_reg_get_proc_address(
      registry,
      Buffer.from(`${name}\0`),
    ) as Pointer | null;
    if (pointer !== null) return pointer;
    throw new TtsError(
      "LIBRARY_MISMATCH",
      `the CPU code beside ${path} has no ${name}`,
      `use llama.cpp ${LLAMA_VERSION}`,
    );
  };
  const entries = Object.entries(GGML_CPU_SYMBOLS).map(([name, symbol]) => [
    name,
    { ...symbol, ptr: find(name) },
  ]);
  type Linked = {
    [Name in keyof typeof GGML_CPU_SYMBOLS]: (typeof GGML_CPU_SYMBOLS)[Name] & { ptr: Pointer };
  };
  return linkSymbols(Object.fromEntries(entries) as Linked).symbols;
}

/** What {@link loadLlama} opened on this thread. */
export function library() {
  if (opened === null) throw new TypeError("loadLlama() comes first");
  return opened;
}
