// One announcement, from its text to its sound: when it is said, if at all, whose turn it is, and what of it
// was made before. Knows no options and no model: the caller gives a voice and a player.

import type { PlayerTurn } from "../audio/play/group.ts";
import { courseOf, type StartChoice, StartWatch } from "../audio/play/start.ts";
import { ANNOUNCE_LIMITS, LIMITS } from "../config.ts";
import { joined } from "../io/bytes.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";
import { noteSaid, wasSaid } from "./dedupe.ts";
import type { PhraseCache } from "./phrases.ts";
import { type Priority, type Turn, takeTurn } from "./queue.ts";
import { GrowingSound, type Worded } from "./sound.ts";
import { type Clock, type Playable, type Player, playInTurn } from "./speaker.ts";
import type { Part } from "./template.ts";
import { type Appointment, isQuiet, type QuietRange } from "./times.ts";

export interface Announcement {
  parts: readonly Part[];
  /** For which time it is meant; null: as soon as possible. */
  appointment: Appointment | null;
  mostLateMs: number;
  quietHours: readonly QuietRange[];
  /** Volume in quiet hours, 0 to 1; null: nothing is said then. */
  nightVolume: number | null;
  dedupeMs: number;
  priority: Priority;
  mostWaitMs: number;
  /** When it may begin where sound is made slower than it plays. */
  start: StartChoice;
  repeat: number;
  /** Sounds around the words; empty ones are left out. */
  before: Float32Array;
  after: Float32Array;
}

/** A piece of a part's sound; a pause between its words took no time to make. */
export interface SpokenPiece {
  samples: Float32Array;
  isPause: boolean;
}

export interface SpokenPart extends AsyncIterable<SpokenPiece>, Worded {
  /** Whether it came to its own end; others are not kept. */
  readonly isWhole: boolean;
}

/** How words become sound, and sound is heard. */
export interface Voice {
  /** What a part is kept under. */
  keyOf(part: Part): string;
  /** Speaks. The first call opens the model. */
  speak(part: Part): SpokenPart;
  /** All has been spoken: a model may be closed, also while the sound waits for its time. */
  rest(): void;
  /** How many times faster than they are made the words are heard. */
  readonly speed: number;
  /** The words as they are heard: what changes a voice leaves chimes alone. */
  shaped(words: AsyncIterable<Float32Array>): AsyncIterable<Float32Array>;
  /** @param volume 0 to 1, or null for the usual one @param turn kept as long as the player sounds */
  openPlayer(volume: number | null, turn: PlayerTurn): Promise<Player>;
}

export interface Surroundings {
  /** Of {@link queueFolder}. */
  folder: string;
  phrases: Pick<PhraseCache, "get" | "put">;
  clock: Clock;
}

/** What became of an announcement. */
export interface Outcome {
  what: "said" | "interrupted" | "prepared" | "quiet" | "late" | "repeated";
  /** Of sound that was heard, chimes and repetitions included, or that was prepared. */
  seconds: number;
  parts: number;
  /** Parts that were in the phrase cache. */
  cached: number;
  waitedMs: number;
  /** How long the sound took to make; 0 if all was kept from before, or was interrupted. */
  madeMs: number;
  /** How much later than its time it began; 0 without one. */
  lateMs: number;
}

/** The sound of all parts, in order. */
export interface Made {
  sound: GrowingSound;
  /** Whether it may begin without breaking off later. */
  isReady(): boolean;
  cached: number;
  /** Milliseconds, when all was made; never rejects. */
  done: Promise<number>;
}

/** Between repetitions. */
export const PAUSE_MS = 1_000;
const PAUSE = new Float32Array((SAMPLE_RATE_HZ * PAUSE_MS) / 1_000);
/** Figures of what made no sound. */
export const NOTHING = { seconds: 0, parts: 0, cached: 0, waitedMs: 0, madeMs: 0, lateMs: 0 } as const;

/**
 * Makes the sound of all parts; what was made before comes from the phrase cache at once, and the rest is
 * kept there when it is whole.
 * @param onLoss told why a phrase could not be kept
 */
