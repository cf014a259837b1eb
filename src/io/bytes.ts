// What every writer of a binary file here needs: values as bytes, and bytes to a file. No format is known
// here.

import { writeSync } from "node:fs";

/** The same memory, byte by byte. */
export const asBytes = (values: Float32Array | Float16Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** One write call takes at most 2 GiB. */
export function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(file, bytes, at, Math.min(bytes.length - at, 2 ** 30));
}
