// What writers of binary files share: values as bytes, and bytes written to a file. Knows no format.

import { writeSync } from "node:fs";

/** The same memory, byte by byte. */
export const asBytes = (values: Float32Array | Float16Array | Int32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Writes all bytes, in parts: one write call takes at most 2 GiB. */
export function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(file, bytes, at, Math.min(bytes.length - at, 2 ** 30));
}
