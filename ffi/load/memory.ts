// Memory that native code may read or write. JavaScript moves small typed arrays and frees what it no longer
// sees, so everything handed to C lives in an ArrayBuffer of its own and stays referenced by a Pin.

import { type Pointer, ptr } from "bun:ffi";

const ALIGNMENT = 64;

/** Keeps buffers alive and at their address for as long as the Pin itself is referenced. */
export class Pin {
  private readonly kept: unknown[] = [];

  keep<T>(value: T): T {
    this.kept.push(value);
    return value;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    return this.keep(new Uint8Array(new ArrayBuffer(Math.max(length, 1))));
  }

  i32(length: number): Int32Array<ArrayBuffer> {
    return this.keep(new Int32Array(new ArrayBuffer(4 * Math.max(length, 1))));
  }

  /** Unsigned 64-bit words, for pointers and sizes. */
  u64(length: number): BigUint64Array<ArrayBuffer> {
    return this.keep(new BigUint64Array(new ArrayBuffer(8 * Math.max(length, 1))));
  }

  /** Shared memory that starts at a multiple of 64 bytes, as native matrix code wants it. */
  floats(length: number): Float32Array<SharedArrayBuffer> {
    const buffer = new SharedArrayBuffer(4 * Math.max(length, 1) + ALIGNMENT);
    const past = address(buffer) % ALIGNMENT;
    return this.keep(new Float32Array(buffer, past === 0 ? 0 : ALIGNMENT - past, length));
  }

  /** A NUL-terminated copy. */
  cstring(text: string): Pointer {
    return ptr(this.keep(Buffer.from(`${text}\0`)));
  }
}

/** The address of a view or shared buffer as a number that fits a C pointer argument. */
export function address(view: ArrayBufferView | SharedArrayBuffer): number {
  return ptr(view as NodeJS.TypedArray) as number;
}
