// Written English words -> IPA, for voices that read IPA. Digits must be words already
// (normalize/english.ts); what cannot be read is reported, never dropped silently. No I/O: the caller loads
// the two tables.

import { TtsError } from "../errors.ts";
import { SPELT_A } from "./normalize/rule.ts";
import { SOUNDS } from "./sounds.ts";
import type { Steps } from "./steps.ts";

/** What became of a text. */
export interface Reading {
  /** One line in the voice's alphabet, `.` at its end; empty when nothing could be read. */
  ipa: string;
  /** Every character (code point) or word that has no sound, in order, repeats included. */
  unread: string[];
  /** The words that were read, and where `ipa` has them. */
  words: { text: string; from: number; to: number }[];
}

/** A word, a sign that the pronunciation list (lexicon.ts) put in place of one, or any character. */
const TOKEN = new RegExp(
  String.raw`[A-Za-z${SPELT_A}]+(?:'[A-Za-z]+)*|[\u{17000}-\u{187f7}](?:'[Ss])*|.`,
  "gsu",
);
const WORD = new RegExp(`^[A-Za-z${SPELT_A}]`);
/** A text that is read as it stands. */
const PLAIN = new RegExp(`^[\\0-\\x7f${SPELT_A}]*$`);
const PART_UNITS = 2_000;
/** Tokens that are looked at in one step. */
const TOKENS = 1_024;
/** Words with the accents of other languages; their letters are read as the plain English ones. */
const LATIN_WORD = /\p{Script=Latin}[\p{Script=Latin}\p{M}]*/gu;
const NOT_DECOMPOSED: Record<string, string> = {
  œ: "oe",
  Œ: "OE",
  æ: "ae",
  Æ: "AE",
  ß: "ss",
  ẞ: "SS",
  ø: "o",
  Ø: "O",
  ł: "l",
  Ł: "L",
};
const PAUSES = new Set(",;:.!?()–—…\n");
const SEPARATORS = new Set(" \t-\"'‘’“”");
const LONGEST_SOUND = Math.max(...Array.from(SOUNDS.keys(), (word) => word.length));
const ABBREVIATION = /^[A-Z]{2,5}$/;
const LETTER_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** How many letters are seen left and right of the one being read; the first pair that has a rule wins. */
const WINDOWS = [
  [3, 3],
  [2, 3],
  [3, 2],
  [2, 2],
  [1, 2],
  [2, 1],
  [1, 1],
  [0, 2],
  [0, 1],
  [1, 0],
  [0, 0],
] as const;
const WIDEST = 3;

/** The alphabet; two signs that make one sound (diphthongs, affricates) come first so that they win. */
export const PHONES =
  "aʊ aɪ eɪ oʊ ɔɪ tʃ dʒ ɑ æ ʌ ɔ ə b d ð ɛ ɝ f g h ɪ i k l m n ŋ p r s ʃ t θ ʊ u v w j z ʒ";
const PHONE = new RegExp(PHONES.replaceAll(" ", "|"), "g");

/** Number of phones; stress marks, spaces, pauses and signs outside the alphabet do not count. */
export function countPhones(ipa: string): number {
  return ipa.match(PHONE)?.length ?? 0;
}

/** Signs that have no sound in IPA, each once; stress and spaces have their place there. */
export function unknownSigns(ipa: string): string[] {
  return [...new Set(ipa.replace(PHONE, "").replace(/[ˈ ]/g, ""))];
}

/** Sign -> IPA. */
type Sounds = ReadonlyMap<string, string>;
const NO_SOUNDS: Sounds = new Map();

/** What a word sounds like, and the phones in it. */
interface Sounding {
  ipa: string;
  phones: number;
}

/** What was found out about the words of one text: a piece of it is measured several times before it fits. */
export class KnownWords {
  readonly words = new Map<string, Sounding>();
  /** A letter among as many others as its rules see -> its sound. */
  readonly letters = new Map<string, string>();
}

/**
 * Reads with one voice's lexicon and letter rules; reading is pure, so one reader serves any number of texts.
 */
export class Reader {
  readonly #lexicon: Table;
  readonly #letters: Table;

