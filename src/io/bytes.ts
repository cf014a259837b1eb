// Values in memory and on their way to a file: in a row, as bytes, written. Knows no format.

import { writeSync } from "node:fs";

/** The same memory, byte by byte. */
export const asBytes = (values: Float32Array | Float16Array | Int32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** All values in a row, in new memory. */
export function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Writes all bytes, in parts: one write call takes at most 2 GiB. */
export function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(file, bytes, at, Math.min(bytes.length - at, 2 ** 30));
}
