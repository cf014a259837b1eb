// Which token each frame says: a path through the tokens that goes on steadily, and leaps only for good
// reasons.

import { expect, test } from "bun:test";
import { Alignment } from "../../src/stages/alignment.ts";

/** Scores of a head that looks at one token with nearly all of its weight. */
const looksAt =
  (token: number, weight = 8) =>
  (count: number, target: Float32Array) => {
    for (let i = 0; i < count; i++) target[i] = i === token ? weight : 0;
  };

function path(looks: readonly number[], tokens = 30): number[] {
  const alignment = new Alignment(tokens);
  return looks.map((token) => alignment.take(tokens, looksAt(token)));
}

test("follows the head from token to token", () => {
  const looks = [0, 0, 1, 3, 3, 4, 6, 7, 7];
  expect(path(looks)).toEqual(looks);
});

test("a single glance elsewhere does not move it", () => {
  expect(path([0, 1, 2, 20, 3, 4, 0, 5])).toEqual([0, 1, 2, 2, 3, 4, 4, 5]);
});

test("goes along when the head has left: text skipped, and text said again", () => {
  expect(path([0, 1, 2, 20, 21, 22, 23, 24]).slice(-3)).toEqual([22, 23, 24]);
  expect(path([0, 2, 4, 6, 8, 10, 0, 1, 2, 3, 4]).slice(-3)).toEqual([2, 3, 4]);
});

test("takes tokens in as the talker gets them, and begins again with the next sentence", () => {
  const alignment = new Alignment(10);
  expect(alignment.take(0, looksAt(0))).toBe(-1);
  expect([1, 2, 3].map((count) => alignment.take(count, looksAt(count - 1)))).toEqual([0, 1, 2]);
  alignment.reset();
  expect(alignment.take(3, looksAt(0))).toBe(0);
});

test("tokens beyond its room are never said", () => {
  const alignment = new Alignment(2);
  expect(alignment.take(5, looksAt(1))).toBe(1);
});
