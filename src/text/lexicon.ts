// A pronunciation list: written words -> how to say them, put into a text before anything else reads it.
// Pure.

import { TtsError } from "../errors.ts";
import { countPhones, PHONES, unknownSigns } from "./reading.ts";
import { atOnce, type Steps } from "./steps.ts";

/** One entry of a list. */
export interface Pronunciation {
  written: string;
  /** Other words, or IPA between slashes. */
  said: string;
  /** Where it stands, for errors: `names.txt line 3`. */
  place: string;
}

/** A text with its listed words replaced. */
export interface Pronounced {
  text: string;
  /** IPA of the signs that stand for words in it. */
  sounds: ReadonlyMap<string, string>;
}

/**
 * Of a file: lines of word, tab or =>, and respelling or /IPA/; empty lines and those that begin with # are
 * left out, and so is what stands behind a # between spaces.
 * @param name of the file, for errors
 * @throws TtsError USAGE naming file, line and value
 */
export function parseLexicon(text: string, name: string): Pronunciation[] {
  return text.split(/\r\n?|\n/).flatMap((line, i) => {
    if (/^\s*(#|$)/.test(line)) return [];
    const place = `${name} line ${i + 1}`;
    const separator = /\t+|\s*=>/.exec(line);
    if (separator === null) throw invalid(place, `${JSON.stringify(line.trim())} has neither a tab nor =>`);
    const said = line.slice(separator.index + separator[0].length).replace(/\s#(\s.*)?$/, "");
    return [checked({ written: line.slice(0, separator.index), said, place })];
  });
}

/**
 * Of a program; whether it gives words is checked too.
 * @throws TtsError USAGE naming the value
 */
export function pronunciationsOf(entries: Iterable<unknown>): Pronunciation[] {
  return Array.from(entries, (entry) => {
    const [written, said] = Array.isArray(entry) ? entry : [entry]; // what is no entry says nothing
    return checked({ written, said, place: "the lexicon" });
  });
}

function checked({ written, said, place }: Pronunciation): Pronunciation {
  for (const value of [written, said])
    if (typeof value !== "string") throw invalid(place, `${JSON.stringify(value)} is no text`);
  const entry = { written: keyOf(written), said: said.trim().normalize("NFC"), place };
  if (entry.written === "") throw invalid(place, `there is no word before ${JSON.stringify(entry.said)}`);
  if (entry.said === "") throw invalid(place, `nothing is said for ${JSON.stringify(written.trim())}`);
  return entry;
}

const invalid = (place: string, what: string) =>
  new TtsError("USAGE", `${place}: ${what}`, "write a word, =>, and how to say it: other words or /IPA/");

/** What equal words have in common. */
const keyOf = (written: string) =>
  written.normalize("NFC").trim().replace(/\s+/g, " ").replaceAll("’", "'").toLowerCase();

const ipaOf = (said: string) => /^\/(.*)\/$/.exec(said)?.[1].trim().replace(/\s+/g, " ");

/**
 * @param readsIpa whether the voice that is to say it does
 * @throws TtsError USAGE when the voice cannot
 */
export function assertSayable({ place, said }: Pronunciation, readsIpa: boolean): void {
  const ipa = ipaOf(said);
  if (ipa === undefined) return;
  if (!readsIpa)
    throw new TtsError(
      "USAGE",
      `${place}: ${said} is IPA, which this voice does not read`,
      "write it in letters",
    );
  const unknown = unknownSigns(ipa);
  if (unknown.length > 0)
    throw new TtsError(
      "USAGE",
      `${place}: ${said} has ${unknown.join(" ")}, which this voice cannot say`,
      `it has ˈ ${PHONES}`,
    );
  if (countPhones(ipa) === 0)
    throw new TtsError("USAGE", `${place}: ${said} has no sound`, "write IPA in it");
}

/**
 * Letters of a script without cases and without speakers: what reads, splits and counts takes them for a
 * word.
 */
const [FIRST_SIGN, LAST_SIGN] = [0x17000, 0x187f7];
/** Words of these scripts stand side by side without spaces. */
const UNSPACED = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]`;
const IN_WORD = String.raw`(?!${UNSPACED})[\p{L}\p{N}\p{M}]`;
/** Not inside a word. */
const EDGE = `(?!(?<=${IN_WORD})${IN_WORD})`;
/** What a list is searched by: a whole word, or one sign. */
const FIRST = new RegExp(`(?:${IN_WORD})+|.`, "suy");

/** Words that are looked for in one step. */
const LOOKS = 256;

export class Lexicon {
  private readonly entries: ReadonlyMap<string, Pronunciation>;
  /** First word or sign -> all that begin with it. */
  private readonly families: ReadonlyMap<string, Family>;

  /** @param entries of equal words the last one counts */
  constructor(entries: readonly Pronunciation[] = []) {
    this.entries = new Map(entries.map((entry) => [entry.written, entry]));
    const families = Map.groupBy(this.entries.keys(), (word) => firstAt(word, 0));
    this.families = new Map([...families].map(([first, words]) => [first, new Family(words)]));
  }

  /**
   * Whole words, whatever their case, the longest first; what was put in is not looked at again.
   * @throws TtsError USAGE for a word that the voice cannot say as the list wants it
   */
  pronounce(text: string, readsIpa: boolean): Pronounced {
    return atOnce(this.pronouncing(text, readsIpa));
  }

  /** As {@link pronounce}. */
  *pronouncing(text: string, readsIpa: boolean): Steps<Pronounced> {
    const sounds = new Map<string, string>();
    if (this.families.size === 0) return { text, sounds };
    const signs = unusedSigns(text);
    const signOf = new Map<string, string>();
    let [said, done] = ["", 0];
    for (let at = 0, looks = 0; at < text.length; looks++) {
      if (looks % LOOKS === LOOKS - 1) yield;
      const first = firstAt(text, at);
      const [found, entry] = this.wordAt(text, at, first);
      if (entry === undefined) {
        at += first.length;
        continue;
      }
      assertSayable(entry, readsIpa);
      const ipa = ipaOf(entry.said);
      if (ipa !== undefined && !signOf.has(ipa)) {
        const sign = signs.next().value;
        if (sign === undefined)
          throw invalid(entry.place, "the text has too many different words of the list");
        signOf.set(ipa, sign);
        sounds.set(sign, ipa);
      }
      said += text.slice(done, at) + (ipa === undefined ? entry.said : signOf.get(ipa)!);
      at += found.length;
      done = at;
    }
    return { text: said + text.slice(done), sounds };
  }

  private wordAt(text: string, at: number, first: string): [found: string, entry: Pronunciation | undefined] {
    const found = this.families.get(keyOf(first))?.longestAt(text, at) ?? "";
    return [found, this.entries.get(keyOf(found))];
  }
}

function firstAt(text: string, at: number): string {
  FIRST.lastIndex = at;
  return FIRST.exec(text)![0];
}

/** Words of a list with the same beginning. */
class Family {
  private pattern: RegExp | null = null;

  constructor(private readonly words: readonly string[]) {}

  /** "" where there is none. */
  longestAt(text: string, at: number): string {
    this.pattern ??= new RegExp(`${EDGE}(?:${this.alternatives()})${EDGE}`, "iuy");
    this.pattern.lastIndex = at;
    return this.pattern.exec(text)?.[0] ?? "";
  }

  private alternatives(): string {
    const longestFirst = this.words.toSorted((a, b) => b.length - a.length);
    return longestFirst
      .map((word) =>
        word
          .replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
          .replaceAll(" ", "\\s+")
          .replaceAll("'", "['’]"),
      )
      .join("|");
  }
}

/** Signs that may stand for words of a text. */
export function* unusedSigns(
  text: string,
  taken: ReadonlyMap<string, unknown> = new Map(),
): Generator<string, undefined> {
  for (let code = FIRST_SIGN; code <= LAST_SIGN; code++) {
    const sign = String.fromCodePoint(code);
    if (!taken.has(sign) && !text.includes(sign)) yield sign;
  }
}