export function make(
  { parts, start }: Pick<Announcement, "parts" | "start">,
  voice: Pick<Voice, "keyOf" | "speak" | "rest" | "speed">,
  { clock, phrases }: Pick<Surroundings, "clock" | "phrases">,
  onLoss: (error: unknown) => void = () => {},
): Made {
  const sound = new GrowingSound();
  const startMs = clock.monotonicMs();
  const found = parts.map((part) => phrases.get(voice.keyOf(part)));
  const missing = parts.filter((_, i) => found[i] === null);
  const watch = new StartWatch(start, voice.speed);
  let firstAudioMs = 0;
  const sentences = missing.map(({ text }) => text);
  watch.follow(
    courseOf({
      sentences,
      pauses: new Map(), // those within a part count once they are there
      settings: { maxFrames: LIMITS.maxFrames },
      summary: () => ({ firstAudioMs }),
    }),
  );
  const speakInto = async (part: Part, speech: SpokenPart) => {
    const [chunks, askedMs]: [Float32Array[], number] = [[], clock.monotonicMs()];
    sound.startPart(speech);
    for await (const { isPause, samples } of speech) {
      const nowMs = clock.monotonicMs();
      if (chunks.length === 0) firstAudioMs = nowMs - askedMs;
      watch.take(missing.indexOf(part), samples.length / SAMPLE_RATE_HZ, nowMs, isPause);
      sound.push(samples);
      chunks.push(samples);
    }
    try {
      const phrase = { samples: joined(chunks), words: speech.words };
      if (speech.isWhole) phrases.put(voice.keyOf(part), phrase, part.fresh);
    } catch (error) {
      onLoss(error);
    }
  };
  const makeAll = async () => {
    try {
      for (const [i, part] of parts.entries()) {
        const known = found[i];
        if (known === null) await speakInto(part, voice.speak(part));
        else {
          sound.startPart(known);
          sound.push(known.samples);
        }
      }
      sound.finish();
    } catch (error) {
      sound.finish(error);
    }
    voice.rest();
    return found.includes(null) ? clock.monotonicMs() - startMs : 0;
  };
  const isReady = () => watch.isTime(sound.samples / SAMPLE_RATE_HZ / voice.speed);
  return { sound, isReady, cached: found.filter((phrase) => phrase !== null).length, done: makeAll() };
}

/** Makes what is not kept yet, for another call. @throws what the voice and the file system throw */
export async function prepare(
  parts: readonly Part[],
  voice: Pick<Voice, "keyOf" | "speak" | "rest" | "speed">,
  surroundings: Pick<Surroundings, "clock" | "phrases">,
): Promise<Outcome> {
  let loss: unknown;
  const { cached, done, sound } = make({ parts, start: "complete" }, voice, surroundings, (error) => {
    loss = error;
  });
  await sound.until(() => false);
  if (loss !== undefined) throw loss;
  const seconds = sound.samples / SAMPLE_RATE_HZ;
  return { ...NOTHING, what: "prepared", parts: parts.length, cached, seconds, madeMs: await done };
}

/**
 * Says it when its time and its turn have come, unless there is a reason not to.
 * @throws TtsError SPEAKER_BUSY, OUTPUT_FAILED, and what the voice and the player throw
 */
export async function announce(
  announcement: Announcement,
  voice: Voice,
  surroundings: Surroundings,
  onLoss?: (error: unknown) => void,
): Promise<Outcome> {
  const { appointment, mostWaitMs, priority } = announcement;
  const { clock, folder } = surroundings;
  if (appointment?.kind === "dropped") return { ...NOTHING, what: "late", lateMs: appointment.lateMs };
  const moment = appointment === null ? clock.now() : appointment.moment;
  const refusal = reasonNotTo(announcement, moment, folder);
  if (refusal !== null) return { ...NOTHING, what: refusal };
  const made = make(announcement, voice, surroundings, onLoss);
  if (appointment?.kind === "wait") await until(moment.getTime() - ANNOUNCE_LIMITS.turnLeadMs, clock);
  await made.sound.until(made.isReady);
  const turn = await takeTurn(folder, priority, mostWaitMs, appointment !== null);
  try {
    const outcome = await inTurn(announcement, voice, surroundings, made, turn);
    if (outcome.what === "said") noteHeard(announcement, surroundings, onLoss);
    return outcome;
  } finally {
    turn.end();
  }
}

