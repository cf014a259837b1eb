// Sounds for tests of filters, and a filter's answer to them.

import type { Filter } from "../../../src/audio/filters/filter.ts";

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
  const whole = new Float32Array(out.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of out) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
