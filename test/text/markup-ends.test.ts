// Where texts with markup may be cut in sentences.

import { expect, test } from "bun:test";
import { markedSentenceEnds } from "../../src/text/markup/ends.ts";

test.each([
  ["Good morning. It is seven.", ["Good morning. ", "It is seven."]],
  ["Good morning. [pause 1500ms] It is seven.", ["Good morning. [pause 1500ms] ", "It is seven."]],
  [
    '<speak>Good morning. <break time="1s"/> It is seven. </speak>',
    ['<speak>Good morning. <break time="1s"/> ', "It is seven. </speak>"],
  ],
  [
    '<sub alias="Oh. No">One. Two.</sub> Three. Four.',
    ['<sub alias="Oh. No">One. Two.</sub> ', "Three. ", "Four."],
  ],
  ["<p>One. Two.</p><p>Three.</p>", ["<p>One. ", "Two.</p><p>", "Three.</p>"]],
  ["5 < 6. Good [sic]. <sub>Open. End", ["5 < 6. ", "Good [sic]. <sub>", "Open. ", "End"]],
  ["One.", ["One."]],
])("%j", (text, pieces) => {
  const ends = [0, ...markedSentenceEnds(text), text.length];
  expect(ends.slice(1).map((end, i) => text.slice(ends[i], end))).toEqual(pieces);
});
