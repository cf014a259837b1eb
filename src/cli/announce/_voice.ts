// The voice of an announcement: the engine, which is loaded only when something was never said before.

import type { SpokenPart } from "../../announce/announce.ts";
import type { Part } from "../../announce/template.ts";
import type { Engine } from "../../engine.ts";
import { openEngine } from "../shared/engine.ts";
import { log } from "../shared/log.ts";
import { spokenPart } from "../shared/phrase-speech.ts";
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
    return spokenPart(async () => {
      const opened = await engine;
      if (!isFirst) return { engine: opened, speech: opened.speak(part.text, options) };
      await level.learn(opened, options, log.debug); // the log gets one line
      return { engine: opened, speech: opened.first! };
    }, faults);
  }

  async close(): Promise<void> {
    await (await this.engine?.catch(() => null))?.close();
  }
}
