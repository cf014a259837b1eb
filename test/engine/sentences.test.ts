// Some sentences of a text: ranges one after the other give the whole to the bit, whatever stands between
// them, and a long text is read once for all of them.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Engine, open, type SpeakOptions } from "../../src/engine.ts";
import { bundleOf, failureOf, rejectionOf } from "../_support.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await open({ model: bundleOf("starter").directory });
});
afterAll(() => engine.close());

const TEXT = "[pause 30ms]One.[pause 40ms]Two. Three.\n\n[pause 20ms]Four.[pause 70ms]";
const COUNT = 4;

async function spoken(text: string | string[], options: SpeakOptions = {}) {
  const speech = engine.speak(text, { seed: 5, maxFrames: 5, pauses: { sentenceMs: 10 }, ...options });
  const [samples, codes, order]: number[][] = [[], [], []];
  for await (const chunk of speech) {
    samples.push(...chunk.samples);
    codes.push(...chunk.codes);
    order.push(chunk.sentence);
  }
  return { samples, codes, order: [...new Set(order)], sentences: speech.sentences };
}

describe("ranges of sentences", () => {
  test.each([
    ["at once", TEXT],
    ["in pieces", [TEXT.slice(0, 20), TEXT.slice(20)]],
  ])("give the whole, cut anywhere, of a text %s", async (_how, text) => {
    const whole = await spoken(text);
    expect(whole.order).toEqual([0, 1, 2, 3]);
    for (let cut = 1; cut < COUNT; cut++) {
      const [first, second] = [
        await spoken(text, { sentences: { from: 0, to: cut } }),
        await spoken(text, { sentences: { from: cut, to: COUNT + cut } }),
      ];
      expect([...first.samples, ...second.samples]).toEqual(whole.samples);
      expect([...first.codes, ...second.codes]).toEqual(whole.codes);
      expect([...first.order, ...second.order]).toEqual(whole.order);
    }
    expect((await spoken(text, { sentences: { from: 1, to: 2 } })).order).toEqual([1]);
  });

  test("trim the beginning of the text alone", async () => {
    const options = { trimStart: true };
    const whole = await spoken(TEXT, options);
    const parts = await Promise.all(
      [0, 1, 2, 3].map((from) => spoken(TEXT, { ...options, sentences: { from, to: from + 1 } })),
    );
    expect(parts.flatMap(({ samples }) => samples)).toEqual(whole.samples);
  });

  test("of a long text read it once", async () => {
    const text = "The door is open. ".repeat(2_000);
    const count = async (from: number) => {
      const { order, sentences } = await spoken(text, { maxFrames: 1, sentences: { from, to: from + 1 } });
      expect(order).toEqual([from]);
      return sentences;
    };
    const first = await count(900);
    expect(first.length).toBeGreaterThan(900);
    for (const from of [901, 3, 1_200]) expect(await count(from)).toBe(first);
  });

  test("that have no sentence are refused", async () => {
    expect(failureOf(() => engine.speak(TEXT, { sentences: { from: 2, to: 2 } })).code).toBe("USAGE");
    expect(failureOf(() => engine.speak(TEXT, { sentences: { from: -1, to: 2 } })).code).toBe("USAGE");
    const { message } = await rejectionOf(spoken(TEXT, { sentences: { from: COUNT, to: COUNT + 1 } }));
    expect(message).toBe("sentences are to be spoken from number 4 on, and the text has 4");
  });
});
