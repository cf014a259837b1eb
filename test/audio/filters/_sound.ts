// Sounds for tests of filters, and a filter's answer to them.

import type { Filter } from "../../../src/audio/filters/filter.ts";
import { joined } from "../../../src/io/bytes.ts";

export const RATE = 24_000;

export const sine = (hz: number, length: number, level: number, phase = 0) =>
  Float32Array.from({ length }, (_, i) => level * Math.sin((2 * Math.PI * hz * i) / RATE + phase));

/** The same at every call. */
export function noise(length: number, level: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return level * ((2 * state) / 2_147_483_647 - 1);
  });
}

export function inPieces(filter: Filter, sound: Float32Array, size: number): Float32Array {
  const out: Float32Array[] = [];
  for (let at = 0; at < sound.length; at += size) out.push(filter.push(sound.slice(at, at + size)));
  out.push(filter.end());
  return joined(out);
}
