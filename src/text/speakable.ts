// Refuses text in which nothing can be spoken, before a model is asked to speak it. Judges only; changes
// nothing.

import { TtsError } from "../errors.ts";

const EXCERPT_CHARACTERS = 40;

/**
 * @param controlTokens written forms of the tokenizer's special tokens, such as `<|im_end|>`: they are not
 * speech
 * @throws TtsError TEXT_EMPTY when the text without them has neither a letter nor a number; the message says
 * what it has
 */
export function assertSpeakable(text: string, controlTokens: readonly string[]): void {
  if (text.trim() === "") throw nothing("the text is blank");
  // A space in place of each token, so that what stands around it cannot join into another one.
  const rest = controlTokens.reduce((left, token) => left.replaceAll(token, " "), text);
  if (/[\p{L}\p{N}]/u.test(rest)) return;
  if (rest.trim() === "") throw nothing(`${excerpt(text)} holds only control tokens`);
  throw nothing(
    `${excerpt(text)} holds only ${rest === text ? "" : "control tokens and "}punctuation or symbols`,
  );
}

/** Quotes, brackets, dashes and what ends or parts sentences: they have no sound of their own. */
const SILENT = /^[\s\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Terminal_Punctuation}"'…·¿¡]+$/u;
const SIGNS = new Intl.Segmenter("en");

/** What a text without words has that a reader would miss: control tokens and signs, each once. */
export function missedSigns(text: string, controlTokens: readonly string[]): string[] {
  const tokens = controlTokens.filter((token) => text.includes(token));
  const rest = tokens.reduce((left, token) => left.replaceAll(token, " "), text);
  const signs = [...SIGNS.segment(rest)].map(({ segment }) => segment);
  return [...new Set([...tokens, ...signs.filter((sign) => !SILENT.test(sign))])];
}

function nothing(why: string): TtsError {
  return new TtsError("TEXT_EMPTY", `nothing to speak: ${why}`, "give at least one word or number");
}

/** Quoted, on one line. */
function excerpt(text: string): string {
  const trimmed = text.trim();
  // No character has more than two UTF-16 units, so a long text need not be taken apart.
  const start = Array.from(trimmed.slice(0, 2 * EXCERPT_CHARACTERS))
    .slice(0, EXCERPT_CHARACTERS)
    .join("");
  return JSON.stringify(start === trimmed ? start : `${start}…`);
}
