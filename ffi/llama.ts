// libllama: embeddings in, hidden states and logits out; the quantiser. Pointers stay in ffi/.

import type { Pointer } from "bun:ffi";
import { statSync } from "node:fs";
import { basename } from "node:path";
import { BUNDLE_HINT, TtsError } from "../src/errors.ts";
import { BATCH, CONTEXT_PARAMS, MODEL_PARAMS, QUANTIZE_PARAMS } from "./_llama-abi.ts";
import { type Head, HeadTap } from "./_llama-head.ts";
import { library, loadLlama } from "./_llama-library.ts";
import { arrangedWeights, cpuCode, useArranged } from "./_llama-weights.ts";
import { ThreadPool } from "./ggml.ts";
import { copyFloats, FLAG_CALLBACK } from "./libc.ts";
import { address, Pin } from "./load/memory.ts";
import { noted } from "./load/steps.ts";
import { byValueOnStack, callByValue, Struct } from "./load/struct.ts";

export { cpuCode, loadLlama };

/** The weight types a GGUF file can be quantised to, with llama.cpp's number for each. */
const FILE_TYPE = { f32: 0, f16: 1, q4_0: 2, q8_0: 7, q4_k_m: 15, iq4_nl: 25, bf16: 32 } as const;
export type FileType = keyof typeof FILE_TYPE;

const GGML_TYPE = { f32: 0, f16: 1 } as const;
const LOAD_MODE = { read: 0 } as const;
const FLASH_ATTENTION = { auto: -1, off: 0 } as const;

/** A loaded GGUF file. Weights are mapped and shared by every context on it. */
export class LlamaModel {
  private constructor(
    readonly path: string,
    readonly pointer: Pointer,
    /** What {@link useArranged} gave. */
    private readonly arranged: Pointer | null,
  ) {}

  /**
   * @param options.copied read the weights into memory instead of mapping the file
   * @param options.arranged the file holds what {@link arrangedWeights} gave
   * @throws TtsError BUNDLE_INVALID when libllama refuses the file (it says no more than that).
   */
  static open(path: string, { arranged, copied }: { copied?: boolean; arranged?: boolean } = {}): LlamaModel {
    const params = new Struct(MODEL_PARAMS).set("nGpuLayers", 0);
    if (copied) params.set("loadMode", LOAD_MODE.read);
    if (arranged) params.set("useExtraBufts", 0);
    const name = Buffer.from(`${path}\0`);
    const load = library().llama.llama_model_load_from_file as never;
    const pointer = noted(basename(path), () => callByValue(load, [name], params)) as Pointer | null;
    if (pointer === null) {
      const size = statSync(path, { throwIfNoEntry: false })?.size;
      const what = size === undefined ? "is missing" : `cannot be loaded by libllama (${size} bytes)`;
      throw new TtsError("BUNDLE_INVALID", `${path} ${what}`, BUNDLE_HINT);
    }
    return new LlamaModel(path, pointer, arranged ? useArranged(pointer) : null);
  }

  /**
   * The weights that libllama has put in the order of this processor's kernels; a file that holds them in
   * place of its own is for `arranged` of {@link open}. null where no such file can be made.
   */
  arrangedWeights(): { name: string; bytes: Uint8Array }[] | null {
    return arrangedWeights(this.pointer);
  }

  /** Width of the hidden state. */
  get width(): number {
    return library().llama.llama_model_n_embd(this.pointer);
  }

  /** Rows of the output head. */
  get outputs(): number {
    return library().llama.llama_vocab_n_tokens(library().llama.llama_model_get_vocab(this.pointer));
  }

  close(): void {
    library().llama.llama_model_free(this.pointer);
    if (this.arranged !== null) library().base.ggml_backend_buffer_free(this.arranged);
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
  /** Threads that prompts may have instead: see {@link LlamaContext.useThreads}. Default: `threads`. */
  mostThreads?: number;
  /** The cores to compute on: see {@link ThreadPool}. Default: any. */
  cores?: readonly number[];
  /** f32 KV without flash attention: what parity with the official code needs. */
  exact: boolean;
  /** A zeroed shared byte pair: setting the first byte makes a running decode stop. */
  stop: SharedArrayBuffer;
  /** The attention head to watch: see {@link LlamaContext.tap}. Default: none. */
  watched?: Head;
}

/** One KV cache on a model, with one lane per sequence, decoding rows of embeddings. Used by one thread. */
export class LlamaContext {
  private readonly pointer: Pointer;
  private readonly memory: Pointer;
  private readonly pin = new Pin();
  /**
   * The threads that compute, also for other work of this thread between decodes; null when this thread
   * computes alone. Closed with the context.
   */
  readonly pool: ThreadPool | null;
  /** What the watched head made of the rows of the last decode. */
  readonly tap: HeadTap | null;
  private readonly batch: Struct<keyof typeof BATCH.fields>;
  private readonly words: number[];
  private readonly positions: Int32Array;
  private readonly sequences: Int32Array;

