// The safetensors format: u64 header length, JSON header, dense little-endian tensors. Pure: bytes in, views
// out. Used for checkpoints and for the tables of a bundle.

import { TtsError } from "../errors.ts";

const ELEMENT_BYTES = {
  F32: 4,
  F16: 2,
  BF16: 2,
  F64: 8,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;
export type Dtype = keyof typeof ELEMENT_BYTES;
/** The longest header that is read; official ones are under 60 kB. */
const MAX_HEADER_BYTES = 64 * 2 ** 20;

/** One tensor as it lies in its file; `bytes` is a view, row-major. */
export interface Tensor {
  name: string;
  /** A {@link Dtype} or one that this program cannot read: checkpoints hold tensors that nobody asks for. */
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
  /** Where the bytes are: the file and the offset in it. */
  file: string;
  offset: number;
}

/**
 * The tensors of one file, with every bound checked.
 * @throws TtsError CHECKPOINT_INVALID naming the file and what is wrong with it.
 */
export function parseSafetensors(bytes: Uint8Array, file: string): Map<string, Tensor> {
  const fail = (what: string, hint = "download or copy the file again") =>
    new TtsError("CHECKPOINT_INVALID", `${file}: ${what}`, hint);
  if (bytes.length < 8) throw fail(`too short for a safetensors file (${bytes.length} bytes)`);
  if (Buffer.from(bytes.subarray(0, 40)).toString("latin1").startsWith("version https://git-lfs")) {
    throw fail("is a Git LFS pointer, not the weights", 'run "git lfs pull" in the checkpoint');
  }
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (length > bytes.length - 8 || length > MAX_HEADER_BYTES) {
    throw fail(
      `its header claims ${length} bytes, the file has ${bytes.length}: truncated, or not a safetensors file`,
    );
  }
  const data = bytes.subarray(8 + length);
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries(parseHeader(bytes.subarray(8, 8 + length), fail))) {
    if (name === "__metadata__") continue;
    const {
      dtype,
      shape,
      data_offsets: range,
    } = (entry ?? {}) as { dtype: string; shape: number[]; data_offsets: [number, number] };
    if (typeof dtype !== "string") throw fail(`tensor ${name} has the unknown type ${dtype}`);
    if (!isSizeList(shape) || !isSizeList(range) || range.length !== 2)
      throw fail(`tensor ${name} has a broken header entry`);
    const [begin, end] = range;
    if (begin > end || end > data.length)
      throw fail(`tensor ${name} ends at byte ${end} of ${data.length}: the file is truncated`);
    const expected = isDtype(dtype) ? byteLength({ dtype, shape }) : end - begin;
    if (end - begin !== expected)
      throw fail(`tensor ${name} has ${end - begin} bytes, its shape [${shape}] needs ${expected}`);
    tensors.set(name, {
      name,
      dtype,
      shape,
      bytes: data.subarray(begin, end),
      file,
      offset: 8 + length + begin,
    });
  }
  return tensors;
}

function parseHeader(json: Uint8Array, fail: (what: string) => TtsError): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch {
    throw fail("its header is not JSON: damaged, or not a safetensors file");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw fail("its header is not a JSON object");
  return header as Record<string, unknown>;
}

const isDtype = (dtype: string): dtype is Dtype => Object.hasOwn(ELEMENT_BYTES, dtype);

function isSizeList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function elementCount(tensor: Tensor): number {
  return tensor.bytes.length / ELEMENT_BYTES[tensor.dtype as Dtype];
}

/** The values as f32: a view where type and alignment allow it, otherwise a converted copy. */
export function toFloat32(tensor: Tensor): Float32Array {
  const { bytes, dtype } = tensor;
  const count = elementCount(tensor);
  if (dtype === "F32" && bytes.byteOffset % 4 === 0)
    return new Float32Array(bytes.buffer, bytes.byteOffset, count);
  const out = new Float32Array(count);
  copyFloat32(tensor, out);
  return out;
}

/** Writes the values as f32 to the front of `target`, for loops that must not make garbage. */
export function copyFloat32(tensor: Tensor, target: Float32Array): void {
  const { bytes, dtype, file, name } = tensor;
  const count = elementCount(tensor);
  if (dtype === "F32") target.set(new Float32Array(copyOf(bytes).buffer));
  else if (dtype === "BF16")
    widenBf16(asU16(bytes), new Uint32Array(target.buffer, target.byteOffset, count));
  else if (dtype === "F16") target.set(new Float16Array(asU16(bytes).buffer, asU16(bytes).byteOffset, count));
  else
    throw new TtsError(
      "CHECKPOINT_INVALID",
      `${file}: tensor ${name} is ${dtype}`,
      "weights must be F32, F16 or BF16",
    );
}

