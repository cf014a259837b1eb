// The text tokenizer on small vocabularies, whose merges show where a text is cut. That ids equal those of
// the official tokenizer is checked in test/golden.test.ts.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { byteAlphabet, readVocabulary } from "../../src/formats/checkpoint-tokenizer.ts";
import { Merges } from "../../src/formats/tokenizer.ts";
import { openTokenizer, Tokenizer } from "../../src/text/tokenizer.ts";
import { bundleOf, copyOfCheckpoint } from "../_support.ts";

const ALPHABET = byteAlphabet();
const inAlphabet = (text: string) => Array.from(Buffer.from(text), (byte) => ALPHABET[byte]);

interface Small {
  /** Lines of merges.txt. */
  merges?: readonly string[];
  /** Texts of added tokens. */
  control?: readonly string[];
  /** A byte that the vocabulary lacks. */
  without?: string;
}

let folders = 0;
/** What a text becomes: pieces in the alphabet of vocab.json, and control tokens. */
function cutter({ control = [], merges = [], without }: Small): (text: string) => string[] {
  const folder = copyOfCheckpoint("tiny-custom", `vocabulary-${folders++}`);
  const results = merges.map((line) => line.replace(" ", ""));
  const pieces = [...new Set([...ALPHABET, ...results])].filter((piece) => piece !== without);
  const added = control.map((content, i) => [900 + i, { content }]);
  for (const [file, text] of [
    ["vocab.json", JSON.stringify(Object.fromEntries(pieces.map((piece, id) => [piece, id])))],
    ["merges.txt", merges.join("\n")],
    ["tokenizer_config.json", JSON.stringify({ added_tokens_decoder: Object.fromEntries(added) })],
  ])
    writeFileSync(join(folder, file), text);
  const checkpoint = openCheckpoint(folder);
  const vocabulary = readVocabulary(checkpoint);
  const tokenizer = new Tokenizer(
    new Merges(vocabulary.merges, checkpoint.textVocabulary),
    vocabulary.controlTokens,
  );
  checkpoint.close();
  const named = new Map(Object.entries(vocabulary.controlTokens).map(([text, id]) => [id, text]));
  return (text) => Array.from(tokenizer.encode(text), (id) => named.get(id) ?? pieces[id]);
}

describe("a text is cut as the official pattern cuts it", () => {
  test.each<[what: string, left: string, right: string, together: boolean]>([
    ["a contraction ends", "it's", "a", false],
    ["so it does in capitals", "IT'LL", "A", false],
    ["and in mixed case", "we'vE", "n", false],
    ["a long s is an s", "it'ſ", "a", false],
    ["another letter after an apostrophe goes on", "o'n", "a", true],
    ["digits stand alone", "1", "2", false],
    ["no letter follows a digit", "1", "a", false],
    ["one sign leads a word", "(", "a", true],
    ["signs keep together", ".", "!", true],
    ["signs take the end of the line", "!", "\n", true],
    ["a space leads a word", " ", "a", true],
    ["a space leads signs", " ", "!", true],
    ["the last space of several leaves them", " ", " a", false],
    ["spaces before the end of a line belong to it", " ", "\n", true],
    ["U+0085 is white space", "\u0085", "!", false],
    ["U+FEFF is none", "\ufeff", "!", true],
    ["U+3000 is white space", "\u3000", "\n", true],
    ["letters beyond U+FFFF keep together", "𠀀", "𠀀", true],
    ["a mark ends a word", "ก", "ั", false],
  ])("%s", (_what, left, right, together) => {
    const [last, first] = [inAlphabet(left).at(-1)!, inAlphabet(right)[0]];
    const pieces = cutter({ merges: [`${last} ${first}`] })(left + right);
    expect(pieces.includes(last + first)).toBe(together);
  });
});

describe("control tokens", () => {
  test("are read inside words; the first one wins, of two at one place the longer", () => {
    const cut = cutter({ control: ["<|", "<|im", "im|>", "a.*"], merges: ["i m"] });
    expect(cut("x<|im|>y<|iim|>")).toEqual(["x", "<|im", "|", ">", "y", "<|", "i", "im|>"]);
    expect(cut("aa.*xa.x<")).toEqual(["a", "a.*", "x", "a", ".", "x", "<"]);
  });

  test("without a text are left out", () => {
    expect(cutter({ control: [""] })("ab")).toEqual(["a", "b"]);
  });
});

/** What BPE is, word for word: the pair of the lowest rank first, of equal ranks the first one. */
function joinPlainly(word: string, merges: readonly string[]): string[] {
  const pieces = [...word];
  for (;;) {
    const ranks = pieces.slice(1).map((piece, i) => merges.lastIndexOf(`${pieces[i]} ${piece}`));
    const best = Math.min(...ranks.filter((rank) => rank >= 0));
    if (best === Number.POSITIVE_INFINITY) return pieces;
    const at = ranks.indexOf(best);
    pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
  }
}

describe("pieces join", () => {
  test("by rank, then from the left, as in a plain loop", () => {
    let state = 1;
    const below = (count: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % count;
    };
    for (let round = 0; round < 5; round++) {
      const pieces = ["a", "b", "c"];
      const merges: string[] = [];
      while (merges.length < 80) {
        const [left, right] = [pieces[below(pieces.length)], pieces[below(pieces.length)]];
        merges.push(`${left} ${right}`); // some come twice: the last place counts
        pieces.push(left + right);
      }
      const cut = cutter({ merges });
      for (let i = 0; i < 100; i++) {
        const word = Array.from({ length: 1 + below(40) }, () => "abc"[below(3)]).join("");
        expect(cut(word)).toEqual(joinPlainly(word, merges));
      }
    }
  });

  test("across a byte that the vocabulary lacks, which is left out", () => {
    expect(cutter({ merges: ["a b"], without: "x" })("axb ax")).toEqual(["ab", "Ġ", "a"]);
  });

  test("of 200 kB of one word in well under a second", () => {
    const cut = cutter({ merges: ["a a", "aa aa", "aaaa aaaa", "b a"] });
    const startMs = performance.now();
    expect(cut("a".repeat(200_000)).length).toBe(25_000);
    expect(cut("ab".repeat(100_000)).length).toBe(100_001);
    expect(cut(" ".repeat(200_000)).length).toBe(200_000);
    expect(performance.now() - startMs).toBeLessThan(1_500);
  });
});

test("a closed tokenizer says so", () => {
  const tokenizer = openTokenizer(bundleOf("starter"));
  tokenizer.close();
  expect(() => tokenizer.encode("a")).toThrow("the tokenizer is closed");
});