async function inTurn(
  announcement: Announcement,
  voice: Voice,
  { clock, folder }: Surroundings,
  made: Made,
  turn: Turn,
): Promise<Outcome> {
  const { appointment, mostLateMs, nightVolume, quietHours } = announcement;
  const facts = {
    ...NOTHING,
    parts: announcement.parts.length,
    cached: made.cached,
    waitedMs: turn.waitedMs,
  };
  const now = clock.now();
  const moment = new Date(Math.max(now.getTime(), appointment?.moment.getTime() ?? 0));
  const lateMs = appointment === null ? 0 : moment.getTime() - appointment.moment.getTime();
  if (lateMs > 0 && lateMs >= mostLateMs) return { ...facts, what: "late", lateMs };
  const refusal = reasonNotTo(announcement, moment, folder);
  if (refusal !== null) return { ...facts, what: refusal };
  const player = await voice.openPlayer(isQuiet(quietHours, moment) ? nightVolume : null, turn);
  try {
    await until(moment.getTime(), clock);
    const playable = playableOf(announcement, made.sound, voice);
    const { isWhole, seconds } = await playInTurn(playable, player, turn.isWanted, clock);
    const madeMs = isWhole ? await made.done : 0;
    return { ...facts, what: isWhole ? "said" : "interrupted", seconds, madeMs, lateMs };
  } catch (error) {
    player.abandon();
    throw error;
  }
}

/** Only what was heard to its end counts as said; where that cannot be noted, it is said again next time. */
function noteHeard(
  announcement: Announcement,
  { clock, folder }: Surroundings,
  onLoss: (error: unknown) => void = () => {},
): void {
  try {
    noteSaid(folder, textOf(announcement), clock.now());
  } catch (error) {
    onLoss(error);
  }
}

const textOf = ({ parts }: Announcement) => parts.map(({ text }) => text).join(" ");

function reasonNotTo(announcement: Announcement, moment: Date, folder: string): "quiet" | "repeated" | null {
  const { dedupeMs, nightVolume, quietHours } = announcement;
  if (nightVolume === null && isQuiet(quietHours, moment)) return "quiet";
  return dedupeMs > 0 && wasSaid(folder, textOf(announcement), dedupeMs, moment) ? "repeated" : null;
}

function playableOf(announcement: Announcement, words: GrowingSound, voice: Voice): Playable {
  const { before, repeat } = announcement;
  return {
    sound: soundOf(announcement, words, voice),
    wordEnd(place) {
      const once = Math.round(words.samples / voice.speed) + PAUSE.length;
      const repetition = Math.floor((place - before.length) / once);
      if (repetition < 0 || repetition >= repeat) return null;
      const from = before.length + repetition * once;
      const end = words.wordEnd((place - from) * voice.speed);
      return end === null ? null : from + Math.round(end / voice.speed);
    },
  };
}

async function* soundOf(
  { after, before, repeat }: Announcement,
  words: AsyncIterable<Float32Array>,
  voice: Voice,
): AsyncGenerator<Float32Array> {
  yield before;
  for (let i = 0; i < repeat; i++) {
    if (i > 0) yield PAUSE;
    yield* voice.shaped(words);
  }
  yield after;
}

/** Waits by the clock on the wall, which may be set meanwhile; for no longer than a time may be ahead. */
async function until(moment: number, clock: Clock): Promise<void> {
  const startMs = clock.monotonicMs();
  while (clock.monotonicMs() - startMs <= ANNOUNCE_LIMITS.aheadMs) {
    const leftMs = moment - clock.now().getTime();
    if (leftMs <= 0) return;
    await clock.sleep(Math.min(leftMs, ANNOUNCE_LIMITS.sleepMs));
  }
}