  /**
   * @param lexiconTsv lines of word TAB IPA, words in lower case, and the names of the letters as `A` to `Z`
   * @param lettersTsv lines of left`[`letter`]`right TAB IPA
   * @throws TtsError BUNDLE_INVALID for a line that is not two columns or a letter without a name
   */
  constructor(lexiconTsv: string, lettersTsv: string) {
    this.#lexicon = new Table(lexiconTsv, "lexicon.tsv");
    this.#letters = new Table(lettersTsv, "letters.tsv");
    const nameless = [...LETTER_NAMES].find((letter) => this.#lexicon.get(letter) === undefined);
    if (nameless !== undefined)
      throw invalid(`lexicon.tsv has no entry for the name of the letter ${nameless}`);
  }

  /** Whether the lexicon has a word, in lower case. */
  has(word: string): boolean {
    return this.#lexicon.get(word) !== undefined;
  }

  /**
   * The whole text on one line. Digits are not words: they come back in `unread`.
   * @param sounds of signs that stand for words
   * @param known of the text that this is from; it fits these sounds alone
   */
  read(text: string, sounds = NO_SOUNDS, known = new KnownWords()): Reading {
    const unread: string[] = [];
    const words: Reading["words"] = [];
    let ipa = "";
    let pause = false;
    for (const token of tokens(text)) {
      if (WORD.test(token) || sounds.has(signOf(token))) {
        const { ipa: word } = this.#sounding(token, sounds, known);
        if (word === "") {
          unread.push(token); // its letters are all mute
          continue;
        }
        if (ipa !== "") ipa += pause ? ", " : " ";
        words.push({ text: token, from: ipa.length, to: ipa.length + word.length });
        ipa += word;
        pause = false;
      } else if (PAUSES.has(token)) pause = true;
      else if (!SEPARATORS.has(token)) unread.push(token);
    }
    return { ipa: ipa === "" ? "" : `${ipa}.`, unread, words };
  }

  /** The phones of {@link read}'s IPA, counted until there are more than `most`. */
  countPhones(text: string, most: number, sounds: Sounds, known: KnownWords): number {
    let phones = 0;
    for (const token of tokens(text)) {
      if (WORD.test(token) || sounds.has(signOf(token)))
        phones += this.#sounding(token, sounds, known).phones;
      if (phones > most) break;
    }
    return phones;
  }

  /** What {@link read} leaves out, each once. */
  *unread(text: string, sounds: Sounds, known: KnownWords): Steps<string[]> {
    const unread = new Set<string>();
    let count = 0;
    for (const token of tokens(text)) {
      if (!this.#isRead(token, sounds, known)) unread.add(token);
      if (++count % TOKENS === 0) yield;
    }
    return [...unread];
  }

  #isRead(token: string, sounds: Sounds, known: KnownWords): boolean {
    if (!WORD.test(token) && !sounds.has(signOf(token))) return PAUSES.has(token) || SEPARATORS.has(token);
    return this.#sounding(token, sounds, known).ipa !== "";
  }

  #sounding(token: string, sounds: Sounds, known: KnownWords): Sounding {
    let sounding = known.words.get(token);
    if (sounding === undefined) {
      const ipa = this.#word(token, sounds, known);
      sounding = { ipa, phones: countPhones(ipa) };
      known.words.set(token, sounding);
    }
    return sounding;
  }

  #word(written: string, sounds: Sounds, known: KnownWords): string {
    const lower = written.toLowerCase();
    let end = written.length;
    let possessives = 0;
    let ipa = soundOf(written, sounds) ?? this.#known(written, lower);
    while (ipa === undefined && lower.endsWith("'s", end)) {
      end -= 2;
      possessives++;
      const stem = written.slice(0, end);
      ipa = soundOf(stem, sounds) ?? this.#known(stem, lower.slice(0, end));
    }
    ipa ??= this.#byLetters(lower.slice(0, end).replaceAll("'", ""), known);
    // Any further 's follows an s or z.
    return possessives === 0 ? ipa : ipa + possessive(ipa) + "ɪz".repeat(possessives - 1);
  }

  #known(written: string, lower: string): string | undefined {
    if (lower === SPELT_A) return this.#lexicon.get("A");
    const entry = this.#lexicon.get(lower);
    if (entry !== undefined) return entry;
    if (lower.length > LONGEST_SOUND) return undefined; // as in Table.get
    if (!ABBREVIATION.test(written)) return SOUNDS.get(lower);
    return Array.from(written, (letter) => this.#lexicon.get(letter)).join(" ");
  }

  #byLetters(word: string, { letters }: KnownWords): string {
    const edge = "#".repeat(WIDEST);
    const padded = edge + word + edge;
    let ipa = "";
    for (let at = 0; at < word.length; at++) {
      const seen = padded.slice(at, at + 2 * WIDEST + 1);
      let sound = letters.get(seen);
      if (sound === undefined) {
        sound = this.#letter(seen);
        letters.set(seen, sound);
      }
      ipa += sound;
    }
    return ipa;
  }

  /** @param seen the letter between {@link WIDEST} others on each side */
  #letter(seen: string): string {
    for (const [left, right] of WINDOWS) {
      const [before, behind] = [
        seen.slice(WIDEST - left, WIDEST),
        seen.slice(WIDEST + 1, WIDEST + 1 + right),
      ];
      const sound = this.#letters.get(`${before}[${seen[WIDEST]}]${behind}`);
      if (sound !== undefined) return sound;
    }
    return "";
  }
}

