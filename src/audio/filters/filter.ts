// What changes sound on its way: the shape that all filters have, and a sink behind filters.

import type { Sink } from "../sink.ts";

/** Takes samples in order and gives them changed; it may keep some back for a while. */
export interface Filter {
  /** @returns what is ready: as many samples, fewer, more or none */
  push(samples: Float32Array): Float32Array;
  /** @returns what was kept back; nothing is pushed after it */
  end(): Float32Array;
  /**
   * Where a moment of the sound that was pushed lies in the sound that is given out, by what is known so far.
   * Both in seconds. Absent: where it was.
   */
  moved?(seconds: number): number;
}

/** A filter that is made when the first sound comes: what shapes it may not be known before. */
export function later(make: () => Filter): Filter {
  let made: Filter | null = null;
  const get = () => (made ??= make());
  return {
    push: (samples) => get().push(samples),
    end: () => get().end(),
    moved: (seconds) => made?.moved?.(seconds) ?? seconds,
  };
}

const passed = (samples: Float32Array, filters: readonly Filter[], from: number) =>
  filters.slice(from).reduce((sound, filter) => filter.push(sound), samples);

/** A sink that gets its sound through `filters`, the first one first. */
export function filtered(sink: Sink, filters: readonly Filter[]): Sink {
  if (filters.length === 0) return sink;
  const pass = async (samples: Float32Array, from = 0) => {
    const left = passed(samples, filters, from);
    if (left.length > 0) await sink.write(left);
  };
  return {
    write: (samples) => pass(samples),
    async finish() {
      for (const [i, filter] of filters.entries()) await pass(filter.end(), i + 1);
      await sink.finish();
    },
    abandon: () => sink.abandon(),
  };
}

/** Sound that comes piece by piece, through filters. */
export async function* through(
  sound: AsyncIterable<Float32Array>,
  filters: readonly Filter[],
): AsyncGenerator<Float32Array> {
  for await (const samples of sound) yield passed(samples, filters, 0);
  for (const [i, filter] of filters.entries()) yield passed(filter.end(), filters, i + 1);
}
