// Sentences that go wrong are cut, and their rest is said again: what is given out, what is held back, and
// whole speeches of the starter voice with a sampler that is made to fail.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Guard, seedOfRepair } from "../../src/engine/guard.ts";
import { wordsIn } from "../../src/engine/words.ts";
import { type AudioChunk, type Engine, open, type SpeakOptions } from "../../src/engine.ts";
import { bundleOf } from "../_support.ts";

const TEXT = "one two three";
const WORDS = wordsIn(TEXT);

/** Frames of one value, whose codes count on from `first`. */
function chunkOf(first: number, frames: number, textAt: number, value = 0.5): AudioChunk {
  return {
    samples: new Float32Array(1920 * frames).fill(value),
    codes: Int32Array.from({ length: 16 * frames }, (_, i) => first + Math.floor(i / 16)),
    textAt: new Int32Array(frames).fill(textAt),
    sentence: 0,
    attempt: 0,
  };
}

const framesOf = (chunk: AudioChunk | null) => (chunk === null ? 0 : chunk.textAt.length);

describe("a guard", () => {
  test("passes on what is well, unchanged", () => {
    const guard = new Guard(TEXT, WORDS, 0, 0);
    const chunk = chunkOf(0, 3, 0);
    expect(guard.take(chunk)).toBe(chunk);
    expect([guard.cut, guard.release()]).toEqual([null, null]);
  });

  test("holds silence back while it may be a fault, and gives it out when sound comes again", () => {
    const guard = new Guard(TEXT, WORDS, 0, 0);
    guard.take(chunkOf(0, 3, 0));
    const given = Array.from({ length: 5 }, (_, i) => framesOf(guard.take(chunkOf(10 + 4 * i, 4, 0, 0))));
    expect(given).toEqual([4, 4, 4, 0, 0]);
    const rest = guard.take(chunkOf(50, 4, 4))!;
    expect(framesOf(rest)).toBe(12);
    expect([...rest.codes.subarray(0, 16)]).toEqual(new Array(16).fill(22)); // where it stopped
  });

  test("gives out at the end what it has held back", () => {
    const guard = new Guard(TEXT, WORDS, 0, 0);
    guard.take(chunkOf(0, 3, 0));
    for (let i = 0; i < 4; i++) guard.take(chunkOf(10 + 4 * i, 4, 0, 0));
    expect(framesOf(guard.release())).toBe(4);
  });

  test("cuts where the good part ends, fades out, and says what comes next", () => {
    const guard = new Guard(TEXT, WORDS, 0, 0);
    guard.take(chunkOf(0, 1, 0));
    guard.take(chunkOf(1, 2, 2));
    const out = guard.take({ ...chunkOf(77, 4, 4), codes: new Int32Array(64).fill(77) }) as AudioChunk;
    expect(framesOf(out)).toBe(4);
    for (let i = 0; i < 40; i++) guard.take({ ...chunkOf(77, 1, 4), codes: new Int32Array(16).fill(77) });
    expect(guard.cut).toMatchObject({ fault: { kind: "repeat" }, again: 4 });
    expect(guard.cut!.tooLate).toBeLessThan(9);
    expect(guard.take(chunkOf(0, 4, 0))).toBeNull();
  });

  test("of a repair counts in the whole sentence", () => {
    const guard = new Guard(TEXT, WORDS, 4, 1);
    const chunk = guard.take(chunkOf(0, 3, 0))!;
    expect([[...chunk.textAt], chunk.attempt]).toEqual([[4, 4, 4], 1]);
    for (let i = 0; i < 60; i++) guard.take(chunkOf(100 + i, 1, 0, 0));
    expect(guard.cut).toMatchObject({ fault: { kind: "silence" }, again: 4 });
  });
});

describe("a guard gives out the same however many frames come at once", () => {
  const [SOUND, SILENCE] = [0.5, 0];
  const LONG = "one two three four five six seven";
  const at = (word: string) => LONG.indexOf(word);
  /** [offset in the text, sample] of each frame */
  const said = (word: string, frames: number, value = SOUND) => new Array(frames).fill([at(word), value]);
  test.each([
    ["nothing wrong", [...said("one", 9), ...said("two", 8)]],
    ["a leap", [...said("one", 9), ...said("two", 5), ...said("seven", 8)]],
    ["a pause", [...said("one", 6), ...said("one", 30, SILENCE), ...said("two", 6)]],
    ["silence for ever", [...said("one", 6), ...said("one", 70, SILENCE)]],
  ])("%s", (_what, frames: [number, number][]) => {
    const given = (sizes: readonly number[]) => {
      const guard = new Guard(LONG, wordsIn(LONG), 0, 0);
      const samples: number[] = [];
      const keep = (chunk: AudioChunk | null) => samples.push(...(chunk?.samples ?? []));
      for (let from = 0, i = 0; from < frames.length; i++) {
        const now = frames.slice(from, from + sizes[i % sizes.length]);
        const parts = now.map(([textAt, value], k) => chunkOf(from + k, 1, textAt, value));
        keep(
          guard.take({
            ...parts[0],
            samples: Float32Array.from(parts.flatMap((part) => [...part.samples])),
            codes: Int32Array.from(parts.flatMap((part) => [...part.codes])),
            textAt: Int32Array.from(parts.flatMap((part) => [...part.textAt])),
          }),
        );
        from += now.length;
      }
      if (guard.cut === null) keep(guard.release());
      return {
        hash: new Bun.CryptoHasher("sha256").update(Float32Array.from(samples)).digest("hex"),
        cut: guard.cut,
      };
    };
    const one = given([1]);
    for (const sizes of [[2], [3, 1], [5], [100]]) expect(given(sizes)).toEqual(one);
  });
});

