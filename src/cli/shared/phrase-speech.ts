// A speech of the engine as the sound of a phrase.

import type { SpokenPart } from "../../announce/announce.ts";
import type { Engine, Speech, WordTime } from "../../engine.ts";
import { assertSound } from "./engine.ts";

/**
 * @param begin called when the sound is asked for
 * @param faults gets what the voice could not read, and what else went wrong
 */
export function spokenPart(
  begin: () => Promise<{ engine: Pick<Engine, "warnings">; speech: Speech }>,
  faults: Set<string>,
): SpokenPart {
  let [isWhole, words]: [boolean, readonly WordTime[]] = [false, []];
  return {
    get isWhole() {
      return isWhole;
    },
    get words() {
      return words;
    },
    async *[Symbol.asyncIterator]() {
      const { engine, speech } = await begin();
      words = speech.words; // which grows
      for await (const { codes, samples } of speech)
        if (samples.length > 0) yield { samples, isPause: codes.length === 0 };
      const summary = speech.summary();
      assertSound(summary);
      isWhole = summary.stop === "eos";
      if (!isWhole) faults.add("a sentence reached the frame limit");
      if (speech.unread.length > 0) faults.add(`left out ${speech.unread.join(" ")}`);
      for (const warning of engine.warnings) faults.add(warning);
    },
  };
}
