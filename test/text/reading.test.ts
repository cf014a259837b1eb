import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { countPhones, Reader } from "../../src/text/reading.ts";
import { patient } from "../_support.ts";

const ROOT = join(import.meta.dir, "../..");
const LEXICON = readFileSync(join(ROOT, "models/starter/lexicon.tsv"), "utf8");
const LETTERS = readFileSync(join(ROOT, "models/starter/letters.tsv"), "utf8");
const golden: { cases: { text: string; ipa: string; unread: string[] }[] } = JSON.parse(
  readFileSync(join(ROOT, "test/golden/starter/cases.json"), "utf8"),
);
const reader = new Reader(LEXICON, LETTERS);

test.each(golden.cases.map(({ text, ipa, unread }) => ({ text, ipa, unread })))(
  "golden text is read as the reference reads it: $text",
  ({ text, ipa, unread }) => {
    expect(reader.read(text)).toMatchObject({ ipa, unread });
  },
);

// Expected values come from the voice's reading.py.
test.each([
  ["", "", []],
  ["   ", "", []],
  ["...", "", []],
  ["!?hello", "həlˈoʊ.", []],
  ["hello , ; world — yes", "həlˈoʊ, wˈɝld, jˈɛs.", []],
  ["one\ntwo\ttwo-three", "wˈʌn, tˈu tˈu θrˈi.", []],
  ["The “quoted” ‘word’", "ðə kwˈoʊtəd wˈɝd.", []],
  ["’tis", "tˈiz.", []],
  ["USB", "jˈu ˈɛs bˈi.", []],
  ["usb", "jˈuzb.", []],
  ["USBS NASA ABCDEF", "jˈu ˈɛs bˈi ˈɛs ˈɛn eɪ ˈɛs eɪ əbkdf.", []],
  ["A", "ə.", []],
  ["X", "ˈɛks.", []],
  ["Q's", "kjˈuz.", []],
  ["USB's port", "jˈu ˈɛs bˈiz pˈɔrt.", []],
  ["bus's", "bˈʌsɪz.", []],
  ["cat's", "kˈæts.", []],
  ["judge's", "dʒˈʌdʒɪz.", []],
  ["Pi’s", "pˈaɪz.", []],
  ["CAT'S", "kˈæts.", []],
  ["boss's's", "bˈɑsɪzɪz.", []],
  ["gh's", "gz.", []],
  ["rr's", "s.", []],
  ["hi, rr there", "hˈaɪ, ðˈɛr.", ["rr"]],
  ["rock'n'roll", "rˈɑknrˈoʊl.", []],
  ["zorbly", "zɝrbli.", []],
  ["isn't", "ˈɪsnt.", []],
  ["cafe\u0301", "kˈeɪf.", []],
  ["café", "kˈeɪf.", []],
  ["a\r\nb", "ə, bˈi.", ["\r"]],
  ["7 up", "ˈʌp.", ["7"]],
  ["😀 hi 👩\u200d🚀", "hˈaɪ.", ["😀", "👩", "\u200d", "🚀"]],
  ["日本", "", ["日", "本"]],
  ["a\u00a0b", "ə bˈi.", ["\u00a0"]],
  ["don't'", "dˈoʊnt.", []],
  ["İstanbul", "ˈɪstˈænbˈʊl.", []],
  ["ﬁne", "nˈi.", ["ﬁ"]],
  ["…so", "sˈoʊ.", []],
] as [string, string, string[]][])("%j reads as %j with %j unread", (text, ipa, unread) => {
  expect(reader.read(text)).toMatchObject({ ipa, unread });
});

test.each([
  ["", 0],
  ["dˈɪnɝ ˈɪz rˈɛdi.", 10],
  ["tʃ dʒ t ʃ", 4],
  ["aʊ aɪ eɪ oʊ ɔɪ", 5],
  ["ˈ ,.", 0],
])("%j has %d phones", (ipa, phones) => {
  expect(countPhones(ipa)).toBe(phones);
});

const NAMES = Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ", (letter) => `${letter}\tə\n`).join("");

test("tables may have carriage returns, empty lines, empty sounds and repeated keys, of which the last wins", () => {
  const small = new Reader(`\r\n${NAMES}bee\tx\r\nmute\t\r\nbee\tbˈi`, "[c]\tk\n\n");
  expect(small.read("mute Bee, cc")).toMatchObject({ ipa: "bˈi, kk.", unread: ["mute"] });
});

test.each([
  [`${NAMES}bee\tbˈi\nwasp\n`, "", "lexicon.tsv line 28 has no tab"],
  [`\n${NAMES}wasp`, "", "lexicon.tsv line 28 has no tab"],
  [NAMES, "[a]\tə\n\n[b]\tb\tb\n", "letters.tsv line 3 has more than one tab"],
  [NAMES.replace("Q\tə\n", ""), "", "lexicon.tsv has no entry for the name of the letter Q"],
])("a damaged table is refused by its line: case %#", (lexicon, letters, message) => {
  expect(() => new Reader(lexicon, letters)).toThrow(
    expect.objectContaining({ code: "BUNDLE_INVALID", message }),
  );
});

test.each([
  ["sentences", "The kettle is ready, and the zorbly thing works. ".repeat(4_000)],
  ["one unknown word", "q".repeat(200_000)],
  ["one word of possessives", `a${"'s".repeat(100_000)}`],
  ["unreadable characters", "漢".repeat(200_000)],
])(
  "200 kB of %s is read in linear time",
  (_, text) => {
    reader.read(text);
  },
  patient(2_000),
);