/** A long text is made plain part by part, each up to a space: that belongs to no word beside it. */
function* tokens(text: string): Iterable<string> {
  for (let [from, to] = [0, 0]; from < text.length; from = to) {
    const space = text.indexOf(" ", from + PART_UNITS);
    to = space < 0 ? text.length : space;
    const part = text.slice(from, to);
    const plain = PLAIN.test(part) ? part : foldAccents(part.normalize("NFC")).replaceAll("’", "'");
    for (const [token] of plain.matchAll(TOKEN)) yield token;
  }
}

/**
 * A text as {@link Reader.read} goes through it, in lower case: its words, and commas for the pauses. Letters
 * that are spelt come without their apostrophe in the plural: `p cs`.
 * @param sounds of signs that stand for words; they are shown as `/IPA/`
 */
export function plainWords(text: string, sounds = NO_SOUNDS): string {
  let words = "";
  let pause = false;
  for (const token of tokens(text)) {
    if (PAUSES.has(token)) pause = true;
    else if (/[\p{L}\p{N}]/u.test(token)) {
      words += (words === "" ? "" : pause ? ", " : " ") + shown(token, sounds);
      pause = false;
    }
  }
  return words.replaceAll(SPELT_A, "a").replace(/(?<=\b[a-z] [a-z])'s\b/g, "s");
}

function shown(token: string, sounds: Sounds): string {
  const sound = sounds.get(signOf(token));
  return sound === undefined ? token.toLowerCase() : `/${sound}/${token.slice(signOf(token).length)}`;
}

/** A token's first character, which stands for a word where a pronunciation list put it. */
const signOf = (token: string) => String.fromCodePoint(token.codePointAt(0)!);

/** Signs have one character; a very long word is not hashed for each 's. */
const soundOf = (word: string, sounds: Sounds) => (word.length > 2 ? undefined : sounds.get(word));

/** Café becomes Cafe; a word that would not become plain ASCII stays as it is. */
function foldAccents(text: string): string {
  return text.replace(LATIN_WORD, (word) => {
    const folded = word
      .replace(/[œŒæÆßẞøØłŁ]/g, (letter) => NOT_DECOMPOSED[letter])
      .normalize("NFD")
      .replace(/\p{M}+/gu, "");
    return /^[A-Za-z]+$/.test(folded) ? folded : word;
  });
}

function possessive(stem: string): string {
  if (/[szʃʒ]$/.test(stem)) return "ɪz";
  return stem === "" || /[ptkfθ]$/.test(stem) ? "s" : "z";
}

/**
 * A two-column TSV, looked up by its first column; empty lines are skipped and the last of equal keys wins.
 * Program start waits for this, so it only checks the lines. Entries with the same first character are read
 * when one of them is first asked for.
 */
class Table {
  readonly #lines: string;
  readonly #sections = new Map<string, Map<string, string>>();
  #longestKey = 0;

  constructor(tsv: string, name: string) {
    this.#lines = `\n${tsv.includes("\r") ? tsv.replace(/\r\n?/g, "\n") : tsv}\n`;
    this.#check(name);
  }

  get(key: string): string | undefined {
    if (key.length > this.#longestKey) return undefined; // hashing a very long word once per 's would be quadratic
    const first = key.charAt(0);
    let section = this.#sections.get(first);
    if (section === undefined) {
      section = this.#section(first);
      this.#sections.set(first, section);
    }
    return section.get(key);
  }

  #section(first: string): Map<string, string> {
    const section = new Map<string, string>();
    for (
      let start = this.#lines.indexOf(`\n${first}`);
      start !== -1;
      start = this.#lines.indexOf(`\n${first}`, start + 1)
    ) {
      const tab = this.#lines.indexOf("\t", start);
      section.set(
        this.#lines.slice(start + 1, tab),
        this.#lines.slice(tab + 1, this.#lines.indexOf("\n", tab)),
      );
    }
    return section;
  }

  #check(name: string): void {
    let tab = this.#lines.indexOf("\t");
    for (let start = 1, number = 1; start < this.#lines.length; number++) {
      const end = this.#lines.indexOf("\n", start);
      if (end > start) {
        if (tab === -1 || tab > end) throw invalid(`${name} line ${number} has no tab`);
        this.#longestKey = Math.max(this.#longestKey, tab - start);
        tab = this.#lines.indexOf("\t", tab + 1);
        if (tab !== -1 && tab < end) throw invalid(`${name} line ${number} has more than one tab`);
      }
      start = end + 1;
    }
  }
}

function invalid(message: string): TtsError {
  return new TtsError("BUNDLE_INVALID", message, "get the voice again: its tables belong to it");
}
