// A command line becomes words without a shell.

import { expect, test } from "bun:test";
import { wordsOf } from "../../../src/audio/play/command-line.ts";

test.each([
  ["aplay -q -", ["aplay", "-q", "-"]],
  ["  aplay\t-q \n", ["aplay", "-q"]],
  ["ssh board 'aplay -r {rate} -'", ["ssh", "board", "aplay -r {rate} -"]],
  [`a"b c"'d e'f\\ g`, ["ab cd ef g"]],
  [`say "a \\"b\\" \\n" '\\'`, ["say", 'a "b" \\n', "\\"]],
  ["a '' \"\"", ["a", "", ""]],
  ["a $HOME `id` *.wav; b | c > d & ~", ["a", "$HOME", "`id`", "*.wav;", "b", "|", "c", ">", "d", "&", "~"]],
  ["плеер 'ü'", ["плеер", "ü"]],
  ["", []],
  ["   ", []],
])("%j", (line, words) => {
  expect(wordsOf(line)).toEqual(words);
});

test.each(["a 'b", 'a "b', 'a "b\\"', "a\\", "'"])("%j has no end", (line) => {
  expect(() => wordsOf(line)).toThrow(`the player is "${line}": a quote or backslash has no end`);
});
