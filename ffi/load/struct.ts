// C structs as tables of offsets, and how they travel by value. Both are checked against a C compiler in
// test/ffi/layouts.test.ts.
//
// On x64 (System V), a struct over 16 bytes that is passed by value lies on the stack: after the leading
// pointers, dummies use up the rest of the six integer registers, then the struct follows as 64-bit words. On
// arm64 (AAPCS64) it is passed as a pointer to a copy.

import { type FFIFunction, type Pointer, read } from "bun:ffi";
import { Pin } from "./memory.ts";

export type FieldType = "i32" | "u32" | "f32" | "u8" | "u64";
export interface Layout<Name extends string = string> {
  /** sizeof, bytes */
  size: number;
  /** name: [byte offset, type]; pointers are u64. */
  fields: Readonly<Record<Name, readonly [offset: number, type: FieldType]>>;
  /** Values of the library's own default function; fields not named are 0. */
  defaults: Partial<Record<Name, number>>;
}

/** One C struct in pinned memory. Keep it referenced while native code may look at it. */
export class Struct<Name extends string> {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same memory as 64-bit words, for calls by value: structs passed so consist of whole words. */
  readonly words: BigInt64Array<ArrayBuffer>;
  private readonly view: DataView;

  constructor(private readonly layout: Layout<Name>) {
    this.bytes = new Pin().bytes(layout.size);
    this.words = new BigInt64Array(this.bytes.buffer, 0, layout.size >> 3);
    this.view = new DataView(this.bytes.buffer);
    for (const [name, value] of Object.entries(layout.defaults)) this.set(name as Name, value as number);
  }

  set(name: Name, value: number): this {
    const [offset, type] = this.layout.fields[name];
    if (type === "u64") this.view.setBigUint64(offset, BigInt(value), true);
    else if (type === "f32") this.view.setFloat32(offset, value, true);
    else if (type === "u8") this.view.setUint8(offset, value);
    else if (type === "u32") this.view.setUint32(offset, value, true);
    else this.view.setInt32(offset, value, true);
    return this;
  }

  get(name: Name): number {
    const [offset, type] = this.layout.fields[name];
    if (type === "u64") return Number(this.view.getBigUint64(offset, true));
    if (type === "f32") return this.view.getFloat32(offset, true);
    if (type === "u8") return this.view.getUint8(offset);
    if (type === "u32") return this.view.getUint32(offset, true);
    return this.view.getInt32(offset, true);
  }

  /** The fields whose bytes differ between this struct and `other`; padding is not compared. */
  differences(other: Uint8Array): Name[] {
    const width = { i32: 4, u32: 4, f32: 4, u8: 1, u64: 8 };
    return (Object.keys(this.layout.fields) as Name[]).filter((name) => {
      const [offset, type] = this.layout.fields[name];
      for (let i = offset; i < offset + width[type]; i++) if (this.bytes[i] !== other[i]) return true;
      return false;
    });
  }
}

/** A field of a struct that native code owns; addresses and sizes stay below 2^53. */
export function fieldAt<Name extends string>(layout: Layout<Name>, struct: number, name: Name): number {
  const [offset, type] = layout.fields[name];
  return type === "u64" ? read.ptr(struct as Pointer, offset) : read[type](struct as Pointer, offset);
}

export const byValueOnStack = process.arch === "x64";
const INTEGER_REGISTERS = 6;

/**
 * The arguments that follow `pointers` pointers in a function whose last parameter is a struct of `bytes`
 * bytes by value.
 */
export function byValue(bytes: number, pointers: 0 | 1 = 1): ("i64" | "ptr")[] {
  return byValueOnStack ? Array<"i64">(INTEGER_REGISTERS - pointers + bytes / 8).fill("i64") : ["ptr"];
}

/** Calls a {@link byValue} function. On arm64 the callee owns `struct`: make one for each call. */
export function callByValue(
  fn: (...args: never[]) => unknown,
  pointers: readonly unknown[],
  struct: Struct<string>,
): unknown {
  const call = fn as (...args: unknown[]) => unknown;
  if (!byValueOnStack) return call(...pointers, struct.bytes);
  return call(...pointers, ...Array<number>(INTEGER_REGISTERS - pointers.length).fill(0), ...struct.words);
}

/** A symbol table whose types stay exact. */
export const asFunctions = <T extends Record<string, FFIFunction>>(table: T): T => table;
