// Reads the head of a GGUF file (version 3): its single values, the places of its lists and of its tensors.
// Pure: bytes in, values out. libllama ends the process on some damaged files, so they are read here first.
// Strings in lists are stepped over, not decoded.

import { BUNDLE_HINT, TtsError } from "../errors.ts";

const VERSION = 3;
const ALIGNMENT = 32;
/** More than any model has: bounds every loop below. */
const MOST = { values: 4_096, tensors: 65_536, axes: 4, keyBytes: 1_024, listEntries: 2 ** 24 } as const;
/** Bytes of one value by its type number; strings (8) and lists (9) carry their own length. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
export const GGUF_TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, list: 9 } as const;

/** Where the entries of a list lie. */
export interface GgufList {
  /** A number of {@link GGUF_TYPE}. */
  entryType: number;
  count: number;
  /** Offset of the first byte; `to` is the offset after the last. */
  from: number;
  to: number;
}

export interface GgufTensor {
  name: string;
  /** How many numbers the tensor has. */
  elements: number;
  axes: number;
  /** Offset in the file. */
  at: number;
  /** Bytes in the file, including the padding up to the next tensor. */
  bytes: number;
}

export interface GgufHead {
  /** key -> value; types that {@link GGUF_TYPE} lacks are left out. */
  values: Map<string, { type: number; value: number | string | boolean | GgufList }>;
  /** In file order. */
  tensors: GgufTensor[];
}

/** Reads forward. A read beyond the file's end fails. */
class Reader {
  at = 0;
  private readonly view: DataView;

