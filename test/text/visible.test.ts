// What of a text can be seen: entities once, nothing invisible; whole and in pieces alike.

import { expect, test } from "bun:test";
import { TextStream } from "../../src/text/stream.ts";
import { visibleText } from "../../src/text/visible.ts";

const CASES: [string, string][] = [
  ["din\u00adner is rea\u200bdy", "dinner is ready"],
  ["\ufeffHel\ufefflo\u2060 wo\u200crld\u200d, D\u00adr. Who", "Hello world, Dr. Who"],
  ["\u202bright\u202c \u2066left\u2069\u200e", "right left"],
  ["👩\u200d🚀 and ❤️\u200d🔥 and 👩🏽\u200d🚀", "👩\u200d🚀 and ❤️\u200d🔥 and 👩🏽\u200d🚀"],
  ["Tom &amp; Jerry &lt;3 &quot;x&quot; &#39;y&#39; &apos;", "Tom & Jerry <3 \"x\" 'y' '"],
  ["caf&eacute; &ntilde; &Uuml;ber &szlig; 5&nbsp;&euro; &hellip; &mdash;", "café ñ Über ß 5\u00a0€ … —"],
  ["&#233; &#xE9; &#x1F600; &#150; &#128;", "é é 😀 – €"],
  ["din&shy;ner rea&#8203;dy &zwnj;now", "dinner ready now"],
  ["&amp;lt; stays once decoded", "&lt; stays once decoded"],
  [
    "AT&T, R&D; &nosuch; &copy 2024 &#0; &#xD800; &#1114112; &;",
    "AT&T, R&D; &nosuch; &copy 2024 &#0; &#xD800; &#1114112; &;",
  ],
];

test.each(CASES)("%j is seen as %j", (text, seen) => {
  expect(visibleText(text)).toBe(seen);
});

test.each(CASES)("%j in pieces of any size is the same", (text, seen) => {
  for (const size of [1, 2, 3, 5]) {
    const stream = new TextStream(1_200);
    let all = "";
    for (let at = 0; at < text.length; at += size) all += stream.push(text.slice(at, at + size));
    expect(all + stream.flush()).toBe(seen);
  }
});

test("raw text in pieces stays as it is", () => {
  const stream = new TextStream(1_200, true);
  const text = "din\u00adner &amp; so. Next one";
  expect(stream.push(text.slice(0, 12)) + stream.push(text.slice(12)) + stream.flush()).toBe(text);
});
