// Weights in the order of the CPU code's kernels. libllama makes that order at every start, in memory of its
// own; here a file takes it once, and a model that maps such a file uses it as it lies.
//
// Two things that llama.h does not promise serve for this: the list of tensors that libllama exports for its
// own tools, and the layout of ggml_tensor. The versions are pinned, and the names in both must agree.

import { type Pointer, read, toArrayBuffer } from "bun:ffi";
import { TtsError } from "../src/errors.ts";
import { GGML_TENSOR } from "./_ggml-abi.ts";
import { LLAMA_VERSION } from "./_llama-abi.ts";
import { cpuRegistry, library } from "./_llama-library.ts";
import { orderingTypes } from "./ggml.ts";
import { openSymbols } from "./load/open.ts";

/** llama_internal_get_tensor_map(const llama_model *), as C++ names it. */
const TENSOR_LIST = "_Z29llama_internal_get_tensor_mapB5cxx11PK11llama_model";
/** std::vector<std::pair<std::string, ggml_tensor *>>: begin and end; text, length and tensor of an entry. */
const LIST = { begin: 0, end: 8, entryBytes: 40, text: 0, length: 8, tensor: 32 } as const;
/** The memory in which weights change their order but not their size. */
const SAME_SIZE = "CPU_REPACK";
/** Its rows are looked up one by one, so it keeps its order. */
const LOOKED_UP = "token_embd.weight";
const USAGE_WEIGHTS = 1;
const FEATURE_BYTES = 16;

interface ModelTensor {
  name: string;
  pointer: Pointer;
}

/** The CPU code that runs here, with the instructions that it uses: arranged weights fit no other. */
export function cpuCode(): string {
  const { cpu, version } = library();
  const list = cpu.ggml_backend_get_features(cpuRegistry()) as Pointer;
  const features: string[] = [];
  for (let at = 0; read.ptr(list, at) !== 0; at += FEATURE_BYTES)
    features.push(cstringAt(read.ptr(list, at) as Pointer));
  return `${process.arch}, ggml ${version.ggml} ${version.commit}: ${features.join(" ")}`;
}

/**
 * The weights of a loaded model that libllama has rearranged, as views of its memory. null where some have
 * changed their size, too: no file of the same form can hold them.
 */
export function arrangedWeights(model: Pointer): { name: string; bytes: Uint8Array }[] | null {
  const { base } = library();
  const types = orderingTypes();
  const found = tensorsOf(model).filter(({ pointer }) => types.includes(typeOf(pointer)));
  if (!found.every(({ name, pointer }) => name !== LOOKED_UP && nameOf(typeOf(pointer)) === SAME_SIZE))
    return null;
  return found.map(({ name, pointer }) => {
    const bytes = Number(base.ggml_nbytes(pointer));
    const data = read.ptr(pointer, GGML_TENSOR.fields.data[0]) as Pointer;
    return { name, bytes: new Uint8Array(toArrayBuffer(data, 0, bytes)) };
  });
}

/**
 * Tells the kernels that a model's mapped weights have their order already.
 * @returns a buffer without contents, whose type says so; to be freed after the model
 */
export function useArranged(model: Pointer): Pointer {
  const { base } = library();
  const type = orderingTypes().find((extra) => nameOf(extra) === SAME_SIZE);
  const buffer = type && (base.ggml_backend_buft_alloc_buffer(type, GGML_TENSOR.size) as Pointer | null);
  if (!buffer) throw mismatch(`has no ${SAME_SIZE}`);
  base.ggml_backend_buffer_set_usage(buffer, USAGE_WEIGHTS);
  for (const { name, pointer } of tensorsOf(model)) {
    if (name === LOOKED_UP) continue;
    base.ggml_backend_buffer_init_tensor(buffer, pointer); // finds the kernel, if there is one for the type
    if (!read.ptr(pointer, GGML_TENSOR.fields.extra[0])) continue;
    const words = new BigUint64Array(toArrayBuffer(pointer, 0, GGML_TENSOR.size));
    words[GGML_TENSOR.fields.buffer[0] / 8] = BigInt(buffer);
  }
  return buffer;
}

function tensorsOf(model: Pointer): ModelTensor[] {
  const { symbols } = openSymbols(library().path, { [TENSOR_LIST]: { args: ["ptr"], returns: "ptr" } });
  const list = symbols[TENSOR_LIST](model) as Pointer;
  const [begin, end] = [read.ptr(list, LIST.begin), read.ptr(list, LIST.end)];
  const count = (end - begin) / LIST.entryBytes;
  if (!Number.isInteger(count)) throw mismatch("has a list of tensors of another layout");
  return Array.from({ length: count }, (_, i) => {
    const entry = (begin + i * LIST.entryBytes) as Pointer;
    const length = Number(read.u64(entry, LIST.length));
    const pointer = read.ptr(entry, LIST.tensor) as Pointer;
    const name = Buffer.from(toArrayBuffer(read.ptr(entry, LIST.text) as Pointer, 0, length)).toString();
    const own = cstringAt((pointer + GGML_TENSOR.fields.name[0]) as Pointer);
    if (own !== name) throw mismatch(`calls a tensor ${name} and ${own}`);
    return { name, pointer };
  });
}

function typeOf(tensor: Pointer): Pointer {
  const buffer = read.ptr(tensor, GGML_TENSOR.fields.buffer[0]) as Pointer;
  return library().base.ggml_backend_buffer_get_type(buffer) as Pointer;
}

const nameOf = (type: Pointer) => String(library().base.ggml_backend_buft_name(type));

function cstringAt(pointer: Pointer): string {
  const bytes: number[] = [];
  for (let at = 0; ; at++) {
    const byte = read.u8(pointer, at);
    if (byte === 0) return Buffer.from(bytes).toString();
    bytes.push(byte);
  }
}

function mismatch(what: string): TtsError {
  const { path } = library();
  return new TtsError("LIBRARY_MISMATCH", `${path} ${what}`, `use llama.cpp ${LLAMA_VERSION}`);
}
