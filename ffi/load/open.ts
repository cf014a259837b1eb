// The only call of dlopen. Calls into libraries are machine code that Bun makes, so it needs its JIT; its own
// message does not say what switched the JIT off.

import { dlopen, type FFIFunction } from "bun:ffi";
import { TtsError } from "../../src/errors.ts";

/**
 * Throws what the system's loader says.
 * @throws TtsError LIBRARY_FAILED where Bun runs without its JIT
 */
export function openSymbols<T extends Record<string, FFIFunction>>(path: string, symbols: T) {
  try {
    return dlopen(path, symbols);
  } catch (cause) {
    if (!String(cause).includes("requires the JIT")) throw cause;
    throw new TtsError(
      "LIBRARY_FAILED",
      "Bun's JIT is off, and native libraries cannot be called without it",
      "unset BUN_JSC_useJIT and BUN_JSC_useAssembler, and allow memory that is written and run " +
        "(systemd: MemoryDenyWriteExecute=no)",
      { cause },
    );
  }
}
