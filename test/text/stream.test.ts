// Text in pieces: parts come when they are complete, nothing is lost, and no piece boundary matters.

import { describe, expect, test } from "bun:test";
import { sentenceEnds } from "../../src/text/split.ts";
import { TextStream } from "../../src/text/stream.ts";
import { visibleText } from "../../src/text/visible.ts";

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

  test.each([
    "Wir kommen am 3. Oktober. Montag, 3. März war es. Also z. B. Äpfel. Am 3. 10. 2024 kam Dr. Maier. Ende",
    "He is 5. 10 people came at 7 p.m. Monday. I am 3. You are 4. J. K. Rowling, p. 5 Anna. End",
    "D\u00adr.&nbsp;Smith came.&nbsp;He left. 2024. 10. 3. 개천절입니다. В 2020 г. Москва. Да",
  ])("is cut where the whole is, in pieces of any size: %s", (text) => {
    const whole = visibleText(text);
    const ends = [...sentenceEnds(whole), whole.length];
    const sentences = ends.map((end, i) => whole.slice(ends[i - 1] ?? 0, end));
    for (const size of [1, 2, 3, 5, 8]) expect([size, ...partsOf(text, size)]).toEqual([size, ...sentences]);
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