  constructor(
    private readonly bytes: Uint8Array,
    readonly fail: (what: string) => TtsError,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Steps over `count` bytes and says where they began. */
  skip(count: number): number {
    const from = this.at;
    if (count > this.bytes.length - from)
      throw this.fail(`ends inside its head (${this.bytes.length} bytes)`);
    this.at += count;
    return from;
  }
  u32 = () => this.view.getUint32(this.skip(4), true);
  f32 = () => this.view.getFloat32(this.skip(4), true);
  i32 = () => this.view.getInt32(this.skip(4), true);
  u8 = () => this.view.getUint8(this.skip(1));
  /** A size; beyond 2^53 it is inexact, and beyond any bound. */
  u64 = () => {
    const from = this.skip(8);
    return this.view.getUint32(from, true) + 2 ** 32 * this.view.getUint32(from + 4, true);
  };
  /** This is one loop over plain numbers, because a vocabulary has 151,000 strings and as many merges. */
  skipStrings(count: number): void {
    const { view } = this;
    const last = this.bytes.length - 8;
    let { at } = this;
    for (let i = 0; i < count; i++) {
      if (at > last) throw this.fail(`ends inside its head (${this.bytes.length} bytes)`);
      at += 8 + view.getUint32(at, true) + 2 ** 32 * view.getUint32(at + 4, true);
    }
    this.skip(at - this.at);
  }
  count(what: string, most: number): number {
    const count = this.u64();
    if (count > most) throw this.fail(`claims ${count} ${what}`);
    return count;
  }
  text(): string {
    const length = this.count("bytes of one name", MOST.keyBytes);
    const from = this.skip(length);
    return Buffer.from(this.bytes.subarray(from, from + length)).toString("utf8");
  }
}

/** @throws TtsError BUNDLE_INVALID naming the file and what is wrong with it */
export function parseGgufHead(bytes: Uint8Array, file: string): GgufHead {
  const fail = (what: string) => new TtsError("BUNDLE_INVALID", `${file} ${what}`, BUNDLE_HINT);
  const reader = new Reader(bytes, fail);
  const magic = Buffer.from(bytes.subarray(0, 4)).toString("latin1");
  if (magic !== "GGUF") throw fail("is no GGUF file");
  reader.skip(4);
  const version = reader.u32();
  if (version !== VERSION) throw fail(`is GGUF version ${version}, not ${VERSION}`);
  const tensorCount = reader.count("tensors", MOST.tensors);
  const valueCount = reader.count("values", MOST.values);
  const values: GgufHead["values"] = new Map();
  for (let i = 0; i < valueCount; i++) {
    const key = reader.text();
    if (values.has(key)) throw fail(`has the key ${JSON.stringify(key)} twice`);
    const type = reader.u32();
    const value = readValue(reader, type);
    if (value !== null) values.set(key, { type, value });
  }
  return { values, tensors: readTensors(reader, tensorCount, bytes.length) };
}

function readValue(reader: Reader, type: number): number | string | boolean | GgufList | null {
  switch (type) {
    case GGUF_TYPE.u32:
      return reader.u32();
    case GGUF_TYPE.i32:
      return reader.i32();
    case GGUF_TYPE.f32:
      return reader.f32();
    case GGUF_TYPE.bool:
      return reader.u8() !== 0;
    case GGUF_TYPE.string:
      return reader.text();
    case GGUF_TYPE.list:
      return readList(reader);
    default:
      if (VALUE_BYTES[type] === undefined) throw reader.fail(`has a value of the unknown type ${type}`);
      reader.skip(VALUE_BYTES[type]);
      return null;
  }
}

function readList(reader: Reader): GgufList {
  const entryType = reader.u32();
  const size = VALUE_BYTES[entryType];
  if (size === undefined || entryType === GGUF_TYPE.list)
    throw reader.fail(`has a list of the type ${entryType}`);
  const count = reader.count("entries of a list", MOST.listEntries);
  const from = reader.at;
  if (entryType === GGUF_TYPE.string) reader.skipStrings(count);
  else reader.skip(size * count);
  return { entryType, count, from, to: reader.at };
}

/** Each tensor must begin inside the file. libllama itself checks shapes and sizes. */
function readTensors(reader: Reader, count: number, fileBytes: number): GgufTensor[] {
  const found: { name: string; axes: number; elements: number; offset: number }[] = [];
  for (let i = 0; i < count; i++) {
    const name = reader.text();
    const axes = reader.u32();
    if (axes > MOST.axes) throw reader.fail(`gives the tensor ${JSON.stringify(name)} ${axes} axes`);
    let elements = 1;
    for (let axis = 0; axis < axes; axis++) elements *= reader.u64();
    reader.skip(4); // type
    found.push({ name, axes, elements, offset: reader.u64() });
  }
  const data = Math.ceil(reader.at / ALIGNMENT) * ALIGNMENT;
  for (const { name, offset } of found) {
    if (offset % ALIGNMENT !== 0 || data + offset >= fileBytes)
      throw reader.fail(`ends before its tensor ${JSON.stringify(name)}`);
  }
  const placed = found.toSorted((a, b) => a.offset - b.offset);
  return placed.map(({ name, axes, elements, offset }, i) => {
    const bytes = (placed[i + 1]?.offset ?? fileBytes - data) - offset;
    return { name, axes, elements, at: data + offset, bytes };
  });
}

/**
 * The index of the first string in a list that equals an earlier one, or -1. Compares bytes; decodes nothing.
 */
export function findRepeated(bytes: Uint8Array, list: GgufList): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const slots = 2 ** Math.ceil(Math.log2(2 * list.count + 2));
  const seen = new Int32Array(slots); // offset of a string's length field + 1
  for (let i = 0, at = list.from; i < list.count; i++) {
    const length = view.getUint32(at, true);
    let hash = length | 0;
    for (let k = at + 8; k < at + 8 + length; k++) hash = Math.imul(hash ^ bytes[k], 0x01000193);
    let slot = (hash ^ (hash >>> 15)) & (slots - 1);
    for (; seen[slot] !== 0; slot = (slot + 1) & (slots - 1))
      if (sameString(bytes, view, seen[slot] - 1, at, length)) return i;
    seen[slot] = at + 1;
    at += 8 + length;
  }
  return -1;
}

function sameString(bytes: Uint8Array, view: DataView, a: number, b: number, length: number): boolean {
  if (view.getUint32(a, true) !== length) return false;
  for (let k = 8; k < 8 + length; k++) if (bytes[a + k] !== bytes[b + k]) return false;
  return true;
}
