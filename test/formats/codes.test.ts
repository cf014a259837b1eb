// Codes from outside: an error names a wrong code's place, its value and the limit.

import { expect, test } from "bun:test";
import { assertCodes, isFrame } from "../../src/formats/codes.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import { failureOf } from "../_support.ts";

const SIZE = 64;
const frame = (code: unknown) => [...Array(CODES_PER_FRAME - 1).fill(0), code];

test.each([
  ["the largest code", frame(SIZE - 1), true],
  ["a code beyond it", frame(SIZE), false],
  ["a negative code", frame(-1), false],
  ["half a code", frame(0.5), false],
  ["a code in words", frame("1"), false],
  ["15 codes", frame(0).slice(1), false],
  ["no list", "0".repeat(CODES_PER_FRAME), false],
])("a frame with %s", (_title, value, isOne) => {
  expect(isFrame(value, SIZE)).toBe(isOne);
});

test.each([
  [Int32Array.of(...frame(0), 0, -1), 0, "frame 1, code 1 is -1"],
  [Int32Array.of(SIZE), 0, "frame 0, code 0 is 64"],
  [BigInt64Array.of(0n, 2n ** 32n), 2 * CODES_PER_FRAME + 3, "frame 2, code 4 is 4294967296"],
])("wrong codes are named: %p", (codes, first, where) => {
  const { code, hint, message } = failureOf(() => assertCodes(codes, SIZE, { first, hint: "try another" }));
  expect({ code, hint, message }).toEqual({
    code: "CODES_INVALID",
    hint: "try another",
    message: `${where}, this model's codes are 0 to 63`,
  });
});
