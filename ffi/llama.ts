// libllama: embeddings in, hidden states and logits out; the tokenizer; the quantiser. Pointers stay in this file.

import { CFunction, type Pointer } from "bun:ffi";
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { TtsError } from "../src/errors.ts";
import {
  BATCH,
  CONTEXT_PARAMS,
  GGML_BASE_SYMBOLS,
  GGML_SYMBOLS,
  GGML_VERSION,
  LLAMA_SYMBOLS,
  LLAMA_VERSION,
  MODEL_PARAMS,
  QUANTIZE_PARAMS,
  THREADPOOL_PARAMS,
} from "./_llama-abi.ts";
import { findLibrary, type LibraryPlace, openLibrary } from "./_load.ts";
import { address, Pin } from "./_memory.ts";
import { byValueOnStack, callByValue, Struct } from "./_struct.ts";
import { copyFloats, FLAG_CALLBACK, NOOP_CALLBACK, setEnvironment } from "./libc.ts";

const arch = process.arch === "arm64" ? "arm64" : "x64";
const PLACE: LibraryPlace = {
  title: "libllama",
  file: "libllama.v0.5.0.so",
  variable: "TTS_LIBLLAMA",
  package: `@node-llama-cpp/linux-${arch}`,
  folder: `bins/linux-${arch}`,
};

/** The weight types a GGUF file can be quantised to, with llama.cpp's number for each. */
const FILE_TYPE = { f32: 0, f16: 1, q4_0: 2, q8_0: 7, q4_k_m: 15, iq4_nl: 25, bf16: 32 } as const;
export type FileType = keyof typeof FILE_TYPE;

const GGML_TYPE = { f32: 0, f16: 1 } as const;
const FLASH_ATTENTION = { auto: -1, off: 0 } as const;

type Symbols = ReturnType<typeof openAll>;
let opened: Symbols | null = null;

function openAll(override: string) {
  setEnvironment("GGML_NO_BACKTRACE", "1"); // a failed assertion would start a debugger first
  const path = findLibrary(PLACE, override);
  const folder = dirname(path);
  const llama = openLibrary("libllama", path, LLAMA_SYMBOLS).symbols;
  const base = openLibrary("libggml-base", join(folder, "libggml-base.so"), GGML_BASE_SYMBOLS).symbols;
  const ggml = openLibrary("libggml", findSibling(folder, /^libggml\.(v[\d.]+\.)?so/), GGML_SYMBOLS).symbols;
  const version = { llama: String(llama.llama_version()), ggml: String(base.ggml_version()), commit: String(base.ggml_commit()) };
  return { path, folder, llama, base, ggml, version };
}

function findSibling(folder: string, pattern: RegExp): string {
  const name = readdirSync(folder).find((file) => pattern.test(file));
  if (name === undefined)
    throw new TtsError("LIBRARY_MISSING", `${folder} holds no library like ${pattern.source}`, "copy all files of the build");
  return join(folder, name);
}

/**
 * Opens libllama once per thread, refuses another version or layout, silences it and loads the best CPU code.
 * @param override TTS_LIBLLAMA: a file or folder, or "" for the package.
 * @param turn one shared word, 0 at first: loading CPU code is not safe on two threads at once.
 */
export function loadLlama(override = "", turn: Int32Array = new Int32Array(new SharedArrayBuffer(4))): { path: string; version: string } {
  if (opened === null) {
    const symbols = openAll(override);
    checkVersion(symbols);
    if (byValueOnStack) checkLayouts(symbols);
    symbols.llama.llama_log_set(NOOP_CALLBACK, null);
    loadCpuCode(symbols, turn);
    opened = symbols;
  }
  return { path: opened.path, version: `${opened.version.llama} (ggml ${opened.version.ggml} ${opened.version.commit})` };
}

function checkVersion({ path, version }: Symbols): void {
  if (version.llama === LLAMA_VERSION && version.ggml === GGML_VERSION) return;
  const found = `llama.cpp ${version.llama} with ggml ${version.ggml}`;
  const hint = `this program needs ${LLAMA_VERSION} with ${GGML_VERSION}: run "make setup" or correct TTS_LIBLLAMA`;
  throw new TtsError("LIBRARY_MISMATCH", `${path} is ${found}`, hint);
}

