// The name a mistyped one was meant to be, and the places a library is looked for in.

import { expect, test } from "bun:test";
import { findLibrary } from "../ffi/load/library.ts";
import { nearest } from "../src/nearest.ts";

test.each([
  ["modle", ["model", "mode"], "model"],
  ["sede", ["speaker", "seed"], "seed"],
  ["quite", ["quiet", "verbose"], "quiet"],
  ["lamguage", ["language"], "language"],
  ["xyz", ["model", "seed"], null],
  ["ab", ["ba"], "ba"],
] as [string, string[], string | null][])("%s among %p is %p", (name, candidates, found) => {
  expect(nearest(name, candidates)).toBe(found);
});

test("a library that is nowhere: the error lists every place tried", () => {
  const place = {
    title: "libx",
    file: "libx.so",
    variable: "TTS_LIBX",
    package: "@nobody/libx",
    folder: "bin",
  };
  let message = "";
  try {
    findLibrary(place, "");
  } catch (error) {
    message = (error as Error).message;
  }
  const roots = message.match(/\/[^ ,]*node_modules\/@nobody\/libx\/bin\/libx\.so/g) ?? [];
  expect(roots.length).toBeGreaterThan(1);
  expect(new Set(roots).size).toBe(roots.length);
});
