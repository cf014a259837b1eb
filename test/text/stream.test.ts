// Text in pieces: parts come when they are complete, nothing is lost, and no piece boundary matters.

import { describe, expect, test } from "bun:test";
import { TextStream } from "../../src/text/stream.ts";

/** The parts of a text that is pushed in pieces of `size` characters. */
function partsOf(text: string, size: number, most = 1_200): string[] {
  const stream = new TextStream(most);
  const parts: string[] = [];
  for (let at = 0; at < text.length; at += size) parts.push(stream.push(text.slice(at, at + size)));
  return [...parts, stream.flush()].filter((part) => part !== "");
}

const TEXT =
  'Dr. Smith came at 7.30 p.m. He said: "Hello." Then he left.\n\nThe price is 3.50, or No. 5 (see below). Was it? Yes! Ok';

describe("a text in pieces", () => {
  test.each([1, 2, 3, 7, 1_000])("of %d characters loses nothing and is cut at sentence ends", (size) => {
    const parts = partsOf(TEXT, size);
    expect(parts.join("")).toBe(TEXT);
    expect(parts.every((part, i) => i === parts.length - 1 || /[.!?"'):]\s+$|\n\s*$/.test(part))).toBe(true);
  });

  test("gives the same sentences for single characters as for any other pieces", () => {
    const sentences = partsOf(TEXT, 1);
    expect(sentences.length).toBeGreaterThan(4);
    expect(partsOf(TEXT, 2)).toEqual(sentences);
  });

  test("holds a sentence back until something is said after it", () => {
    const stream = new TextStream(1_200);
    expect(stream.push("It is 7.")).toBe("");
    expect(stream.push("30 now. ")).toBe("");
    expect(stream.push('"')).toBe("");
    expect(stream.push("Good")).toBe("It is 7.30 now. ");
    expect(stream.flush()).toBe('"Good');
    expect(stream.flush()).toBe("");
  });

  test("gives out words where no sentence ends", () => {
    const parts = partsOf("word ".repeat(100), 5, 60);
    expect(parts.join("")).toBe("word ".repeat(100));
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(65);
    expect(partsOf("x".repeat(200), 10, 60)).toEqual(["x".repeat(200)]); // a single word is not torn
  });
});
