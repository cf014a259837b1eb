// How a board says what is announced: by its own player and in its own manner, in turn with what else is
// announced on this machine.

import { announce, type Outcome, type Voice } from "../../announce/announce.ts";
import { chime } from "../../announce/chime.ts";
import type { PhraseSound } from "../../announce/phrases.ts";
import { isQuiet } from "../../announce/times.ts";
import { type SoundShape, soundFilters } from "../../audio/filters/chain.ts";
import { filtered, through } from "../../audio/filters/filter.ts";
import type { HubClock } from "../../fleet/clock.ts";
import type { SayMessage } from "../../fleet/messages.ts";
import type { SharedPhrases } from "../../fleet/phrases.ts";
import type { Say } from "../../fleet/spokesman.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import type { readNight } from "../shared/announce-options.ts";
import type { PlaySettings } from "../shared/play-options.ts";
import { VoiceLevel } from "../shared/voice-level.ts";

const NO_SOUND = new Float32Array(0);

export interface Manner {
  night: ReturnType<typeof readNight>;
  /** In the user's words, for those whose announcement is not said. */
  quietWords: string;
  play: PlaySettings;
  shape: SoundShape;
  /** Of the queue of announcements on this machine. */
  folder: string;
}

export class PlayedAloud implements Say {
  constructor(
    private readonly clock: HubClock,
    private readonly manner: Manner,
  ) {}

  reasonNotTo(moment: Date): string {
    const { night, quietWords } = this.manner;
    return night.nightVolume === null && isQuiet(night.quietHours, moment) ? quietWords : "";
  }

  async say(message: SayMessage, phrases: SharedPhrases, onBegin: () => void): Promise<Outcome> {
    const { clock, manner } = this;
    const { folder, night } = manner;
    const sounds = new Map<string, PhraseSound>();
    for (const phrase of new Set(message.phrases)) sounds.set(phrase, await phrases.fetch(phrase));
    const around = await this.chimeOf(message, phrases);
    const announcement = {
      ...{
        ...night,
        ...around,
        priority: message.priority,
        repeat: message.repeat,
        start: "complete" as const,
      },
      parts: message.phrases.map((phrase) => ({ text: phrase, fresh: false })),
      appointment: { kind: "wait" as const, moment: new Date(message.moment) },
      mostLateMs: Math.max(1, message.latest - message.moment),
      dedupeMs: message.dedupeMs,
      mostWaitMs: message.mostWaitMs,
    };
    const kept = { get: (phrase: string) => sounds.get(phrase) ?? null, put() {} };
    return announce(announcement, this.voiceOf(message, onBegin), { folder, clock, phrases: kept });
  }

  private voiceOf({ loudness: lufs, speed }: SayMessage, onBegin: () => void): Voice {
    const { play, shape } = this.manner;
    // the words have no silence before them, and a chime needs none to go
    const { loudness, speed: _speed, trimStart: _trim, ...heard } = shape;
    const level = new VoiceLevel(lufs);
    return {
      keyOf: ({ text }) => text,
      speak: () => {
        throw new TypeError("all of it is there");
      },
      rest() {},
      speed,
      shaped: (words) => through(words, soundFilters({ speed, loudness }, level)),
      async openPlayer(volume, turn) {
        const { openPlayer } = await import("../../audio/play/player.ts");
        const { rateHz = SAMPLE_RATE_HZ } = heard;
        const filters = soundFilters(volume === null ? heard : { ...heard, volume }, level);
        const player = filtered(await openPlayer({ ...play, rateHz, turn }), filters);
        let hasBegun = false;
        return {
          write(samples) {
            if (!hasBegun) onBegin();
            hasBegun = true;
            return player.write(samples);
          },
          finish: () => player.finish(),
          abandon: () => player.abandon(),
        };
      },
    };
  }

  private async chimeOf(
    { chime: name }: SayMessage,
    phrases: SharedPhrases,
  ): Promise<{ before: Float32Array; after: Float32Array }> {
    if (name === "") return { before: NO_SOUND, after: NO_SOUND };
    if (name === "own") return { before: chime("before"), after: chime("after") };
    const { samples } = await phrases.fetch(name);
    return { before: samples, after: samples };
  }
}
