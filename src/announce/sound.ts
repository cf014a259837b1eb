// The sound of an announcement while it is made: who plays it need not wait for its end, and may play it
// again.

/** Grows at its end; can be iterated from its beginning any number of times. */
export class GrowingSound implements AsyncIterable<Float32Array> {
  /** How many there are. */
  samples = 0;
  private readonly chunks: Float32Array[] = [];
  private end: { failure: unknown } | null = null;
  private wake: () => void = () => {};
  private changed = this.nextChange();

  push(samples: Float32Array): void {
    this.chunks.push(samples);
    this.samples += samples.length;
    this.tell();
  }

  /** @param failure what whoever listens gets, or undefined */
  finish(failure?: unknown): void {
    this.end = { failure };
    this.tell();
  }

  /** Until it is ready, which is asked whenever it has grown, or has ended. Throws its failure. */
  async until(isReady: () => boolean): Promise<void> {
    while (this.end === null && !isReady()) await this.changed;
    if (this.end?.failure !== undefined) throw this.end.failure;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Float32Array> {
    for (let i = 0; ; i++) {
      while (i >= this.chunks.length && this.end === null) await this.changed;
      if (i < this.chunks.length) yield this.chunks[i];
      else if (this.end?.failure !== undefined) throw this.end.failure;
      else return;
    }
  }

  private tell(): void {
    this.wake();
    this.changed = this.nextChange();
  }

  private nextChange(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}
