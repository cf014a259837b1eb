// From a sentence to the prompt that the talker is given: its text as tokens, and those of the recording of a cloned voice.

import type { Tokenizer } from "../backends/stage.ts";
import type { Bundle } from "../formats/bundle.ts";
import { buildPrompt, type Prompt, type Reference, wrapInstruct, wrapReference, wrapText } from "../text/prompt.ts";
import { CODES_PER_FRAME } from "../types.ts";
import type { SpeakJob, SpokenReference } from "./messages.ts";

/** What a prompt is made of. */
export type PromptedSentence = Pick<SpeakJob, "text" | "instruct" | "speaker" | "language" | "mode" | "reference">;

export function promptOf(bundle: Bundle, tokenizer: Tokenizer, sentence: PromptedSentence): Prompt {
  const { instruct, language, mode, speaker, text } = sentence;
  const ids = tokenizer.encode(wrapText(text));
  const instructIds = instruct === "" ? null : tokenizer.encode(wrapInstruct(instruct));
  const reference = referenceOf(tokenizer, sentence.reference);
  return buildPrompt(bundle.manifest.prompt, { ids, instructIds, speaker, language, mode, reference });
}

/** In-context cloning needs the words of the recording; a speaker vector alone has no reference. */
function referenceOf(tokenizer: Tokenizer, reference: SpokenReference | null): Reference | null {
  if (reference === null || reference.codes === null) return null;
  const { codes, text } = reference;
  const codes0 = Int32Array.from({ length: codes.length / CODES_PER_FRAME }, (_, frame) => codes[frame * CODES_PER_FRAME]);
  return { ids: tokenizer.encode(wrapReference(text)), codes0 };
}