/** The library's own defaults must be the bytes that the hand-written tables give. */
function checkLayouts({ path, llama }: Symbols): void {
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

function loadCpuCode({ path, folder, ggml }: Symbols, turn: Int32Array): void {
  while (Atomics.compareExchange(turn, 0, 0, 1) !== 0) Atomics.wait(turn, 0, 1, 100);
  try {
    if (Number(ggml.ggml_backend_reg_count()) === 0) ggml.ggml_backend_load_all_from_path(Buffer.from(`${folder}\0`));
    if (Number(ggml.ggml_backend_reg_count()) > 0) return;
    throw new TtsError("LIBRARY_MISSING", `no libggml-cpu-*.so beside ${path} runs on this processor`, "copy all files of the build");
  } finally {
    Atomics.store(turn, 0, 0);
    Atomics.notify(turn, 0);
  }
}

function library(): Symbols {
  if (opened === null) throw new TypeError("loadLlama() comes first");
  return opened;
}

/** A loaded GGUF file. Weights are mapped and shared by every context on it. */
export class LlamaModel {
  private constructor(
    readonly path: string,
    readonly pointer: Pointer,
  ) {}

  /** @throws TtsError BUNDLE_INVALID when libllama refuses the file (it says no more than that). */
  static open(path: string, options: { vocabOnly?: boolean } = {}): LlamaModel {
    const params = new Struct(MODEL_PARAMS).set("nGpuLayers", 0).set("vocabOnly", options.vocabOnly ? 1 : 0);
    const name = Buffer.from(`${path}\0`);
    const pointer = callByValue(library().llama.llama_model_load_from_file as never, name, params) as Pointer | null;
    if (pointer === null) {
      const size = statSync(path, { throwIfNoEntry: false })?.size;
      const what = size === undefined ? "is missing" : `cannot be loaded by libllama (${size} bytes)`;
      throw new TtsError("BUNDLE_INVALID", `${path} ${what}`, "delete the bundle; it is made again");
    }
    return new LlamaModel(path, pointer);
  }

  /** Width of the hidden state. */
  get width(): number {
    return library().llama.llama_model_n_embd(this.pointer);
  }

  /** Rows of the output head. */
  get outputs(): number {
    return library().llama.llama_vocab_n_tokens(library().llama.llama_model_get_vocab(this.pointer));
  }

  /**
   * Text to ids, as the vocabulary of this file has them; control tokens inside the text become their ids, as in the official tokenizer.
   * The text must be NFC already.
   */
  tokenize(text: string): Int32Array {
    const { llama } = library();
    const vocab = llama.llama_model_get_vocab(this.pointer);
    const utf8 = Buffer.from(`${text}\0`);
    const pin = new Pin();
    let out = pin.i32(utf8.length + 8);
    let count = llama.llama_tokenize(vocab, utf8, utf8.length - 1, out, out.length, false, true);
    if (count < 0) {
      out = pin.i32(-count);
      count = llama.llama_tokenize(vocab, utf8, utf8.length - 1, out, out.length, false, true);
    }
    if (count < 0) throw new TtsError("LIBRARY_FAILED", `libllama could not tokenise ${utf8.length - 1} bytes of text`);
    return out.slice(0, count);
  }

  close(): void {
    library().llama.llama_model_free(this.pointer);
  }
}

export interface ContextOptions {
  /** Sequences side by side. */
  lanes: number;
  /** Positions per lane. */
  positions: number;
  /** Rows one decode may take. */
  batchRows: number;
  /** Threads that compute, the calling one included. */
  threads: number;
  /** f32 KV without flash attention: what parity with the official code needs. */
  exact: boolean;
  /** A zeroed shared byte pair: setting the first byte makes a running decode stop. */
  stop: SharedArrayBuffer;
}

/** One KV cache on a model, with one lane per sequence, decoding rows of embeddings. Used by one thread. */
export class LlamaContext {
  private readonly pointer: Pointer;
  private readonly memory: Pointer;
  private readonly pin = new Pin();
  private readonly pool: Pointer | null;
  private readonly batch: Struct<keyof typeof BATCH.fields>;
  private readonly words: number[];
  private readonly positions: Int32Array;
  private readonly sequences: Int32Array;

  constructor(
    private readonly model: LlamaModel,
    private readonly options: ContextOptions,
  ) {
    const { llama } = library();
    const params = contextParams(options);
    const pointer = callByValue(llama.llama_init_from_model as never, model.pointer, params) as Pointer | null;
    if (pointer === null) {
      const what = `${options.lanes} lanes of ${options.positions} positions`;
      throw new TtsError("LIBRARY_FAILED", `libllama made no context of ${what} for ${model.path}`, "lower --max-frames; is memory short?");
    }
    this.pointer = pointer;
    this.memory = llama.llama_get_memory(pointer) as Pointer;
    llama.llama_set_abort_callback(pointer, FLAG_CALLBACK, this.pin.keep(new Uint8Array(options.stop)));
    this.pool = options.threads > 1 ? createThreadpool(options.threads) : null;
    if (this.pool !== null) llama.llama_attach_threadpool(pointer, this.pool, this.pool);
    const rows = options.batchRows;
    this.positions = this.pin.i32(rows);
    this.sequences = this.pin.i32(rows);
    this.batch = new Struct(BATCH);
    this.words = [0, 0, 0, address(this.positions), this.fixedColumns(rows), this.sequencePointers(rows), address(this.allOutputs(rows))];
  }

  private fixedColumns(rows: number): number {
    return address(this.pin.i32(rows).fill(1)); // every row belongs to one sequence
  }

  private sequencePointers(rows: number): number {
    const pointers = this.pin.u64(rows);
    for (let row = 0; row < rows; row++) pointers[row] = BigInt(address(this.sequences) + 4 * row);
    return address(pointers);
  }

  private allOutputs(rows: number): Uint8Array {
    return this.pin.bytes(rows).fill(1);
  }

  /** Says where row `row` of the next decode belongs. */
  place(row: number, lane: number, position: number): void {
    this.sequences[row] = lane;
    this.positions[row] = position;
  }

  /**
   * Decodes `rows` rows of `embeddings` (f32 [rows, width], shared memory), placed by {@link place}.
   * @returns false when the stop byte ended it.
   */
  decode(embeddings: Float32Array, rows: number): boolean {
    const { llama } = library();
    const w = this.words;
    w[0] = rows;
    w[2] = address(embeddings);
    const status = byValueOnStack
      ? llama.llama_decode(this.pointer, 0, 0, 0, 0, 0, w[0], w[1], w[2], w[3], w[4], w[5], w[6])
      : (llama.llama_decode as unknown as (context: Pointer, batch: Uint8Array) => number)(this.pointer, this.writeBatch());
    if (status === 0) return true;
    if (status === 2) return false;
    const why = status === 1 ? `its ${this.options.positions} positions are full` : `status ${status}`;
    throw new TtsError("LIBRARY_FAILED", `libllama could not decode ${rows} rows of ${this.model.path}: ${why}`);
  }

  /** The callee owns the copy it gets, so it is written anew for each call. */
  private writeBatch(): Uint8Array {
    const names = ["nTokens", "token", "embd", "pos", "nSeqId", "seqId", "logits"] as const;
    names.forEach((name, i) => {
      this.batch.set(name, this.words[i]);
    });
    return this.batch.bytes;
  }

  /** Hidden state of a row of the last decode, after the final norm: `count` floats to target[at ...]. */
  readHidden(row: number, target: Float32Array, at: number, count: number): void {
    copyFloats(target, at, count, this.result(library().llama.llama_get_embeddings_ith(this.pointer, row), row));
  }

  /** Output head on a row of the last decode: `count` floats to target[at ...]. */
  readLogits(row: number, target: Float32Array, at: number, count: number): void {
    copyFloats(target, at, count, this.result(library().llama.llama_get_logits_ith(this.pointer, row), row));
  }

  private result(pointer: unknown, row: number): Pointer {
    if (pointer === null) throw new TtsError("LIBRARY_FAILED", `libllama has no output for row ${row} of ${this.model.path}`);
    return pointer as Pointer;
  }

  /** Forgets one lane. */
  clearLane(lane: number): void {
    library().llama.llama_memory_seq_rm(this.memory, lane, -1, -1);
  }

  /** Forgets all lanes. */
  clear(): void {
    library().llama.llama_memory_clear(this.memory, false);
  }

  /** The context goes first: freeing a pool that a live context has used is a use after free. */
  close(): void {
    library().llama.llama_free(this.pointer);
    if (this.pool !== null) poolFunction("ggml_threadpool_free", ["ptr"], "void")(this.pool);
  }
}

function contextParams({ lanes, positions, batchRows, threads, exact }: ContextOptions): Struct<keyof typeof CONTEXT_PARAMS.fields> {
  const kvType = exact ? GGML_TYPE.f32 : GGML_TYPE.f16;
  return new Struct(CONTEXT_PARAMS)
    .set("nCtx", lanes * positions)
    .set("nSeqMax", lanes)
    .set("nBatch", batchRows)
    .set("nUbatch", batchRows)
    .set("nThreads", threads)
    .set("nThreadsBatch", threads)
    .set("flashAttnType", exact ? FLASH_ATTENTION.off : FLASH_ATTENTION.auto)
    .set("typeK", kvType)
    .set("typeV", kvType)
    .set("embeddings", 1);
}

/** Without an attached pool libllama makes and joins threads for every step. Poll 0: sleep between steps, another stage needs the core. */
function createThreadpool(threads: number): Pointer {
  const params = new Struct(THREADPOOL_PARAMS).set("nThreads", threads).set("poll", 0);
  return poolFunction("ggml_threadpool_new", ["ptr"], "ptr")(params.bytes) as Pointer;
}

/** Thread pools live in the CPU code that was loaded, not in a library of fixed name. */
function poolFunction(name: string, args: ["ptr"], returns: "ptr" | "void") {
  const { ggml, base } = library();
  const registry = ggml.ggml_backend_reg_by_name(Buffer.from("CPU\0"));
  const pointer = base.ggml_backend_reg_get_proc_address(registry, Buffer.from(`${name}\0`));
  if (pointer === null) throw new TtsError("LIBRARY_MISMATCH", `libggml has no ${name}`, "use --threads 1");
  return CFunction({ ptr: pointer, args, returns });
}

/**
 * Writes `target` as `source` with its weights in another type. Blocks until done.
 * @throws TtsError LIBRARY_FAILED
 */
export function quantize(source: string, target: string, type: FileType, threads: number): void {
  const params = new Struct(QUANTIZE_PARAMS).set("ftype", FILE_TYPE[type]).set("nThread", threads);
  const status = library().llama.llama_model_quantize(Buffer.from(`${source}\0`), Buffer.from(`${target}\0`), params.bytes);
  if (status !== 0) throw new TtsError("LIBRARY_FAILED", `libllama could not quantise ${source} to ${type}`, "is the disk full?");
}
