// The calls of one model to AXCL: a code other than 0 becomes an error that names the model and what is known
// of it so far.

import { TtsError } from "../../src/errors.ts";
import type { Card } from "./_axcl-card.ts";

export class ModelCalls {
  /** Size of the model's file; 0 before it is read. */
  bytes = 0;
  /** Version of the compiler that made it, "" before it is known. */
  compiler = "";
  /** Whether it is open; else it is being opened. */
  running = false;

  constructor(
    readonly card: Card,
    readonly path: string,
  ) {}

  get library() {
    return this.card.library.calls;
  }

  /** @throws TtsError for a code other than 0 */
  check(call: string, code: number): void {
    if (code === 0) return;
    const { bytes, compiler, path, running } = this;
    this.card.check(call, code, { compiler, running, model: { path, bytes } });
  }

  /** Makes a call and returns what it writes through `out`. @throws TtsError */
  take(call: string, use: (out: BigUint64Array) => number): bigint {
    const out = new BigUint64Array(new ArrayBuffer(8));
    this.check(call, use(out));
    return out[0];
  }

  /** @param what part of the model is wrong, such as "input x [2, 3]" */
  refuse(what: string, is: string, hint: string): TtsError {
    return new TtsError("NPU_MODEL_INVALID", `${this.path}: its ${what} ${is}`, hint);
  }
}