test("every repair has a draw of its own, which the seed decides", () => {
  const seeds = [0, 1, 2].map((k) => seedOfRepair(7, k));
  expect(new Set(seeds).size).toBe(3);
  expect(seeds[0]).toBe(7);
  for (const k of [1, 2]) expect(seedOfRepair(Number.MAX_SAFE_INTEGER, k)).toBeWithin(0, 2 ** 53);
});

describe("the starter voice", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await open({ model: bundleOf("starter").directory });
  });
  afterAll(() => engine.close());

  async function say(text: string, options: SpeakOptions) {
    const speech = engine.speak(text, options);
    const chunks = await Array.fromAsync(speech);
    const codes = chunks.flatMap((chunk) => [...chunk.codes]);
    return { chunks, codes, summary: speech.summary() };
  }
  const LONG =
    "Dinner is ready in the kitchen. Please close the windows, and turn off the lights before you leave.";
  /** Draws among all codes alike: most sentences go wrong. */
  const wild = (temperature: number, seed: number) => ({
    seed,
    sampling: { talker: { temperature, topK: 0 } },
  });

  test("with nothing to repair not one code changes", async () => {
    for (const seed of [1, 2, 3]) {
      const [watched, unwatched] = [await say(LONG, { seed }), await say(LONG, { seed, watch: false })];
      expect(watched.summary.repairs).toEqual([]);
      expect(watched.codes).toEqual(unwatched.codes);
    }
  });

  test("a sentence that goes wrong is said again, twice at most, and a seed repeats its repairs", async () => {
    const runs = [];
    for (let seed = 1; seed <= 6; seed++) runs.push(await say(LONG, wild(4, seed)));
    const draws = runs.flatMap(({ summary }) => summary.repairs.map(({ draw }) => draw));
    expect(Math.max(...draws)).toBeWithin(1, 3);
    for (const { chunks, summary } of runs) {
      expect(summary.repairs.length).toBeLessThanOrEqual(3 * 3);
      const attempts = new Set(chunks.map(({ attempt }) => attempt));
      for (const attempt of attempts) expect(attempt).toBeLessThanOrEqual(2);
    }
    const seed = 1 + runs.findIndex(({ summary }) => summary.repairs.some(({ draw }) => draw > 0));
    const again = await say(LONG, wild(4, seed));
    expect(again.codes).toEqual(runs[seed - 1].codes);
    expect(again.summary.repairs).toEqual(runs[seed - 1].summary.repairs);
    expect((await say(LONG, { ...wild(4, seed), watch: false })).summary.repairs).toEqual([]);
  });

  test("a greedy sentence that goes wrong is cut and told, never said again", async () => {
    const text = `${LONG} [pause 10ms] It is late.`;
    const forced = { greedy: true, sampling: { talker: { repetitionPenalty: 0.01 } } };
    const cut = await say(text, forced);
    expect(cut.summary.repairs.length).toBeGreaterThan(0);
    expect(cut.summary.repairs.every(({ draw }) => draw === 0)).toBe(true);
    expect(cut.summary.stop).toBe("length"); // not all of it was said
    expect(new Set(cut.chunks.map(({ attempt }) => attempt))).toEqual(new Set([0]));
    expect(cut.chunks.at(-1)!.sentence).toBe(1); // what comes after it is said
    const first = (chunks: AudioChunk[]) =>
      chunks.filter(({ sentence }) => sentence === 0).flatMap((chunk) => [...chunk.codes]);
    const whole = await say(text, { ...forced, watch: false, maxFrames: 200 });
    const kept = first(cut.chunks);
    expect(kept.length).toBeLessThan(first(whole.chunks).length);
    expect(kept).toEqual(first(whole.chunks).slice(0, kept.length));
    expect((await say(text, forced)).summary.repairs).toEqual(cut.summary.repairs);
  });

  test("sentences that follow a repair are said as without it, and all slots come back", async () => {
    const text = `${LONG} `.repeat(3);
    const first = await say(text, wild(4, 3));
    expect((await say(text, wild(4, 3))).codes).toEqual(first.codes);
    expect((await say("Dinner is ready.", { seed: 1 })).summary).toMatchObject({ stop: "eos", repairs: [] });
  });
});
