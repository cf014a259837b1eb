// Samples as they come become the bytes of a format: the shape that all codecs have, and what is common to
// them. Memory is bounded, however much is pushed at once.

import { clipped } from "../pcm.ts";

/** What one format does. Called in this order: head, encode any number of times, flush, head, free. */
export interface Codec {
  /**
   * The first bytes.
   * @param samples how many there are in all; null before the end. Both times it has the same length.
   */
  head(samples: number | null): Uint8Array;
  /**
   * @param samples at most {@link BLOCK_SAMPLES}, within [-1, 1]; the memory is used again
   * @returns what is ready, in memory of its own
   */
  encode(samples: Float32Array): Uint8Array;
  /** What was kept back. */
  flush(): Uint8Array;
  /** Gives its memory back. Nothing is called after it. */
  free(): void;
}

/** The most samples that a codec gets in one call. */
export const BLOCK_SAMPLES = 4096;

/** Encodes one sound. Either {@link end} or {@link close} must be called, for codecs hold memory. */
export class Encoder {
  private samples = 0;
  private started = false;
  private freed = false;
  /** Of a file: what its first bytes must become. null before the end. */
  private finalHead: Uint8Array | null = null;
  private readonly block = new Float32Array(BLOCK_SAMPLES);

  constructor(private readonly codec: Codec) {}

  /**
   * Values beyond [-1, 1] are clipped, NaN is silence.
   * @returns the bytes that are ready, the caller's own; the header comes with the first ones
   */
  push(samples: Float32Array): Uint8Array {
    const parts = this.begin();
    for (let from = 0; from < samples.length; from += BLOCK_SAMPLES) {
      const count = Math.min(BLOCK_SAMPLES, samples.length - from);
      for (let i = 0; i < count; i++) this.block[i] = clipped(samples[from + i]);
      parts.push(this.codec.encode(this.block.subarray(0, count)));
    }
    this.samples += samples.length;
    return inOne(parts);
  }

  /** @returns the last bytes. Nothing is pushed after it. */
  end(): Uint8Array {
    const parts = this.begin();
    parts.push(this.codec.flush());
    this.finalHead = this.codec.head(this.samples);
    this.close();
    return inOne(parts);
  }

  /** After the end: as many bytes as the header had, which now know the length. A file begins with them. */
  get header(): Uint8Array {
    if (this.finalHead === null) throw new TypeError("the header is known after the end");
    return this.finalHead;
  }

  /** Gives memory back where the sound is not ended; does nothing after the end. */
  close(): void {
    if (this.freed) return;
    this.freed = true;
    this.codec.free();
  }

  private begin(): Uint8Array[] {
    if (this.freed) throw new TypeError("the encoder has ended");
    if (this.started) return [];
    this.started = true;
    return [this.codec.head(null)];
  }
}

/** One part goes on as it is, in most calls the only one. */
export const inOne = (parts: readonly Uint8Array[]): Uint8Array =>
  parts.length === 1 ? parts[0] : Buffer.concat(parts);