/** A copy in a buffer of its own; `slice` would only be a view where the bytes are a Buffer. */
const copyOf = (bytes: Uint8Array) => new Uint8Array(bytes);

/** bf16 is the upper half of f32. */
function widenBf16(source: Uint16Array, target: Uint32Array): void {
  for (let i = 0; i < source.length; i++) target[i] = source[i] << 16;
}

function asU16(bytes: Uint8Array): Uint16Array {
  return bytes.byteOffset % 2 === 0
    ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)
    : new Uint16Array(copyOf(bytes).buffer);
}

/** Integers of a golden file. */
export function toInt32(tensor: Tensor): Int32Array {
  if (tensor.dtype !== "I32") throw new TypeError(`${tensor.name} is ${tensor.dtype}`);
  return new Int32Array(copyOf(tensor.bytes).buffer);
}

/**
 * Refuses NaN and infinity: one NaN turns all sound into noise.
 * @throws TtsError CHECKPOINT_INVALID naming tensor and element.
 */
export function assertFinite(tensor: Tensor): void {
  const at = firstNonFinite(tensor);
  if (at >= 0) {
    throw new TtsError(
      "CHECKPOINT_INVALID",
      `${tensor.file}: tensor ${tensor.name} is not a number at element ${at}`,
      "the weights are damaged",
    );
  }
}

function firstNonFinite({ bytes, dtype }: Tensor): number {
  if (dtype === "BF16" || dtype === "F16") {
    const exponent = dtype === "BF16" ? 0x7f80 : 0x7c00;
    return asU16(bytes).findIndex((bits) => (bits & exponent) === exponent);
  }
  if (dtype !== "F32") return -1;
  return wordsOf(bytes).findIndex((bits) => (bits & 0x7f800000) === 0x7f800000);
}

/** Whether every value is 0, of either sign. */
export function isZero({ bytes, dtype }: Tensor): boolean {
  if (dtype === "F32") return wordsOf(bytes).every((bits) => (bits & 0x7fffffff) === 0);
  return asU16(bytes).every((bits) => (bits & 0x7fff) === 0);
}

/** Whether no value rounds to infinity in f16, whose largest number is 65,504. */
export function fitsHalf({ bytes, dtype }: Tensor): boolean {
  if (dtype === "F32") return wordsOf(bytes).every((bits) => (bits & 0x7fffffff) < 0x477ff000);
  return dtype === "F16" || asU16(bytes).every((bits) => (bits & 0x7fff) < 0x4780);
}

/** The values as bf16, rounded to nearest even. */
export function toBf16(tensor: Tensor): Uint8Array {
  if (tensor.dtype === "BF16") return tensor.bytes;
  const values = toFloat32(tensor);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) halves[i] = (words[i] + 0x7fff + ((words[i] >>> 16) & 1)) >>> 16;
  return new Uint8Array(halves.buffer);
}

const wordsOf = (bytes: Uint8Array) =>
  bytes.byteOffset % 4 === 0
    ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    : new Uint32Array(copyOf(bytes).buffer);

export interface TensorToWrite {
  name: string;
  /** U8: bytes that another format gives a meaning. */
  dtype: "F32" | "F16" | "BF16" | "I32" | "U8";
  shape: number[];
  /** The bytes in order, made when the tensor is written, so that no whole table need be in memory. */
  chunks: () => Iterable<Uint8Array>;
}

export function byteLength({ dtype, shape }: { dtype: Dtype; shape: readonly number[] }): number {
  return shape.reduce((product, size) => product * size, ELEMENT_BYTES[dtype]);
}

/** The header of a file that holds these tensors one after the other; the tensor bytes follow it directly. */
export function safetensorsHeader(tensors: readonly TensorToWrite[]): Uint8Array {
  const entries: Record<string, unknown> = {};
  let at = 0;
  for (const { name, dtype, shape } of tensors) {
    const length = byteLength({ dtype, shape });
    entries[name] = { dtype, shape, data_offsets: [at, at + length] };
    at += length;
  }
  const text = Buffer.from(JSON.stringify(entries));
  const header = Buffer.alloc(Math.ceil((8 + text.length) / 64) * 64, " "); // tensors start aligned
  header.writeBigUInt64LE(BigInt(header.length - 8), 0);
  text.copy(header, 8);
  return header;
}
