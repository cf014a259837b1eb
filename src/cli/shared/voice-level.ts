// How loud the voice that speaks is by itself, which a wanted loudness starts from.

import type { Level } from "../../audio/filters/chain.ts";
import type { Engine, SpeakOptions } from "../../engine.ts";
import { log } from "./log.ts";

/** The loudness of the voice that speaks; it is known once an engine is open. */
export class VoiceLevel implements Level {
  /** NaN: not known yet. */
  private lufs: number;

  /** @param lufs of a voice that was measured before; null: it is not known */
  constructor(lufs: number | null = null) {
    this.lufs = lufs ?? Number.NaN;
  }

  /**
   * Needed before the first sound where the shape has a loudness.
   * @param tell gets a line where the voice must be measured, which takes a moment
   */
  async learn(engine: Engine, options: SpeakOptions, tell = log.info): Promise<void> {
    const name = options.voice?.name ?? options.speaker ?? engine.manifest.name;
    this.lufs = await engine.loudness(options, () => tell(`measuring the loudness of ${name}, once`));
    if (this.lufs === -Infinity)
      log.warn(`${name} was silent when its loudness was measured: it speaks as it is`);
    else log.debug(`loudness of ${name}: ${this.lufs} LUFS`);
  }

  /** @returns what the voice lacks to a loudness, in dB; nothing while it is not known */
  lack(target: number): number {
    return Number.isFinite(this.lufs) ? target - this.lufs : 0;
  }
}
