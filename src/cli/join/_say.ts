// How a board says what is announced: by its own player and in its own manner, in turn with what else is
// announced on this machine.

import { announce, NOTHING, type Outcome, PAUSE_MS, type Voice } from "../../announce/announce.ts";
import { chime } from "../../announce/chime.ts";
import type { PhraseSound } from "../../announce/phrases.ts";
import { isQuiet } from "../../announce/times.ts";
import { type SoundShape, soundFilters } from "../../audio/filters/chain.ts";
import { filtered, through } from "../../audio/filters/filter.ts";
import type { HubClock } from "../../fleet/clock.ts";
import type { SayMessage } from "../../fleet/messages.ts";
import type { SharedPhrases } from "../../fleet/phrases.ts";
import { Plan } from "../../fleet/plan.ts";
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
  private readonly plan = new Plan();

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
    const { dedupeMs, latest, moment, mostWaitMs, priority, repeat } = message;
    const sounds = new Map<string, PhraseSound>();
    for (const phrase of new Set(message.phrases)) sounds.set(phrase, await phrases.fetch(phrase));
    const around = await this.chimeOf(message, phrases);
    const begins =
      this.reasonNotTo(new Date(moment)) === ""
        ? this.plan.place(message, lengthOf(message, sounds, around))
        : moment;
    if (begins === null) return { ...NOTHING, what: "late", lateMs: latest - moment };
    const announcement = {
      ...{ ...night, ...around, dedupeMs, mostWaitMs, priority, repeat, start: "complete" as const },
      parts: message.phrases.map((phrase) => ({ text: phrase, fresh: false })),
      appointment: { kind: "wait" as const, moment: new Date(begins) },
      mostLateMs: Math.max(1, latest - begins),
    };
    const kept = { get: (phrase: string) => sounds.get(phrase) ?? null, put() {} };
    const surroundings = { folder, clock, phrases: kept };
    const outcome = await announce(announcement, this.voiceOf(message, onBegin), surroundings);
    return { ...outcome, lateMs: outcome.lateMs + begins - moment };
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

/** Milliseconds, as every board reckons them. */
function lengthOf(
  { phrases, repeat, speed }: SayMessage,
  sounds: ReadonlyMap<string, PhraseSound>,
  { after, before }: { before: Float32Array; after: Float32Array },
): number {
  const words = phrases.reduce((sum, phrase) => sum + sounds.get(phrase)!.samples.length, 0) / speed;
  const samples = before.length + repeat * words + after.length;
  return (1_000 * samples) / SAMPLE_RATE_HZ + (repeat - 1) * PAUSE_MS;
}
