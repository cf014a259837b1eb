// What clients sent, in words for them and for the log.

import { expect, test } from "bun:test";
import { oneLine, shown } from "../../src/serve/one-line.ts";

test("a message is one line of a bounded length, without control characters", () => {
  expect(oneLine("one\r\n  two\tthree \u001b[31mred")).toBe("one two\ufffdthree \ufffd[31mred");
  expect(oneLine("a".repeat(1_000))).toBe(`${"a".repeat(400)}…`);
  expect(oneLine(`${"a".repeat(399)}😀`)).toBe(`${"a".repeat(399)}\ufffd…`);
});

test("a value is shown in a few words, and a list or an object by its kind alone", () => {
  expect([5, true, null, "no\n", [[[]]], { deep: {} }].map(shown)).toEqual([
    ...["5", "true", "null", '"no\\n"'],
    ...["an array", "an object"],
  ]);
  expect(shown("a".repeat(1_000_000)).length).toBeLessThan(70);
});
