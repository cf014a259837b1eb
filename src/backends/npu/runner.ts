// A thread that makes an NPU library's blocking call, so that two models compute side by side on two cores.
// Whoever opened the models binds their tensors; here only a number comes and a code goes.

import { parentPort, type Worker } from "node:worker_threads";
import { NPU_LIBRARIES } from "../../../ffi/npu/libraries.ts";
import type { RunThread } from "../../../ffi/npu/model.ts";
import { type Config, LIMITS } from "../../config.ts";
import type { NpuName } from "../../npu-vendors.ts";
import { startWorker } from "../../worker.ts";

interface RunnerJob {
  vendor: NpuName;
  config: Pick<Config, "libraries" | "allowStandIn">;
  memory: SharedArrayBuffer;
}

/** 0 at the start. */
const [BEGUN, DONE, STOP] = [1, 2, 3];
/** i32 words: one of the above, and the code; u64: the context. */
const WORDS = { state: 0, code: 1 } as const;
const MEMORY_BYTES = 16;

const wordsOf = (memory: SharedArrayBuffer) => ({
  words: new Int32Array(memory, 0, 2),
  context: new BigUint64Array(memory, 8, 1),
});

function move(words: Int32Array, state: number): void {
  Atomics.store(words, WORDS.state, state);
  Atomics.notify(words, WORDS.state);
}

/** Serves one model. */
export class Runner implements RunThread {
  private readonly memory = new SharedArrayBuffer(MEMORY_BYTES);
  private readonly shared = wordsOf(this.memory);
  private readonly worker: Worker;

  constructor(vendor: NpuName, { allowStandIn, libraries }: Config) {
    const config = { allowStandIn, libraries };
    this.worker = startWorker("runner", { vendor, config, memory: this.memory } satisfies RunnerJob);
    this.worker.unref();
  }

  begin(context: bigint): void {
    this.shared.context[0] = context;
    move(this.shared.words, BEGUN);
  }

  end(): number {
    const { words } = this.shared;
    // in slices, so that a thread that hangs here can be ended
    while (Atomics.load(words, WORDS.state) === BEGUN)
      Atomics.wait(words, WORDS.state, BEGUN, LIMITS.waitSliceMs);
    return words[WORDS.code];
  }

  close(): void {
    move(this.shared.words, STOP);
  }
}

/** The thread's side. */
export function runRunner({ config: { allowStandIn, libraries }, memory, vendor }: RunnerJob): void {
  const call = NPU_LIBRARIES[vendor].caller!({ override: libraries[vendor], allowStandIn });
  const { context, words } = wordsOf(memory);
  let own: bigint | null = null; // read once: each read would make another BigInt
  for (;;) {
    const state = Atomics.load(words, WORDS.state);
    if (state === STOP) break;
    if (state === BEGUN) {
      own ??= context[0];
      words[WORDS.code] = call(own);
      if (Atomics.compareExchange(words, WORDS.state, BEGUN, DONE) === BEGUN)
        Atomics.notify(words, WORDS.state);
    } else Atomics.wait(words, WORDS.state, state);
  }
  parentPort!.close();
}
