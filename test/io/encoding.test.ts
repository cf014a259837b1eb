// Texts from files: what is not UTF-8 is refused with the byte where it stops, what it probably is, and what
// to do.

import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TtsError } from "../../src/errors.ts";
import { readTextFile } from "../../src/io/read.ts";
import { rejectionOf, scratchFolder } from "../_support.ts";

function file(bytes: Uint8Array): string {
  const path = join(scratchFolder(), "text.txt");
  writeFileSync(path, bytes);
  return path;
}
const latin1 = (text: string) => Buffer.from(text, "latin1");
const read = (bytes: Uint8Array) => readTextFile(file(bytes), 1_000);

test.each([
  ["nothing", ""],
  ["plain English", "Dinner is ready."],
  ["two, three and four bytes to a character", "né — 😀 漢字\u0800\uffff\u{10ffff}"],
  ["a zero among words", "Dinner\0 is ready."],
])("UTF-8 comes as it is: %s", async (_, text) => {
  expect(await read(Buffer.from(text))).toBe(text);
  expect(await read(Buffer.from(`\ufeff${text}`))).toBe(text);
});

const DAMAGED = /is damaged there\); mend it, .* iconv -c -f UTF-8 -t UTF-8$/;
const CUT = /ends inside a character\); get the whole of it/;
const LATIN_1 = /may be Latin-1\); convert it first: iconv -f WINDOWS-1252 -t UTF-8$/;
const utf16 = (text: string) => Buffer.from(text, "utf16le");

test.each<[what: string, bytes: Uint8Array, byte: number, offset: number, says: RegExp]>([
  ["a lone continuation byte", latin1("a\x80b"), 0x80, 1, LATIN_1],
  ["a quotation mark of Windows", latin1("It\x92s ready."), 0x92, 2, LATIN_1],
  ["Latin-1", latin1("Das Café öffnet."), 0xe9, 7, LATIN_1],
  ["Latin-1 at the end", latin1("Grüße und Käse, très passé"), 0xfc, 2, LATIN_1],
  [
    "a letter of Latin-1 at the very end",
    latin1("un café"),
    0xe9,
    6,
    /if it is Latin-1, convert .* WINDOWS-1252/,
  ],
  ["an overlong slash", latin1("a\xc0\xafb"), 0xc0, 1, DAMAGED],
  ["an overlong letter of three bytes", latin1("ab\xe0\x80\xafb"), 0xe0, 2, DAMAGED],
  ["half of a surrogate pair", latin1("ab\xed\xa0\x80x"), 0xed, 2, DAMAGED],
  ["a character beyond Unicode", latin1("\xf4\x90\x80\x80"), 0xf4, 0, DAMAGED],
  ["a character cut in the middle of a text", latin1("ab\xe2\x82x"), 0xe2, 2, DAMAGED],
  [
    "a bad byte in a text of UTF-8",
    Buffer.concat([Buffer.from("Käse "), latin1("\xff z")]),
    0xff,
    6,
    DAMAGED,
  ],
  ["two bytes cut at the end", latin1("caf\xc3"), 0xc3, 3, CUT],
  ["three bytes cut at the end", latin1("ab\xe2\x82"), 0xe2, 2, CUT],
  ["four bytes cut at the end", latin1("ab\xf0\x9f\x98"), 0xf0, 2, CUT],
  ["UTF-16 with its mark", utf16("\ufeffHi é"), 0xff, 0, /is UTF-16\); .* -f UTF-16 /],
  ["UTF-16, the other order", utf16("\ufeffHi é").swap16(), 0xfe, 0, /is UTF-16\); .* -f UTF-16 /],
  ["UTF-16 of English without a mark", utf16("Hi you"), 0, 1, /like UTF-16LE\); .* -f UTF-16LE /],
  ["the same, the other order", utf16("Hi you").swap16(), 0, 0, /like UTF-16BE\); .* -f UTF-16BE /],
  ["UTF-32", Buffer.from("fffe00004800000069000000", "hex"), 0xff, 0, /is UTF-32\); .* -f UTF-32 /],
  ["a picture", latin1("\x89PNG\r\n\x1a\n\0IHDR and more"), 0x89, 0, /is no text\); give a text file$/],
])("what is not UTF-8 is refused: %s", async (_, bytes, byte, offset, says) => {
  const error = await rejectionOf(read(bytes));
  expect(error.code).toBe("TEXT_ENCODING");
  const hex = byte.toString(16).padStart(2, "0");
  expect(error.message).toStartWith(`${file(bytes)} is not UTF-8: byte 0x${hex} at offset ${offset} (`);
  expect(error.inOneLine).toMatch(says);
});

test("a folder, a missing file and a name that is too long are refused in words", async () => {
  const folder = join(scratchFolder(), "folder");
  mkdirSync(folder, { recursive: true });
  const line = (path: string) =>
    rejectionOf(readTextFile(path, 10)).then((error: TtsError) => error.inOneLine);
  expect(await line(folder)).toBe(`cannot read ${folder}: it is a folder; name a file in it`);
  const missing = join(folder, "missing");
  expect(await line(missing)).toBe(
    `cannot read ${missing}: there is no such file; check its name and its folder`,
  );
  expect(await line(`${folder}/${"n".repeat(300)}`)).toContain(": its name is too long; at most 255 bytes");
});
