// make compare: how figures are named and set side by side, and what is refused before anything is measured.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ROOT } from "../_support.ts";
import { figuresOf, tableOf } from "./compare.ts";

const cells = (line: string) => line.trim().split(/\s+/);

describe("figures", () => {
  test("are all numbers of a run by their paths, except its settings", () => {
    const run = {
      model: "m",
      lanes: 4,
      frames: 9,
      rtf: 0.5,
      bytes: { talker: 7, vocoder: null },
      threadTimes: [{ name: "main", cpuMs: 3 }],
    };
    expect(figuresOf(run)).toEqual({ rtf: 0.5, "bytes.talker": 7, "threadTimes.main.cpuMs": 3 });
  });

  test("are set side by side pair by pair: the median of the ratios is not the ratio of the medians", () => {
    const pairs = [
      { before: { rtf: 1 }, now: { rtf: 2 } },
      { before: { rtf: 2 }, now: { rtf: 3 } },
      { before: { rtf: 10 }, now: { rtf: 1 } },
    ];
    const [, title, , line] = tableOf({ title: "tts bench", pairs });
    expect([title, cells(line)]).toEqual(["tts bench", ["rtf", "2", "2", "1.500", "0.100", "2.000"]]);
  });

  test("that only one side has, or that are zero on both, have no ratio", () => {
    const lines = tableOf({
      title: "",
      pairs: [{ before: { gone: 1, zero: 0 }, now: { added: 2, zero: 0 } }],
    }).slice(3);
    expect(lines.map(cells)).toEqual([
      ["added", "-", "2", "-"],
      ["zero", "0", "0", "-"],
      ["gone", "1", "-", "-"],
    ]);
  });
});

test.each([
  [[], "name one commit: make compare AGAINST=HEAD~1"],
  [["HEAD", "HEAD~1"], "name one commit: make compare AGAINST=HEAD~1"],
  [["--no-such", "HEAD"], "Unknown option '--no-such'"],
  [["HEAD", "--rounds=0"], "ROUNDS is 0: give a whole number from 1 on"],
  [["HEAD", "--models=0.7b"], 'there is no model "0.7b": MODELS takes starter, 0.6b, 1.7b'],
  [["no-such-commit"], "there is no commit no-such-commit"],
])("%p is refused in one line", (args, message) => {
  const command = [process.execPath, join(ROOT, "test/tools/compare.ts"), ...args];
  const { exitCode, stderr, stdout } = Bun.spawnSync(command, { stdout: "pipe", stderr: "pipe" });
  expect([exitCode, stdout.toString(), stderr.toString().trim().split("\n")]).toEqual([
    1,
    "",
    [expect.stringContaining(message)],
  ]);
});
