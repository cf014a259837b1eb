// Finds one piece of markup in a text: an element's tag, `[pause 500ms]`, or what is never read, such as a
// comment. What is not well formed is text. Pure; says nothing about what an element means.

import { TtsError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";

export type Markup =
  | {
      kind: "open" | "empty" | "close";
      name: string;
      attributes: ReadonlyMap<string, string>;
      length: number;
    }
  /** `[pause]`; its length in words, or undefined. */
  | { kind: "pause"; time: string | undefined; length: number }
  /** CDATA. */
  | { kind: "literal"; text: string; length: number }
  /** A comment, an instruction, the document type. */
  | { kind: "nothing"; length: number };

/** Longer markup is text: so any text takes linear time, whatever is open in it. */
const MOST_UNITS = 2_000;
const NAME = /[A-Za-z][\w.:-]*/y;
const SPACE = /\s*/y;
const EQUALS = /\s*=\s*/y;
const VALUE = /"[^"<]*"|'[^'<]*'|[^\s"'<>=`]+?(?=\s|\/?>)/y;
const UNFINISHED_VALUE = /^(?:"[^"<]*|'[^'<]*|[^\s"'<>=`]*)$/;
const PAUSE = /^\[pause(?:[ \t]{1,4}([^[\]]{1,30}))?\]/i;
/** Of an unfinished one. */
const PAUSE_UNITS = 44;
const SKIPPED = [
  ["<!--", "-->"],
  ["<![CDATA[", "]]>"],
  ["<?XML", "?>"],
  ["<!DOCTYPE", ">"],
] as const;

/** Where markup may begin. */
export const MARK = /[<[]/g;

/**
 * @param at of a {@link MARK}
 * @param isWhole whether nothing follows the text
 * @returns null: it is text; "unfinished": what follows decides
 */
export function markupAt(text: string, at: number, isWhole: boolean): Markup | null | "unfinished" {
  const piece = text.slice(at, at + MOST_UNITS);
  const found = piece[0] === "[" ? pauseOf(piece) : /^<[!?]/.test(piece) ? skippedOf(piece) : tagOf(piece);
  if (found !== "unfinished") return found;
  return isWhole || piece.length === MOST_UNITS ? null : found;
}

function pauseOf(piece: string): Markup | null | "unfinished" {
  const found = PAUSE.exec(piece);
  if (found !== null) {
    const time = found[1]?.trim();
    // `[pause for breath]` is a note
    if (time !== undefined && !/^[-+.\d]/.test(time)) return null;
    return { kind: "pause", time, length: found[0].length };
  }
  const start = piece.slice(0, PAUSE_UNITS).toLowerCase();
  const mayCome = "[pause".startsWith(start.slice(0, 6)) && !start.includes("]");
  return mayCome && piece.length < PAUSE_UNITS ? "unfinished" : null;
}

function skippedOf(piece: string): Markup | null | "unfinished" {
  const head = piece.slice(0, 9).toUpperCase();
  for (const [opening, closing] of SKIPPED) {
    if (head.length < opening.length && opening.startsWith(head)) return "unfinished";
    if (!head.startsWith(opening)) continue;
    const end = piece.indexOf(closing, opening.length);
    if (end < 0) return "unfinished";
    const text = piece.slice(opening.length, end);
    const length = end + closing.length;
    if (opening === "<![CDATA[") return { kind: "literal", text, length };
    // declarations inside the document type are not read, and no entity is made of them
    return opening === "<!DOCTYPE" && text.includes("[") ? null : { kind: "nothing", length };
  }
  return head === "<" ? "unfinished" : null;
}

/** Attributes keep their entities. */
function tagOf(piece: string): Markup | null | "unfinished" {
  let at = piece[1] === "/" ? 2 : 1;
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(piece)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const orText = () => (at >= piece.length ? ("unfinished" as const) : null);
  const name = take(NAME)?.toLowerCase();
  if (name === undefined) return orText();
  const attributes = new Map<string, string>();
  for (;;) {
    const space = take(SPACE);
    const end = /^\/?>/.exec(piece.slice(at, at + 2))?.[0];
    if (end !== undefined) {
      const kind = piece[1] === "/" ? "close" : end === "/>" ? "empty" : "open";
      return { kind, name, attributes, length: at + end.length };
    }
    const attribute = space === "" ? undefined : take(NAME)?.toLowerCase();
    if (attribute === undefined) return piece.slice(at) === "/" ? "unfinished" : orText();
    if (take(EQUALS) === undefined) return piece.slice(at).trim() === "" ? "unfinished" : null;
    const value = take(VALUE);
    if (value === undefined) return UNFINISHED_VALUE.test(piece.slice(at)) ? "unfinished" : null;
    attributes.set(attribute, value.replace(/^(["'])(.*)\1$/s, "$2"));
  }
}

const DURATION = /^\+?(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*(ms|s)$/i;
const ALLOWED = `give 0 to ${LIMITS.pauseMs / 1000} s, such as 500ms or 0.5s`;

/**
 * Whole milliseconds.
 * @param written where it stands, for the error
 * @throws TtsError USAGE
 */
export function pauseMsOf(time: string, written: string): number {
  const found = DURATION.exec(time.trim());
  if (found === null) throw new TtsError("USAGE", `${written}: "${time}" is not a length of time`, ALLOWED);
  const ms = Math.round(Number(found[1]) * (found[2].toLowerCase() === "s" ? 1000 : 1));
  if (ms > LIMITS.pauseMs) throw new TtsError("USAGE", `${written}: ${time} is too long`, ALLOWED);
  return ms;
}
