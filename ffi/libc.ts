// The C library: environment for native code, read-only file mappings, and two harmless functions used as callbacks.

import { dlopen, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { closeSync, fstatSync, openSync } from "node:fs";

const libc = dlopen("libc.so.6", {
  setenv: { args: ["cstring", "cstring", "i32"], returns: "i32" }, // name, value, overwrite
  abs: { args: ["i32"], returns: "i32" },
  strlen: { args: ["ptr"], returns: "u64" },
  memcpy: { args: ["ptr", "ptr", "u64"], returns: "ptr" }, // to, from, bytes
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" }, // address, bytes, protection, flags, file, offset
  madvise: { args: ["ptr", "u64", "i32"], returns: "i32" }, // address, bytes, advice
  munmap: { args: ["ptr", "u64"], returns: "i32" },
});

/** The native address of a bound function: C can call it without any JavaScript. */
const addressOf = (fn: unknown) => (fn as { ptr: Pointer }).ptr;

const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MADV_DONTNEED = 4;

/** A log callback that does nothing: libc's `abs`. No JavaScript runs, so any thread may call it. */
export const NOOP_CALLBACK = addressOf(libc.symbols.abs);

/**
 * An abort callback over a zeroed byte pair: libc's `strlen` of the flag, 0 until its first byte is set.
 * Any thread may set that byte.
 */
export const FLAG_CALLBACK = addressOf(libc.symbols.strlen);

/** `process.env` does not reach C; call this before the library that reads the variable is loaded. */
export function setEnvironment(name: string, value: string): void {
  libc.symbols.setenv(Buffer.from(`${name}\0`), Buffer.from(`${value}\0`), 1);
}

/** Copies `count` floats from native memory to target[at ...]. */
export function copyFloats(target: Float32Array, at: number, count: number, source: Pointer): void {
  if (at + count > target.length) throw new RangeError(`${count} floats at ${at} of ${target.length}`);
  libc.symbols.memcpy((ptr(target) + 4 * at) as Pointer, source, 4 * count);
}

export interface MappedFile {
  path: string;
  /** Read-only memory: a write would crash the process. Never post it to another thread: that copies the whole file. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Gives the pages that were read back to the system; they are read again when touched again. */
  release(): void;
  /** Ends the mapping. Every view of `bytes` is empty from then on: nothing can reach memory that is no longer there. */
  close(): void;
}

/** Maps a file read-only; pages are read when touched. Errors of `open` are passed on; an empty file maps to no bytes. */
export function mapFile(path: string): MappedFile {
  const file = openSync(path, "r");
  try {
    const length = fstatSync(file).size;
    if (length === 0) return { path, bytes: new Uint8Array(0), release: () => {}, close: () => {} };
    const base = libc.symbols.mmap(null, length, PROT_READ, MAP_PRIVATE, file, 0);
    if (base === null || (base as number) === -1 || (base as number) > 2 ** 63) throw new Error(`mmap of ${path} failed`);
    const bytes = new Uint8Array(toArrayBuffer(base, 0, length));
    const isOpen = () => bytes.length > 0;
    const release = () => void (isOpen() && libc.symbols.madvise(base, length, MADV_DONTNEED));
    const close = () => {
      if (!isOpen()) return; // a second time would end a mapping of somebody else
      bytes.buffer.transfer(); // takes the memory from all views
      libc.symbols.munmap(base, length);
    };
    return { path, bytes, release, close };
  } finally {
    closeSync(file);
  }
}
