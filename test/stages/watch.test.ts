// Sentences that go wrong, each in its own way, and sentences that only look like it.

import { describe, expect, test } from "bun:test";
import { type Fault, frameBudget, Watch } from "../../src/stages/watch.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";

const TEXT = "one two three four five six.";
const WORDS = [...TEXT.matchAll(/[a-z]+/g)].map(({ 0: word, index }) => ({
  from: index,
  to: index + word.length,
}));
const END = TEXT.length - 1;

interface Frame {
  /** All 16 codes. */
  code?: number;
  isSilent?: boolean;
  textAt?: number;
}

/** Frame after frame, with codes that differ unless they are given. */
function watched(frames: readonly Frame[], text = TEXT, words = WORDS) {
  const watch = new Watch(text, words);
  const doubts: (number | null)[] = [];
  frames.forEach(({ code, isSilent = false, textAt = -1 }, i) => {
    if (watch.fault === null) {
      watch.take(new Int32Array(CODES_PER_FRAME).fill(code ?? 100 + i), 0, isSilent, textAt);
      doubts.push(watch.doubtful);
    }
  });
  return { fault: watch.fault as Fault | null, doubts, frames: doubts.length };
}

const times = (count: number, frame: Frame = {}) => Array.from({ length: count }, () => frame);
/** The text word by word, `frames` frames each. */
const reading = (from = 0, to = WORDS.length, frames = 4) =>
  WORDS.slice(from, to).flatMap((word) => [
    ...times(frames - 1, { textAt: word.from }),
    { textAt: word.to - 1 },
  ]);

describe("a sentence that is well", () => {
  test.each([
    ["read to its end", [...reading(), ...times(10, { textAt: END })]],
    ["with a long pause", [...reading(0, 3), ...times(20, { isSilent: true, code: 7 }), ...reading(3)]],
    ["with a steady sound", [...reading(0, 3), ...times(15, { code: 7 }), ...reading(3)]],
    ["that looks back a word", [...reading(0, 3), ...reading(1, 2, 2), ...reading(3)]],
    ["whose talker is not watched", times(60)],
  ])("%s", (_what, frames) => {
    expect(watched(frames).fault).toBeNull();
  });
});

describe("is cut when it", () => {
  test("never ends: its text was said", () => {
    const { fault, frames } = watched([...reading(), ...times(200, { textAt: END })]);
    expect(fault).toEqual({ kind: "endless", from: 28, rest: WORDS[5].to });
    expect(frames).toBe(24 + 25);
  });

  test("never ends, and nobody knows what it says: at its budget of frames", () => {
    const { fault } = watched(times(1000));
    expect(fault).toEqual({ kind: "endless", from: frameBudget(TEXT), rest: null });
  });

  test("repeats a code, or a pattern of codes", () => {
    const constant = watched([...reading(0, 2), ...times(100, { code: 5, textAt: WORDS[2].from })]);
    expect(constant.fault).toEqual({ kind: "repeat", from: 9, rest: WORDS[2].from });
    const pattern = [1, 2, 3].map((code) => ({ code }));
    const { fault } = watched([...times(4), ...Array.from({ length: 40 }, () => pattern).flat()]);
    expect(fault).toMatchObject({ kind: "repeat", from: 7 });
  });

  test("falls silent", () => {
    const { doubts, fault } = watched([...reading(0, 3), ...times(100, { isSilent: true, textAt: 13 })]);
    expect(fault).toEqual({ kind: "silence", from: 12 + 4, rest: WORDS[3].from });
    expect(doubts.slice(0, 24).every((doubt) => doubt === null)).toBe(true);
    expect(doubts[30]).toBe(16); // from there on nothing is given out
  });

  test("skips words", () => {
    expect(watched([...reading(0, 2), ...reading(4)]).fault).toMatchObject({
      kind: "skipped",
      rest: WORDS[2].from,
    });
  });

  test("says words twice", () => {
    expect(watched([...reading(0, 4), ...reading(0)]).fault).toMatchObject({
      kind: "twice",
      rest: WORDS[4].from,
    });
  });
});

test("the budget of frames follows the script", () => {
  expect(frameBudget("")).toBe(50);
  expect(frameBudget("abc def")).toBe(50 + 18);
  expect(frameBudget("你好")).toBe(50 + 18);
  expect(frameBudget("かな")).toBe(50 + 12);
  expect(frameBudget("1984")).toBe(50 + 48);
});
