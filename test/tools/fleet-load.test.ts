// make fleet-load: what is refused before anything is started, and what its figures say.

import { expect, test } from "bun:test";
import { inWords, readOptions } from "./fleet-load.ts";

test("the usual fleet has a thousand boards in a hundred rooms", () => {
  const usual = { boards: 1_000, rooms: 100, rounds: 10, parts: ["boards", "crowd", "pair"] };
  expect(readOptions(["--boards=", "--rooms=", "--rounds=", "--parts="])).toEqual(usual as never);
});

test.each([
  [["--boards=0"], "BOARDS is 0: give a whole number from 1 on"],
  [["--boards=5", "--rooms=6"], "ROOMS is 6: there are only 5 boards"],
  [["--rounds=x"], "ROUNDS is x: give a whole number from 1 on"],
  [["--parts=pears"], 'there is no part "pears": PARTS takes boards, crowd, pair'],
  [["--no-such"], "Unknown option '--no-such'"],
])("%p is refused in one line", (args, message) => {
  expect(() => readOptions(args)).toThrow(message);
});

test("figures are a median and the largest", () => {
  expect(inWords([30, 10, 250])).toBe("median 30.0 ms, at most 250 ms");
});
