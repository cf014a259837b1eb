// What native libraries read from C's environment. C's setenv frees the list of variables that another thread
// may be reading, which crashed one start in about two thousand: so all are set before a second thread
// starts.

import { environmentHas, setEnvironment } from "../libc.ts";

const VARIABLES: Readonly<Record<string, string>> = {
  /** A failed assertion would start a debugger first. */
  GGML_NO_BACKTRACE: "1",
  /** ONNX Runtime would write a database of model names into the user's cache. */
  ORT_DISABLE_TELEMETRY: "1",
  /** librknnrt's lines may go to standard output, which is for sound. */
  RKNN_LOG_LEVEL: "0",
};

/**
 * Sets what the user has not set. Comes before the first thread is started and, where there is none, before a
 * library is loaded; a later call does nothing.
 */
export function settleEnvironment(): void {
  for (const [name, value] of Object.entries(VARIABLES))
    if (!environmentHas(name)) setEnvironment(name, value);
}
