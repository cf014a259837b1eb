// Where the sentences of a text with markup end, for pieces of it that are read one by one: never within a
// mark, nor in an element that is read as a whole. Pure.

import { sentenceEnds } from "../split.ts";
import { HELD } from "./reader.ts";
import { MARK, markupAt } from "./tags.ts";

/** Offsets of the ends of sentences, without the end of the text. Marks behind one go with it. */
export function* markedSentenceEnds(text: string): Iterable<number> {
  const inside: [from: number, to: number][] = [];
  let [plain, done, opened] = ["", 0, -1];
  for (const { index } of text.matchAll(MARK)) {
    const found = index < done ? null : markupAt(text, index, true);
    if (found === null || found === "unfinished") continue;
    plain += text.slice(done, index) + " ".repeat(found.length);
    done = index + found.length;
    const isHeld = "name" in found && HELD.has(found.name);
    if (isHeld && found.kind === "open" && opened < 0) opened = index;
    if (isHeld && found.kind === "close" && opened >= 0) {
      inside.push([opened, done]);
      opened = -1;
    }
  }
  for (const end of sentenceEnds(plain + text.slice(done)))
    if (!inside.some(([from, to]) => end > from && end < to)) yield end;
}
