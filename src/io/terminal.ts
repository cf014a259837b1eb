// Standard error, and what a terminal tells. Bun's own streams are touched on terminals alone: touching one
// makes its pipe non-blocking for good, and other programs that share the pipe then lose what they write.

import { writeSync } from "node:fs";
import { isatty } from "node:tty";

const STDERR = 2;
const RETRY_MS = 5;

export const isTerminal = (file: 0 | 1 | 2) => isatty(file);

/** Columns of a terminal; `otherwise` where there is none, or it does not tell. */
export function columnsOf(file: 1 | 2, otherwise: number): number {
  return isTerminal(file) ? process[file === STDERR ? "stderr" : "stdout"].columns || otherwise : otherwise;
}

/** Waits while a pipe is full. What nobody can read is dropped. */
export function writeStderr(text: string): void {
  for (let rest = Buffer.from(text); rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(STDERR, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Bun.sleepSync(RETRY_MS); // another program made the pipe non-blocking
    }
  }
}
