// Speaks faster or slower at the same pitch, by WSOLA: pieces of 20 ms are taken at another pace, each from
// the place near its own that continues the piece before best, and blended into each other.

import { TtsError } from "../../errors.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import type { Filter } from "./filter.ts";

export const SPEED_RANGE = { least: 0.7, most: 1.4 } as const;
/** A piece, and the blend from the one before it: 20 ms. */
const PIECE = SAMPLE_RATE_HZ / 50;
/** Pieces may come from so far before or after their place: a whole period of 60 Hz lies within. */
const SEARCH = SAMPLE_RATE_HZ / 120;
/** Rises from 0 to 1; two of them, one turned round, add up to 1. */
const BLEND = Float64Array.from(
  { length: PIECE },
  (_, i) => 0.5 - 0.5 * Math.cos((Math.PI * (i + 0.5)) / PIECE),
);

/**
 * @param speed 0.7 to 1.4; 1 passes the samples on as they are
 * @throws TtsError USAGE
 */
export function speedFilter(speed: number): Filter {
  const { least, most } = SPEED_RANGE;
  if (!(speed >= least && speed <= most))
    throw new TtsError("USAGE", `the speed is ${speed}`, `give ${least} to ${most}; 1 is the voice's own`);
  return speed === 1 ? { push: (samples) => samples, end: () => new Float32Array(0) } : new Wsola(speed);
}

class Wsola implements Filter {
  /** Samples from position `start` on; what was used is dropped. */
  private memory = new Float32Array(4 * (PIECE + SEARCH));
  private start = 0;
  private filled = 0;
  /** Number of the next piece. */
  private piece = 0;
  /** Where the sound goes on that the last piece was taken from. */
  private next = 0;

  constructor(private readonly speed: number) {}

  push(samples: Float32Array): Float32Array {
    this.keep(samples.length);
    this.memory.set(samples, this.filled);
    this.filled += samples.length;
    const end = this.start + this.filled;
    let count = 0;
    while (this.need(this.piece + count) <= end) count++;
    return this.take(count);
  }

  end(): Float32Array {
    const total = Math.round((this.start + this.filled) / this.speed);
    const left = total - this.piece * PIECE;
    const count = Math.max(0, Math.ceil(left / PIECE));
    const silence = Math.max(0, this.need(this.piece + count) - this.start - this.filled);
    this.keep(silence);
    this.memory.fill(0, this.filled, this.filled + silence);
    return this.take(count).subarray(0, Math.max(0, left));
  }

  /** To about 8 ms, which is how far pieces are taken from their place. */
  moved(seconds: number): number {
    return seconds / this.speed;
  }

  /** Where a piece would be taken from if nothing were to fit. */
  private placeOf(piece: number): number {
    return Math.round(piece * PIECE * this.speed);
  }

  /** The end of the samples that a piece and the one before it may be taken from. */
  private need(piece: number): number {
    return this.placeOf(piece) + SEARCH + 2 * PIECE;
  }

  /** Drops what no piece needs any more, and makes room. */
  private keep(count: number): void {
    const from = Math.max(this.start, Math.min(this.next, this.placeOf(this.piece) - SEARCH));
    const kept = this.memory.subarray(Math.min(from - this.start, this.filled), this.filled);
    const memory =
      kept.length + count > this.memory.length ? new Float32Array(2 * (kept.length + count)) : this.memory;
    memory.set(kept);
    this.memory = memory;
    this.start = from;
    this.filled = kept.length;
  }

  private take(count: number): Float32Array {
    const out = new Float32Array(count * PIECE);
    for (let i = 0; i < count; i++) this.blend(out, i * PIECE);
    return out;
  }

  private blend(out: Float32Array, at: number): void {
    const { memory, start } = this;
    const old = this.next - start;
    const place = this.piece === 0 ? 0 : this.best(this.placeOf(this.piece) - start, old);
    for (let i = 0; i < PIECE; i++) {
      const before = memory[old + i];
      out[at + i] = before + BLEND[i] * (memory[place + i] - before);
    }
    this.next = start + place + PIECE;
    this.piece++;
  }

  /**
   * The place around `place` where the sound is most like that at `old`: the highest correlation for its
   * energy. Equal ones: the nearest to `place` that is tried first.
   */
  private best(place: number, old: number): number {
    const { memory } = this;
    const first = Math.max(0, place - SEARCH);
    let energy = 0;
    for (let i = 0; i < PIECE; i++) energy += memory[first + i] ** 2;
    let [found, highest] = [place, this.likeness(place, old, this.energyAt(place))];
    for (let from = first; from <= place + SEARCH; from++) {
      const likeness = this.likeness(from, old, energy);
      if (likeness > highest) [found, highest] = [from, likeness];
      energy += memory[from + PIECE] ** 2 - memory[from] ** 2;
    }
    return found;
  }

  private energyAt(place: number): number {
    let energy = 0;
    for (let i = 0; i < PIECE; i++) energy += this.memory[place + i] ** 2;
    return energy;
  }

  private likeness(place: number, old: number, energy: number): number {
    const { memory } = this;
    let [a, b, c, d] = [0, 0, 0, 0]; // four sums at once: none waits for the one before it
    for (let i = 0; i < PIECE; i += 4) {
      a += memory[place + i] * memory[old + i];
      b += memory[place + i + 1] * memory[old + i + 1];
      c += memory[place + i + 2] * memory[old + i + 2];
      d += memory[place + i + 3] * memory[old + i + 3];
    }
    const sum = a + b + (c + d);
    return energy > 1e-9 ? sum / Math.sqrt(energy) : 0;
  }
}
