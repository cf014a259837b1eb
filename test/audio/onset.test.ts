// Where sound begins, on samples made by hand: the level, the lead that stays, and when a listener hears it.

import { describe, expect, test } from "bun:test";
import { firstHeard, Listener, StartTrimmer } from "../../src/audio/onset.ts";

const AT_LEVEL = 10 ** (-50 / 20);
const LEAD = 240; // 10 ms
/** A ramp too low to be heard, so that every sample is told from the others. */
const silence = (samples: number) => Float32Array.from({ length: samples }, (_, i) => i * 1e-7);
const speech = Float32Array.of(-0.5, 0, 0.25);
const both = (...parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));

describe("the first heard sample", () => {
  test.each<[string, number[], number]>([
    ["is above -50 dB", [0, AT_LEVEL * 0.999, AT_LEVEL * 1.001], 2],
    ["may be negative", [0, -AT_LEVEL * 1.001], 1],
    ["is missing in silence", [0, AT_LEVEL * 0.999, -AT_LEVEL * 0.999], -1],
    ["is missing where there are no samples", [], -1],
  ])("%s", (_what, samples, index) => {
    expect(firstHeard(Float32Array.from(samples))).toBe(index);
  });
});

describe("trimming", () => {
  const sound = both(silence(1000), speech, silence(1000), speech);

  test.each([1, 7, 240, 999, 1000, 1001, 4000])("leaves a short lead, in chunks of %d samples", (size) => {
    const trimmer = new StartTrimmer();
    const left: Float32Array[] = [];
    for (let from = 0; from < sound.length; from += size)
      left.push(trimmer.push(sound.subarray(from, from + size)));
    expect(both(...left)).toEqual(sound.slice(1000 - LEAD));
  });

  test("adds nothing where sound begins at once", () => {
    expect(new StartTrimmer().push(speech)).toEqual(speech);
    expect(new StartTrimmer().push(both(silence(5), speech))).toEqual(both(silence(5), speech));
  });

  test("gives out the first heard chunk as soon as it comes, and nothing before", () => {
    const trimmer = new StartTrimmer();
    expect(trimmer.push(silence(1920)).length).toBe(0);
    expect(trimmer.push(silence(1920)).length).toBe(0);
    expect(trimmer.push(speech).length).toBe(LEAD + speech.length);
    expect(trimmer.push(silence(1920)).length).toBe(1920);
  });
});

describe("a listener", () => {
  test("hears the first sample after the silence before it, which the player plays in its time", () => {
    const listener = new Listener();
    listener.take(silence(2400), 50); // 100 ms, played until 150
    listener.take(silence(2400), 60); // until 250
    expect(listener).toMatchObject({ firstMs: 50, heardMs: 0 });
    listener.take(both(silence(24), speech), 70);
    expect(listener).toMatchObject({ firstMs: 50, heardMs: 251 });
    listener.take(speech, 999);
    expect(listener).toMatchObject({ firstMs: 50, heardMs: 251, samples: 4800 + 24 + 6 });
  });

  test("waits for a chunk that comes after the player has played everything", () => {
    const listener = new Listener();
    listener.take(silence(2400), 50);
    listener.take(speech, 400);
    expect(listener.heardMs).toBe(400);
  });

  test("has heard nothing of chunks without samples", () => {
    const listener = new Listener();
    listener.take(new Float32Array(0), 50);
    expect(listener).toMatchObject({ firstMs: 0, heardMs: 0, samples: 0 });
  });
});
