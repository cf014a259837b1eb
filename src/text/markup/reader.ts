// A text with markup -> what is to be read, and the gaps in it. Understands `[pause 500ms]` and the elements
// of SSML that people paste; it names all others once and reads their text. Pure; one pass, also over a text
// in pieces.

import { TtsError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { assertSayable, unusedSigns } from "../lexicon.ts";
import { visibleText } from "../visible.ts";
import { MARK, type Markup, markupAt, pauseMsOf } from "./tags.ts";

/** The end of a sentence or a paragraph, or milliseconds of silence that the text asks for. */
export type Gap = "sentence" | "paragraph" | number;
/** Text, with its entities, or a gap. */
export type Part = { text: string } | { gap: Gap };

export interface MarkupRules {
  /** Whether the voice reads IPA; another one reads what stands in `phoneme`. */
  readsIpa: boolean;
  /** The words for what `say-as` holds; null where there are none. */
  sayAs: (interpretAs: string, format: string, text: string) => string | null;
}

const STRENGTHS = new Map([
  ...(["none", "x-weak", "weak", "medium", "strong", "x-strong"] as const).map(
    (name, i) => [name as string, [0, 100, 250, LIMITS.usualPauseMs, 750, 1_000][i]] as const,
  ),
]);
/** Elements whose text is read as something else. */
export const HELD: ReadonlySet<string> = new Set(["sub", "say-as", "phoneme"]);
const ENDS: ReadonlyMap<string, Gap> = new Map([
  ["p", "paragraph"],
  ["s", "sentence"],
]);
/** A held element that is longer, or deeper, was never closed: its text is read through. */
const MOST_HELD_UNITS = 1_000;
const MOST_HELD = 16;
/** Of names that are told. */
const MOST_IGNORED = 50;

interface Held {
  name: string;
  attributes: ReadonlyMap<string, string>;
  text: string;
}
type Tag = Extract<Markup, { kind: "open" | "empty" | "close" }>;

export class MarkupReader {
  /** Elements that were read through, each once. */
  readonly ignored: string[] = [];
  /** IPA of the signs that stand for words. */
  readonly sounds = new Map<string, string>();
  private readonly signOf = new Map<string, string>();
  /** Not read yet, because it may be half of a mark. */
  private half = "";
  private readonly held: Held[] = [];
  private parts: Part[] = [];
  /** The last character that was given out, and whether something that is read through stood behind it. */
  private last = "";
  private isBehindMark = false;

  constructor(private readonly rules: MarkupRules) {}

  /**
   * @returns what can be read now
   * @throws TtsError USAGE for a pause that is too long or none, or IPA that the voice cannot say
   */
  push(piece: string): Part[] {
    return this.read(this.half + piece, false);
  }

  /** @returns the rest, and everything that was never closed */
  end(): Part[] {
    const parts = this.read(this.half, true);
    this.closeAll();
    parts.push(...this.take());
    return parts;
  }

  private read(text: string, isWhole: boolean): Part[] {
    let [done, from] = [0, 0];
    this.half = "";
    const mark = new RegExp(MARK);
    for (;;) {
      mark.lastIndex = from;
      const at = mark.exec(text)?.index;
      if (at === undefined) break;
      const found = markupAt(text, at, isWhole);
      from = at + 1;
      if (found === null) continue;
      this.say(text.slice(done, at));
      done = at;
      if (found === "unfinished") {
        this.half = text.slice(at);
        return this.take();
      }
      done = from = at + found.length;
      this.obey(found, text.slice(at, done), text);
    }
    this.say(text.slice(done));
    return this.take();
  }

  private take(): Part[] {
    const { parts } = this;
    this.parts = [];
    return parts;
  }

  private obey(found: Markup, written: string, all: string): void {
    if (found.kind === "pause") {
      const { time } = found;
      this.gap(time === undefined ? LIMITS.usualPauseMs : pauseMsOf(time, written));
    } else if (found.kind === "literal") this.say(escaped(found.text));
    else if (found.kind !== "nothing") this.element(found, written, all);
  }

  private element(tag: Tag, written: string, all: string): void {
    const { kind, name } = tag;
    const gap = ENDS.get(name);
    if (gap !== undefined) this.gap(gap);
    else if (name === "break") {
      if (kind !== "close") this.gap(breakMs(tag, written));
    } else if (name === "br") this.say("\n");
    else if (HELD.has(name)) this.hold(tag, all);
    else {
      this.isBehindMark = true;
      if (name !== "speak") this.ignore(`<${name}>`);
    }
  }

  private hold({ attributes, kind, name }: Tag, all: string): void {
    if (kind === "close") {
      if (this.held.some((one) => one.name === name)) while (this.close(all) !== name);
      return;
    }
    if (this.held.length === MOST_HELD) this.closeAll(all);
    this.held.push({ name, attributes, text: "" });
    if (kind === "empty") this.close(all);
  }

  private ignore(name: string): void {
    if (this.ignored.length < MOST_IGNORED && !this.ignored.includes(name)) this.ignored.push(name);
  }

  private gap(gap: Gap): void {
    this.closeAll();
    this.parts.push({ gap });
    this.last = "";
  }

  private say(text: string): void {
    if (text === "") return;
    const inner = this.held.at(-1);
    if (inner !== undefined && inner.text.length + text.length <= MOST_HELD_UNITS) {
      inner.text += text;
      return;
    }
    for (const { text: read } of this.held.splice(0)) this.give(read);
    this.give(text);
  }

  /** Words on both sides of a mark stay two words. */
  private give(text: string): void {
    if (text === "") return;
    const joins = this.isBehindMark && /[\p{L}\p{N}]/u.test(this.last) && /^[\p{L}\p{N}]/u.test(text);
    const given = joins ? ` ${text}` : text;
    const before = this.parts.at(-1);
    if (before !== undefined && "text" in before) before.text += given;
    else this.parts.push({ text: given });
    this.last = Array.from(given.slice(-2)).at(-1)!;
    this.isBehindMark = false;
  }

  private closeAll(all = ""): void {
    while (this.held.length > 0) this.close(all);
  }

  /**
   * Says the innermost held element.
   * @param all what stands around it, so that no sign of it is taken
   */
  private close(all: string): string {
    const { attributes, name, text } = this.held.pop()!;
    if (name === "sub") this.say(attributes.get("alias") ?? text);
    else if (name === "phoneme") this.say(this.phoneme(attributes, text, all));
    else this.say(this.sayAs(attributes, text));
    return name;
  }

  private phoneme(attributes: ReadonlyMap<string, string>, text: string, all: string): string {
    const alphabet = (attributes.get("alphabet") ?? "ipa").toLowerCase();
    const ipa = visibleText(attributes.get("ph") ?? "")
      .normalize("NFC")
      .replace(/\s+/g, " ")
      .replace(/^[/ ]+|[/ ]+$/g, "");
    if (alphabet !== "ipa") this.ignore(`<phoneme alphabet="${alphabet.slice(0, 20)}">`);
    if (alphabet !== "ipa" || ipa === "" || !this.rules.readsIpa) return text;
    const known = this.signOf.get(ipa);
    if (known !== undefined) return known;
    assertSayable({ place: "<phoneme>", written: text, said: `/${ipa}/` }, true);
    const sign = unusedSigns(all, this.sounds).next().value;
    if (sign === undefined) throw new TtsError("USAGE", "the text has too many different <phoneme>");
    this.signOf.set(ipa, sign);
    this.sounds.set(sign, ipa);
    return sign;
  }

  private sayAs(attributes: ReadonlyMap<string, string>, text: string): string {
    const interpretAs = attributes.get("interpret-as") ?? "";
    const [kind, format] = [interpretAs, attributes.get("format") ?? ""].map((one) => one.toLowerCase());
    const words = this.rules.sayAs(kind, format, visibleText(text).trim());
    if (words !== null) return escaped(words);
    this.ignore(`<say-as interpret-as="${interpretAs.slice(0, 20)}">`);
    return text;
  }
}

/** What it stands for is read once more, for its entities. */
const escaped = (text: string) => text.replaceAll("&", "&amp;");

function breakMs({ attributes }: Tag, written: string): number {
  const time = attributes.get("time");
  if (time !== undefined) return pauseMsOf(time, written);
  const strength = attributes.get("strength") ?? "medium";
  const ms = STRENGTHS.get(strength.toLowerCase());
  if (ms !== undefined) return ms;
  throw new TtsError(
    "USAGE",
    `${written}: there is no strength "${strength}"`,
    `choose one of ${[...STRENGTHS.keys()].join(", ")}`,
  );
}
