// Words of shared memory that threads watch: the stop word, one bell per sleeper, which jobs are cancelled,
// and whose prompt is computed. Rule against lost wake-ups: read the bell, look for work, and only then sleep
// on the value read.

import { LIMITS } from "../config.ts";

const WORDS = { stop: 0, talker: 1, vocoder: 2, main: 3, turn: 4, loadTurn: 5, prompt: 6 } as const;
export type Bell = "talker" | "vocoder" | "main";
const FIRST_CANCEL_WORD = 8;
/** Jobs that may be under way at once; more wait in the engine. */
export const MAX_JOBS = 64;
/** No prompt is computed. */
const NOBODYS = 0;

export interface SignalMemory {
  words: SharedArrayBuffer;
  /** Byte 0 becomes 1 on stop: native code polls it. */
  nativeStop: SharedArrayBuffer;
  /** The same for the talker, whose prompt may also be cancelled alone. */
  promptStop: SharedArrayBuffer;
}

export const createSignalMemory = (): SignalMemory => ({
  words: new SharedArrayBuffer(4 * (FIRST_CANCEL_WORD + MAX_JOBS)),
  nativeStop: new SharedArrayBuffer(2),
  promptStop: new SharedArrayBuffer(2),
});

export class Signals {
  private readonly words: Int32Array;
  private readonly nativeStop: Uint8Array;
  private readonly promptStop: Uint8Array;
  /** Passed to libllama's loader: see ffi/llama.ts. */
  readonly loadTurn: Int32Array;

  constructor(readonly memory: SignalMemory) {
    this.words = new Int32Array(memory.words);
    this.nativeStop = new Uint8Array(memory.nativeStop);
    this.promptStop = new Uint8Array(memory.promptStop);
    this.loadTurn = this.words.subarray(WORDS.loadTurn, WORDS.loadTurn + 1);
  }

  get stopped(): boolean {
    return Atomics.load(this.words, WORDS.stop) !== 0;
  }

  /** Ends every loop, wait and native call. There is no way back. */
  stop(): void {
    Atomics.store(this.words, WORDS.stop, 1);
    this.nativeStop[0] = 1;
    this.promptStop[0] = 1;
    for (const bell of ["talker", "vocoder", "main"] as const) this.ring(bell);
    Atomics.notify(this.words, WORDS.turn);
  }

  ring(bell: Bell): void {
    Atomics.add(this.words, WORDS[bell], 1);
    Atomics.notify(this.words, WORDS[bell]);
  }

  read(bell: Bell): number {
    return Atomics.load(this.words, WORDS[bell]);
  }

  /** Sleeps until the bell has rung since `seen`, or for one slice. */
  wait(bell: Bell, seen: number): void {
    Atomics.wait(this.words, WORDS[bell], seen, LIMITS.waitSliceMs);
  }

  /** The same without blocking the thread. */
  async waitAsync(bell: Bell, seen: number): Promise<void> {
    const { value } = Atomics.waitAsync(this.words, WORDS[bell], seen, LIMITS.waitSliceMs);
    await value;
  }

  /** Whose turn it is with the mailbox: see mailbox.ts. */
  get turn(): number {
    return Atomics.load(this.words, WORDS.turn);
  }
  set turn(value: number) {
    Atomics.store(this.words, WORDS.turn, value);
    Atomics.notify(this.words, WORDS.turn);
  }
  waitTurn(seen: number): void {
    Atomics.wait(this.words, WORDS.turn, seen, LIMITS.waitSliceMs);
  }

  /**
   * Cancels a job; if its prompt is being computed, that ends at once. Job numbers count from 1, so an
   * untouched word cancels nothing.
   */
  cancel(job: number): void {
    Atomics.store(this.words, FIRST_CANCEL_WORD + (job % MAX_JOBS), job);
    if (Atomics.compareExchange(this.words, WORDS.prompt, job, -job) === job) {
      this.promptStop[0] = 1;
      Atomics.store(this.words, WORDS.prompt, NOBODYS);
      Atomics.notify(this.words, WORDS.prompt);
    }
    this.ring("talker");
    this.ring("vocoder");
  }
  isCancelled(job: number): boolean {
    return Atomics.load(this.words, FIRST_CANCEL_WORD + (job % MAX_JOBS)) === job;
  }

  /**
   * Talker: until {@link endPrompt}, cancelling the job sets the byte that the talker's native calls watch.
   */
  beginPrompt(job: number): void {
    Atomics.store(this.words, WORDS.prompt, job);
  }

  /**
   * Talker: the job's prompt is over. Waits for a cancel that has begun; else its byte would end the wrong
   * call.
   */
  endPrompt(job: number): void {
    if (Atomics.compareExchange(this.words, WORDS.prompt, job, NOBODYS) === job) return;
    while (Atomics.load(this.words, WORDS.prompt) === -job)
      Atomics.wait(this.words, WORDS.prompt, -job, LIMITS.waitSliceMs);
    this.promptStop[0] = 0;
    if (this.stopped) this.promptStop[0] = 1; // the stop may have come in between
  }
}
