// make load: what counts as growth, what the crowd asks for, and what is refused before anything is started.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { FORMAT_NAMES } from "../../src/audio/encode/formats.ts";
import { ROOT } from "../_support.ts";
import { caseOf } from "./load/crowd.ts";
import { growth } from "./load.ts";

const held = (...figures: readonly (readonly [rssMb: number, handles: number])[]) =>
  figures.map(([rssMb, handles], i) => {
    const holds = { rssMb, handles };
    return { done: i, server: holds, engine: { rssMb: 200, handles: 12 } };
  });

test("memory may settle, and files be open while clients are there; what stays or rises is growth", () => {
  expect(growth(held([80, 9], [120, 17], [122, 17], [123, 16], [124, 9]))).toEqual([]);
  expect(growth(held([80, 9], [120, 17], [120, 17], [200, 16], [300, 9]))).toEqual([
    "the server grows from 120 to 300 MB",
  ]);
  expect(growth(held([80, 9], [80, 17], [80, 17], [80, 17]))).toEqual([
    "the server has 17 open files, not 9",
  ]);
});

test("the crowd asks for every format in both ways, and is the same in every run", () => {
  const cases = Array.from({ length: 1_000 }, (_, i) => caseOf(i));
  expect(cases).toEqual(cases.map((_, i) => caseOf(i)));
  const ways = new Set(cases.map(({ format, isSse, manner }) => `${format} ${isSse} ${manner === "usual"}`));
  expect(ways.size).toBe(2 * 2 * FORMAT_NAMES.length);
});

test.each([
  [["--speeches=0"], "SPEECHES is 0: give a whole number from 1 on"],
  [["--rounds=x"], "ROUNDS is x: give a whole number from 1 on"],
  [["--parts=croud"], 'there is no part "croud": PARTS takes crowd, first, ends, lanes'],
  [["--no-such"], "Unknown option '--no-such'"],
])("%p is refused in one line", (args, message) => {
  const command = [process.execPath, join(ROOT, "test/tools/load.ts"), ...args];
  const { exitCode, stderr, stdout } = Bun.spawnSync(command, { stdout: "pipe", stderr: "pipe" });
  expect([exitCode, stdout.toString(), stderr.toString().trim().split("\n")]).toEqual([
    1,
    "",
    [expect.stringContaining(message)],
  ]);
});
