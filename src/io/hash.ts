// The SHA-256 of a file, read block by block.

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";

const BLOCK_BYTES = 1 << 22;

/** As hex digits. Throws what the file system does. @param onBytes told after every block */
export function hashFile(path: string, onBytes: (count: number) => void = () => {}): string {
  const hash = createHash("sha256");
  const block = Buffer.alloc(BLOCK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let count = readSync(file, block); count > 0; count = readSync(file, block)) {
      hash.update(block.subarray(0, count));
      onBytes(count);
    }
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}
