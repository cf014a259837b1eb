// One sentence, made by an engine: the same on every board of a kind.

import type { Engine } from "../../engine.ts";
import { TtsError } from "../../errors.ts";
import { joined } from "../../io/bytes.ts";
import type { SectionText } from "./job.ts";
import type { SentenceSound } from "./sentence-file.ts";

/** What of an engine a render needs. */
export type Renderer = Pick<Engine, "speak">;

/** Whoever listens to a board comes first. */
const PRIORITY = -100;

/** @throws TtsError as speaking does; CANCELLED where the signal ends it */
export async function makeSentence(
  engine: Renderer,
  { options, text }: SectionText,
  sentence: number,
  signal: AbortSignal,
): Promise<Omit<SentenceSound, "key" | "board">> {
  const sentences = { from: sentence, to: sentence + 1 };
  const speech = engine.speak(text, { ...options, sentences, signal, priority: PRIORITY });
  const parts: Float32Array[] = [];
  for await (const { samples } of speech) parts.push(samples);
  const { frames, repairs, stop } = speech.summary();
  if (stop === "cancelled") throw new TtsError("CANCELLED", "the rendering of a sentence was ended");
  return { samples: joined(parts), frames, stop, repairs: repairs.length };
}
