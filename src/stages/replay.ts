// Computes what the talker hands to the code predictor for known codes: the talker is given its codes instead
// of drawing them.

import { openBackend } from "../backends/open.ts";
import type { OpenOptions, Talker } from "../backends/stage.ts";
import { TALKERS } from "../backends/talker/index.ts";
import type { Bundle } from "../formats/bundle.ts";
import { languageId, type Prompt, speakerId } from "../text/prompt.ts";
import { openTokenizer } from "../text/tokenizer.ts";
import { CODES_PER_FRAME, type TextMode } from "../types.ts";
import { Embedder } from "./embed.ts";
import { type PromptedSentence, promptOf, type SpokenReference } from "./sentence.ts";

/** A finished speech: what the talker was given, and the codes that came. */
export interface SpokenText {
  /** As the talker reads it: IPA where the voice reads IPA. */
  text: string;
  /** Names; a cloned voice has no speaker. */
  speaker: string;
  language: string;
  mode: TextMode;
  reference: SpokenReference | null;
  /** i32 [frames, 16] */
  codes: Int32Array;
}

/** f32 [frames, hidden] for each speech: the talker's states that its frames were made from. */
export function replay(options: OpenOptions, speeches: readonly SpokenText[]): Float32Array[] {
  const { bundle } = options;
  const { stage: talker } = openBackend(TALKERS, options.config.talker, options, bundle.manifest.talkerMs);
  const tokenizer = openTokenizer(bundle);
  const embedder = new Embedder(bundle);
  const replay = new Replay(talker, embedder, bundle);
  const hidden = speeches.map((speech) =>
    replay.hiddenOf(speech, promptOf(bundle, tokenizer, sentenceOf(bundle, speech))),
  );
  talker.close();
  tokenizer.close();
  embedder.close();
  return hidden;
}

/** Looks up the names of speaker and language. The speech had no instruction. */
function sentenceOf(
  { manifest: { prompt } }: Bundle,
  { language, mode, reference, speaker, text }: SpokenText,
): PromptedSentence {
  const ids = {
    language: languageId(prompt, language, speaker),
    speaker: reference === null ? speakerId(prompt, speaker) : "xVector",
  } as const;
  return { text, instruct: "", mode, reference, ...ids };
}

/** A talker that is given its codes instead of drawing them. */
class Replay {
  private readonly lanes = Int32Array.of(0);
  private readonly input: Float32Array;
  private readonly result: Float32Array;
  private readonly logits: Float32Array;

  constructor(
    private readonly talker: Talker,
    private readonly embedder: Embedder,
    private readonly bundle: Bundle,
  ) {
    const floats = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
    [this.input, this.result, this.logits] = [
      floats(talker.hidden),
      floats(talker.hidden),
      floats(talker.codecVocabulary),
    ];
  }

  /** f32 [frames, hidden]: the talker's state from which each frame was drawn. */
  hiddenOf({ codes, reference }: SpokenText, { prefixRows, rows, trailing }: Prompt): Float32Array {
    const { embedder, input, lanes, logits, result, talker } = this;
    const frames = codes.length / CODES_PER_FRAME;
    const all = new Float32Array(frames * talker.hidden);
    const vectors = embedder.prompt(rows, reference ?? { xVector: null, codes: null });
    talker.prefill(0, vectors, 0, prefixRows, result, logits);
    talker.prefill(0, vectors, prefixRows, rows.length, result, logits);
    for (let frame = 0; frame < frames; frame++) {
      all.set(result, frame * talker.hidden);
      embedder.feedback(codes, frame * CODES_PER_FRAME, input, 0);
      embedder.addText(trailing[frame] ?? this.bundle.manifest.prompt.text.ttsPad, input, 0);
      talker.step(lanes, 1, input, result, logits);
    }
    return all;
  }
}
