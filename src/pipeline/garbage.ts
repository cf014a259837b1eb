// Frees what a stage has left in the heap of its thread. A loop that never returns to the event loop gets no
// collection from Bun, and JSC waits until the heap has doubled, in which it counts mapped weights: a long
// text would grow by tens of megabytes a thread before that.

import { fullGC } from "bun:jsc";

/** Twenty seconds of speech leave some 4 MB. A collection takes 1 to 5 ms. */
const COLLECTED_FRAMES = 250;

export class Garbage {
  private frames = 0;

  /** @param frames that were just made */
  grow(frames: number): void {
    this.frames += frames;
  }

  /** Call it where nobody waits for a frame: a sentence has ended, or another stage has its turn. */
  collect(): void {
    if (this.frames < COLLECTED_FRAMES) return;
    this.frames = 0;
    fullGC(); // not of the young alone: what outlives a few sentences would pile up
  }
}
