// How many threads find a core of their own now. Threads of one ggml graph wait for each other by spinning:
// where another program holds one of their cores, all of them wait for its turn to end, and two threads are
// many times slower than one.

import { closeSync, openSync, readSync } from "node:fs";
import { availableParallelism } from "node:os";

const LOAD_FILE = "/proc/loadavg";
const LOAD_BYTES = 64;
const [SPACE, SLASH, ZERO] = [" ", "/", "0"].map((sign) => sign.charCodeAt(0));

export class SpareCores {
  private readonly file: number | null;
  private readonly bytes = new Uint8Array(LOAD_BYTES);

  /** @param path of the file that tells how many threads run */
  constructor(
    path = LOAD_FILE,
    private readonly cores = availableParallelism(),
  ) {
    this.file = openOrNull(path);
  }

  /**
   * `wanted`, or fewer where other threads of the machine are running. At least 1. Allocates nothing.
   * @param patienceMs for long work: how long others, as the thread that sent it, may take to fall asleep
   */
  threads(wanted: number, patienceMs = 0): number {
    if (wanted === 1 || this.file === null) return wanted;
    const endMs = performance.now() + patienceMs;
    for (;;) {
      const others = this.running() - 1; // this thread is one of them
      const free = Math.max(1, this.cores - others);
      if (free >= wanted || performance.now() >= endMs) return Math.min(wanted, free);
    }
  }

  /** Threads that run or wait for a core: the number before the slash in "0.31 0.43 0.40 3/412 9012". */
  private running(): number {
    const length = readSync(this.file!, this.bytes, 0, LOAD_BYTES, 0);
    let count = 0;
    for (let at = 0; at < length && this.bytes[at] !== SLASH; at++)
      count = this.bytes[at] === SPACE ? 0 : 10 * count + this.bytes[at] - ZERO;
    return count;
  }

  close(): void {
    if (this.file !== null) closeSync(this.file);
  }
}

function openOrNull(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch {
    return null; // a sandbox without /proc
  }
}