  constructor(
    private readonly model: LlamaModel,
    private readonly options: ContextOptions,
  ) {
    const { llama } = library();
    const { watched } = options;
    this.tap = watched === undefined ? null : new HeadTap(watched, options.batchRows);
    const params = contextParams(options).set("cbEval", this.tap?.callback ?? 0);
    const make = llama.llama_init_from_model as never;
    const pointer = noted("context", () => callByValue(make, [model.pointer], params)) as Pointer | null;
    if (pointer === null) {
      const what = `${options.lanes} lanes of ${options.positions} positions`;
      throw new TtsError(
        "LIBRARY_FAILED",
        `libllama made no context of ${what} for ${model.path}`,
        "lower {maxFrames}; is memory short?",
      );
    }
    this.pointer = pointer;
    this.memory = llama.llama_get_memory(pointer) as Pointer;
    llama.llama_set_abort_callback(pointer, FLAG_CALLBACK, this.pin.keep(new Uint8Array(options.stop)));
    const most = Math.max(options.threads, options.mostThreads ?? 1);
    this.pool = most > 1 ? new ThreadPool(most, options.cores) : null;
    // One thread needs no pool for its steps: waking the others each time would only cost.
    if (this.pool !== null)
      llama.llama_attach_threadpool(
        pointer,
        options.threads > 1 ? this.pool.pointer : null,
        this.pool.pointer,
      );
    const rows = options.batchRows;
    this.positions = this.pin.i32(rows);
    this.sequences = this.pin.i32(rows);
    this.batch = new Struct(BATCH);
    this.words = [
      0,
      0,
      0,
      address(this.positions),
      this.fixedColumns(rows),
      this.sequencePointers(rows),
      address(this.allOutputs(rows)),
    ];
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

  /**
   * How many threads compute decodes of one row, and of several, from now on; at most as many as the options
   * name. No bit of a result was seen to depend on it.
   */
  useThreads(single: number, several: number): void {
    library().llama.llama_set_n_threads(this.pointer, single, several);
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
    this.tap?.begin(rows);
    w[0] = rows;
    w[2] = address(embeddings);
    const status = byValueOnStack
      ? llama.llama_decode(this.pointer, 0, 0, 0, 0, 0, w[0], w[1], w[2], w[3], w[4], w[5], w[6])
      : (llama.llama_decode as unknown as (context: Pointer, batch: Uint8Array) => number)(
          this.pointer,
          this.writeBatch(),
        );
    if (status === 0) return true;
    if (status === 2) return false;
    const why = status === 1 ? `its ${this.options.positions} positions are full` : `status ${status}`;
    throw new TtsError(
      "LIBRARY_FAILED",
      `libllama could not decode ${rows} rows of ${this.model.path}: ${why}`,
    );
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
    copyFloats(
      target,
      at,
      count,
      this.result(library().llama.llama_get_embeddings_ith(this.pointer, row), row),
    );
  }

  /** Output head on a row of the last decode: `count` floats to target[at ...]. */
  readLogits(row: number, target: Float32Array, at: number, count: number): void {
    copyFloats(target, at, count, this.result(library().llama.llama_get_logits_ith(this.pointer, row), row));
  }

  private result(pointer: unknown, row: number): Pointer {
    if (pointer === null)
      throw new TtsError("LIBRARY_FAILED", `libllama has no output for row ${row} of ${this.model.path}`);
    return pointer as Pointer;
  }

  /** Forgets one lane, from this position on. */
  clearLane(lane: number, from = 0): void {
    library().llama.llama_memory_seq_rm(this.memory, lane, from, -1);
  }

  /** Forgets all lanes. */
  clear(): void {
    library().llama.llama_memory_clear(this.memory, false);
  }

  /**
   * Copies what a lane has taken in. {@link restoreLane} accepts it for any lane of any context of the same
   * kind on the same file.
   */
  saveLane(lane: number): Uint8Array<ArrayBuffer> {
    const { llama } = library();
    const size = Number(llama.llama_state_seq_get_size(this.pointer, lane));
    const state = new Uint8Array(new ArrayBuffer(size));
    const written = size === 0 ? 0 : Number(llama.llama_state_seq_get_data(this.pointer, state, size, lane));
    if (size > 0 && written === size) return state;
    throw new TtsError(
      "LIBRARY_FAILED",
      `libllama gave ${written} of ${size} bytes of lane ${lane} of ${this.model.path}`,
    );
  }

  /**
   * Replaces what a lane holds with what {@link saveLane} gave. libllama trusts the sizes inside: damaged
   * bytes can crash the process.
   * @returns false when libllama refuses them; the lane is empty then
   */
  restoreLane(lane: number, state: Uint8Array): boolean {
    const read = library().llama.llama_state_seq_set_data(this.pointer, state, state.length, lane);
    if (state.length > 0 && Number(read) === state.length) return true;
    this.clearLane(lane);
    return false;
  }

  /** Frees the context first: freeing a pool that a live context has used is a use after free. */
  close(): void {
    library().llama.llama_free(this.pointer);
    this.tap?.close();
    this.pool?.close();
  }
}

function contextParams({
  lanes,
  positions,
  batchRows,
  threads,
  exact,
}: ContextOptions): Struct<keyof typeof CONTEXT_PARAMS.fields> {
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

/**
 * Copies `source` to `target` with its weights in another type. Blocks until done.
 * @throws TtsError LIBRARY_FAILED
 */
export function quantize(source: string, target: string, type: FileType, threads: number): void {
  const params = new Struct(QUANTIZE_PARAMS).set("ftype", FILE_TYPE[type]).set("nThread", threads);
  const status = library().llama.llama_model_quantize(
    Buffer.from(`${source}\0`),
    Buffer.from(`${target}\0`),
    params.bytes,
  );
  if (status !== 0) throw new TtsError("LIBRARY_FAILED", `libllama could not quantise ${source} to ${type}`);
}
