// The voice of an announcement: the engine, which is loaded only when something was never said before.

import type { SpokenPart } from "../../announce/announce.ts";
import type { Part } from "../../announce/template.ts";
import type { Engine, WordTime } from "../../engine.ts";
import { assertSound, openEngine } from "../shared/engine.ts";
import { log } from "../shared/log.ts";
import type { PhraseVoice } from "../shared/phrases.ts";
import { extraPositions } from "../shared/speak-options.ts";
import type { VoiceLevel } from "../shared/voice-level.ts";

export class Speaker {
  private engine: Promise<Engine> | null = null;
  /** What the voice could not read, and what else the log should say. */
  readonly faults = new Set<string>();

  /** @param level becomes known before the first sound of the engine */
  constructor(
    private readonly voice: PhraseVoice,
    private readonly level: VoiceLevel,
  ) {}

  speak(part: Part): SpokenPart {
    const options = this.voice.optionsFor(part);
    const { greedy, maxFrames, sampling } = options;
    const { lexicon, machine, model } = this.voice;
    const isFirst = this.engine === null;
    this.engine ??= openEngine(
      { model, lexicon, greedy, sampling, first: { text: part.text, options }, ...machine },
      maxFrames,
      extraPositions(options),
    );
    const { engine, faults, level } = this;
    let [isWhole, words]: [boolean, readonly WordTime[]] = [false, []];
    return {
      get isWhole() {
        return isWhole;
      },
      get words() {
        return words;
      },
      async *[Symbol.asyncIterator]() {
        const opened = await engine;
        if (isFirst) await level.learn(opened, options, log.debug); // the log gets one line
        const speech = isFirst ? opened.first! : opened.speak(part.text, options);
        words = speech.words; // which grows
        for await (const { codes, samples } of speech)
          if (samples.length > 0) yield { samples, isPause: codes.length === 0 };
        const summary = speech.summary();
        assertSound(summary);
        isWhole = summary.stop === "eos";
        if (!isWhole) faults.add("a sentence reached the frame limit");
        if (speech.unread.length > 0) faults.add(`left out ${speech.unread.join(" ")}`);
        for (const warning of opened.warnings) faults.add(warning);
      },
    };
  }

  async close(): Promise<void> {
    await (await this.engine?.catch(() => null))?.close();
  }
}
