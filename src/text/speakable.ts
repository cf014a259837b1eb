// Refuses text in which nothing can be spoken, before a model is asked to speak it. Judges only; changes nothing.

import { TtsError } from "../errors.ts";

const EXCERPT_CHARACTERS = 40;
const HINT = "Give at least one word or number.";

/**
 * @param controlTokens written forms of the tokenizer's special tokens, such as `<|im_end|>`; they are not speech
 * @throws TtsError TEXT_EMPTY when the text without them has neither a letter nor a number; the message says why
 */
export function assertSpeakable(text: string, controlTokens: readonly string[]): void {
  if (text.trim() === "") throw new TtsError("TEXT_EMPTY", "There is nothing to speak: the text is blank", HINT);
  // A space in place of each token, so that what surrounds it cannot join into another one.
  const rest = controlTokens.reduce((left, token) => left.replaceAll(token, " "), text);
  if (/[\p{L}\p{N}]/u.test(rest)) return;
  const only = rest.trim() === "" ? "control tokens" : rest === text ? "punctuation or symbols" : "control tokens, punctuation or symbols";
  throw new TtsError("TEXT_EMPTY", `There is nothing to speak: ${excerpt(text)} holds only ${only}`, HINT);
}

/** Quoted, on one line. */
function excerpt(text: string): string {
  const characters = Array.from(text.trim().slice(0, 2 * EXCERPT_CHARACTERS)).slice(0, EXCERPT_CHARACTERS);
  const shown = characters.join("");
  return JSON.stringify(shown.length < text.trim().length ? `${shown}…` : shown);
}
