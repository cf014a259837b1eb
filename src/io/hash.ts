// SHA-256, also of a file, read block by block. Not by node:crypto: every thread that loads it takes 5 ms.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const BLOCK_BYTES = 1 << 22;

export const newHash = () => new Bun.CryptoHasher("sha256");

/** As hex digits. Throws what the file system does. @param onBytes told after every block */
export function hashFile(path: string, onBytes: (count: number) => void = () => {}): string {
  const hash = newHash();
  const file = openSync(path, "r");
  try {
    // a start hashes many small files, for which filling a large block with zeros takes longer than hashing
    const block = Buffer.alloc(Math.min(BLOCK_BYTES, fstatSync(file).size + 1));
    for (let count = readSync(file, block); count > 0; count = readSync(file, block)) {
      hash.update(block.subarray(0, count));
      onBytes(count);
    }
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}
