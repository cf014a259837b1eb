// Reads the head of a GGUF file (version 3): its single values and the places of its tensors. Lists are
// stepped over. Pure: bytes in, values out. libllama ends the process on some damaged files, so they are read
// here first.

import { BUNDLE_HINT, TtsError } from "../errors.ts";

const VERSION = 3;
const ALIGNMENT = 32;
/** More than any model has: bounds every loop below. */
const MOST = { values: 4_096, tensors: 65_536, axes: 4, keyBytes: 1_024, listEntries: 2 ** 24 } as const;
/** Bytes of one value by its type number; strings (8) and lists (9) carry their own length. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const LIST = 9;
/** The types of values that are read. */
export const GGUF_TYPE = { u32: 4, f32: 6, string: 8 } as const;

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
  values: Map<string, { type: number; value: number | string }>;
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
  /** A size; beyond 2^53 it is inexact, and beyond any bound. */
  u64 = () => {
    const from = this.skip(8);
    return this.view.getUint32(from, true) + 2 ** 32 * this.view.getUint32(from + 4, true);
  };
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

function readValue(reader: Reader, type: number): number | string | null {
  switch (type) {
    case GGUF_TYPE.u32:
      return reader.u32();
    case GGUF_TYPE.f32:
      return reader.f32();
    case GGUF_TYPE.string:
      return reader.text();
    case LIST:
      skipList(reader);
      return null;
    default:
      if (VALUE_BYTES[type] === undefined) throw reader.fail(`has a value of the unknown type ${type}`);
      reader.skip(VALUE_BYTES[type]);
      return null;
  }
}

function skipList(reader: Reader): void {
  const type = reader.u32();
  const size = VALUE_BYTES[type];
  if (size === undefined || type === LIST) throw reader.fail(`has a list of the type ${type}`);
  const count = reader.count("entries of a list", MOST.listEntries);
  if (type !== GGUF_TYPE.string) reader.skip(size * count);
  else for (let i = 0; i < count; i++) reader.skip(reader.u64());
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
