// A bounded ring of fixed blocks in shared memory between one producer and one consumer. A full ring blocks
// the producer, which must ask first. Every block has a header; sample rings also carry 1920 samples per
// block.

import { RING_FRAMES } from "../config.ts";
import { CODES_PER_FRAME, type StopReason } from "../types.ts";

/** What a block means. `start` and `end` enclose the frames of a job. */
export const KIND = { start: 1, frame: 2, end: 3 } as const;
/** Why a job ended; the error of a failed one comes as a message. */
export type EndReason = StopReason | "failed";
const END_REASONS: readonly EndReason[] = ["eos", "length", "cancelled", "failed"];

// kind, job, codes (of a `start`: primed or not, of an `end`: the reason), place in the text
const HEADER_WORDS = 2 + CODES_PER_FRAME + 1;
const TEXT_AT = 2 + CODES_PER_FRAME;

export interface RingMemory {
  /** i32 [2]: blocks written, blocks read; both only grow and wrap as unsigned numbers. */
  counters: SharedArrayBuffer;
  /** i32 [blocks, 19] */
  headers: SharedArrayBuffer;
  /** f32 [blocks, payload] */
  payload: SharedArrayBuffer;
}

/** @param payload floats per block, 0 for none */
export const createRingMemory = (payload: number): RingMemory => ({
  counters: new SharedArrayBuffer(8),
  headers: new SharedArrayBuffer(4 * RING_FRAMES * HEADER_WORDS),
  payload: new SharedArrayBuffer(4 * Math.max(1, RING_FRAMES * payload)),
});

const WRITTEN = 0;
const READ = 1;

export class Ring {
  private readonly counters: Uint32Array;
  private readonly headers: Int32Array;
  /** The samples of each block; views are made once, not per frame. */
  private readonly payloads: Float32Array[];

  constructor(memory: RingMemory) {
    this.counters = new Uint32Array(memory.counters);
    this.headers = new Int32Array(memory.headers);
    const payload = new Float32Array(memory.payload);
    const width = Math.floor(payload.length / RING_FRAMES);
    this.payloads = Array.from({ length: RING_FRAMES }, (_, block) =>
      payload.subarray(block * width, (block + 1) * width),
    );
  }

  /** Blocks that can be read. */
  get filled(): number {
    return (Atomics.load(this.counters, WRITTEN) - Atomics.load(this.counters, READ)) >>> 0;
  }

  /** Blocks that can be written. */
  get free(): number {
    return RING_FRAMES - this.filled;
  }

  /**
   * Producer: writes one block, codes from `from` on and the samples of the frame; the caller has made sure
   * that there is room.
   * @param textAt offset in the sentence of the token that the frame says, or -1
   */
  pushFrame(job: number, codes: Int32Array, from: number, textAt: number, samples?: Float32Array): void {
    const block = this.claim(KIND.frame, job);
    const header = block * HEADER_WORDS + 2;
    for (let i = 0; i < CODES_PER_FRAME; i++) this.headers[header + i] = codes[from + i];
    this.headers[block * HEADER_WORDS + TEXT_AT] = textAt;
    if (samples !== undefined) this.payloads[block].set(samples);
    Atomics.add(this.counters, WRITTEN, 1);
  }

  /** @param primed whether the vocoder first hears a reference, which it gets as a message */
  pushStart(job: number, primed = false): void {
    this.headers[this.claim(KIND.start, job) * HEADER_WORDS + 2] = primed ? 1 : 0;
    Atomics.add(this.counters, WRITTEN, 1);
  }

  pushEnd(job: number, reason: EndReason): void {
    this.headers[this.claim(KIND.end, job) * HEADER_WORDS + 2] = END_REASONS.indexOf(reason);
    Atomics.add(this.counters, WRITTEN, 1);
  }

  private claim(kind: number, job: number): number {
    if (this.free === 0) throw new RangeError("the ring is full");
    const block = Atomics.load(this.counters, WRITTEN) % RING_FRAMES;
    this.headers[block * HEADER_WORDS] = kind;
    this.headers[block * HEADER_WORDS + 1] = job;
    return block;
  }

  /**
   * Consumer: reads the block `ahead` blocks after the next one; the caller has made sure that it is there.
   */
  kind(ahead = 0): number {
    return this.headers[this.block(ahead) * HEADER_WORDS];
  }
  job(ahead = 0): number {
    return this.headers[this.block(ahead) * HEADER_WORDS + 1];
  }
  textAt(ahead: number): number {
    return this.headers[this.block(ahead) * HEADER_WORDS + TEXT_AT];
  }
  get primed(): boolean {
    return this.headers[this.block(0) * HEADER_WORDS + 2] === 1;
  }
  endReason(): EndReason {
    return END_REASONS[this.headers[this.block(0) * HEADER_WORDS + 2]];
  }
  copyCodes(ahead: number, target: Int32Array, at: number): void {
    const from = this.block(ahead) * HEADER_WORDS + 2;
    for (let i = 0; i < CODES_PER_FRAME; i++) target[at + i] = this.headers[from + i];
  }
  copySamples(ahead: number, target: Float32Array, at: number): void {
    target.set(this.payloads[this.block(ahead)], at);
  }

  /** Consumer: gives `count` blocks back. */
  release(count: number): void {
    Atomics.add(this.counters, READ, count);
  }

  private block(ahead: number): number {
    return (Atomics.load(this.counters, READ) + ahead) % RING_FRAMES;
  }
}
