// A sentence as the stages get it, and the prompt that the talker makes of it: the tokens of its text and of
// a cloned voice.

import type { Bundle } from "../formats/bundle.ts";
import {
  buildPrompt,
  type Prompt,
  type Reference,
  tokenOffsets,
  wrapInstruct,
  wrapReference,
  wrapText,
} from "../text/prompt.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { CODES_PER_FRAME, type SamplerSettings, type TextMode } from "../types.ts";

/** A cloned voice as the stages need it. */
export interface SpokenReference {
  /** f32 [hidden] */
  xVector: Float32Array;
  /** What the recording says; "" without codes. */
  text: string;
  /** i32 [frames, 16], or null: the speaker vector alone */
  codes: Int32Array | null;
}

/** What a prompt is made of. */
export interface PromptedSentence {
  /** NFC, and IPA where the voice reads IPA. */
  text: string;
  instruct: string;
  /** Codec id, NONE, or the speaker vector of the reference. */
  speaker: number | "xVector";
  /** Codec id or NONE. */
  language: number;
  mode: TextMode;
  /** The cloned voice that speaks, or null. */
  reference: SpokenReference | null;
}

/** One sentence, with all that decides its codes. */
export interface Sentence extends PromptedSentence {
  maxFrames: number;
  seed: number;
  /** Keeps the random numbers of the sentences of one text apart; see {@link streamsOf}. */
  stream: number;
  sampling: { talker: SamplerSettings; predictor: SamplerSettings };
}

/**
 * The random number streams of a sentence's stages: no two stages and no two sentences of a text share one.
 */
export const streamsOf = (sentence: number) => ({ talker: 2 * sentence, predictor: 2 * sentence + 1 });

/** A prompt whose text tokens have places in the text. */
export type PlacedPrompt = Prompt & { offsets: Int32Array };

export function promptOf(bundle: Bundle, tokenizer: Tokenizer, sentence: PromptedSentence): PlacedPrompt {
  const { instruct, language, mode, speaker, text } = sentence;
  const { ends, ids } = tokenizer.tokens(wrapText(text));
  const instructIds = instruct === "" ? null : tokenizer.encode(wrapInstruct(instruct));
  const reference = referenceOf(tokenizer, sentence.reference);
  const request = { ids, instructIds, speaker, language, mode, reference };
  return { ...buildPrompt(bundle.manifest.prompt, request), offsets: tokenOffsets(text, ends) };
}

/** In-context cloning needs the words of the recording; a speaker vector alone has no reference. */
function referenceOf(tokenizer: Tokenizer, reference: SpokenReference | null): Reference | null {
  if (reference === null || reference.codes === null) return null;
  const { codes, text } = reference;
  const codes0 = Int32Array.from(
    { length: codes.length / CODES_PER_FRAME },
    (_, frame) => codes[frame * CODES_PER_FRAME],
  );
  return { ids: tokenizer.encode(wrapReference(text)), codes0 };
}
