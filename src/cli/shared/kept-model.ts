// The model of a machine in a fleet: opened at its first use, and again after a failure, and the sounds that
// it makes for announcements.

import { prepare, type Voice } from "../../announce/announce.ts";
import { type Part, partsOf } from "../../announce/template.ts";
import { checkRequest } from "../../engine/request.ts";
import type { Engine, Summary } from "../../engine.ts";
import { TtsError } from "../../errors.ts";
import type { HubClock } from "../../fleet/clock.ts";
import type { LocalSound } from "../../fleet/making.ts";
import type { MakeOrder } from "../../fleet/messages.ts";
import { ServedVoices } from "../../serve/voices.ts";
import { markedSentenceEnds } from "../../text/markup/ends.ts";
import { openEngine } from "./engine.ts";
import { log } from "./log.ts";
import { spokenPart } from "./phrase-speech.ts";
import { openPhrases, type PhraseBase, type PhraseOptions, phraseVoice } from "./phrases.ts";

/** Spoken once at the start, so that the first announcement finds all in memory, and the speed is known. */
const GREETING = "Good morning.";
const GREETING_FRAMES = 40;
/** How much a speech counts for what the board says of its speed. */
const WEIGHT = 0.3;
/** Announcements come before books, whose sentences wait here as well. */
const PRIORITY = 1_000;

export class KeptModel {
  private opening: Promise<Engine> | null = null;
  private speed: number | null = null;
  private readonly voices: ServedVoices;

  /** @param options how it speaks where an order says nothing */
  constructor(
    private readonly base: PhraseBase,
    private readonly options: PhraseOptions,
    voicesDir: string,
    private readonly clock: Pick<HubClock, "now" | "monotonicMs" | "sleep">,
  ) {
    this.voices = new ServedVoices(voicesDir, () => base.bundle.manifest);
  }

  /** The engine that is open; another one where that has failed. @throws TtsError as opening does */
  async engine(): Promise<Engine> {
    const { opening } = this;
    const known = await opening?.catch(() => null);
    if (known != null && known.failure === null) return known;
    if (this.opening !== opening) return this.engine(); // another call was faster
    const { greedy, sampling } = this.options;
    const { lexicon, machine, model } = this.base;
    this.opening = openEngine({ model, lexicon, greedy, sampling, ...machine });
    void known?.close();
    return this.opening;
  }

  /** Opens the model, and speaks a few words to nobody. @throws TtsError as opening and speaking do */
  async warmUp(): Promise<Engine> {
    const engine = await this.engine();
    const speech = engine.speak(GREETING, { ...this.options, maxFrames: GREETING_FRAMES, seed: 1 });
    for await (const _ of speech); // nobody listens
    this.note(speech.summary());
    return engine;
  }

  /** Seconds that a second of sound takes. */
  rtf(): number | null {
    return this.speed === null ? null : Math.round(1_000 * this.speed) / 1_000;
  }

  private note({ frames, rtf }: Summary): void {
    if (frames > 0) this.speed = this.speed === null ? rtf : (1 - WEIGHT) * this.speed + WEIGHT * rtf;
  }

  /**
   * Makes the sound of an announcement, or finds it in the phrase cache.
   * @throws TtsError TEXT_EMPTY, VOICE_UNKNOWN, LANGUAGE_UNKNOWN and what speaking throws; the file system's
   * errors where it cannot be kept
   */
  async make({ moment, settings, text }: MakeOrder, signal?: AbortSignal): Promise<LocalSound> {
    const { voice: name, ...asked } = settings;
    const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
    const named =
      name === undefined ? {} : { speaker: undefined, voice: undefined, ...this.voices.named(name) };
    const options: PhraseOptions = { ...this.options, ...given, ...named };
    const phrase = phraseVoice(this.base, options);
    const parts = partsOf(text, new Date(moment), phrase.locale, markedSentenceEnds);
    for (const part of parts) checkRequest(part.text, phrase.optionsFor(part));
    if (parts.length === 0) throw new TtsError("TEXT_EMPTY", "there is no text to speak");
    const faults = new Set<string>();
    const voice: Pick<Voice, "keyOf" | "speak" | "rest" | "speed"> = {
      keyOf: phrase.keyOf,
      speak: (part: Part) =>
        spokenPart(async () => {
          const engine = await this.engine();
          signal?.throwIfAborted();
          const options = { ...phrase.optionsFor(part), priority: PRIORITY, signal };
          const speech = engine.speak(part.text, options);
          return { engine, speech };
        }, faults),
      rest() {},
      speed: 1,
    };
    const { seconds } = await prepare(parts, voice, { clock: this.clock, phrases: openPhrases() });
    for (const fault of faults) log.warn(fault);
    return {
      keys: parts.map(phrase.keyOf),
      seconds,
      loudness: phrase.loudness ?? (await this.loudness(options)),
      model: this.base.bundle.manifest.name,
    };
  }

  private async loudness(options: PhraseOptions): Promise<number | null> {
    const lufs = await (await this.engine()).loudness(options);
    return Number.isFinite(lufs) ? lufs : null;
  }

  async close(): Promise<void> {
    await (await this.opening?.catch(() => null))?.close();
  }
}
