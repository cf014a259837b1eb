// Gives sound to a player: little ahead of what is heard, so that an urgent announcement can interrupt it.

import { monotonicMs } from "../../ffi/libc.ts";
import type { Sink } from "../audio/sink.ts";
import { ANNOUNCE_LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";

/** A sink that is heard. `finish` waits until it was heard to the end, `abandon` ends it at once. */
export type Player = Sink;

/** What tells the time and waits; tests have their own. */
export interface Clock {
  now(): Date;
  /** Milliseconds of a clock that nobody sets. */
  monotonicMs(): number;
  sleep(ms: number): Promise<void>;
}

/** Sound to play, in order. */
export interface Playable {
  sound: AsyncIterable<Float32Array>;
  /**
   * The place, in samples, where the word ends that is said at another place; null: no word is known to be
   * said there.
   */
  wordEnd(place: number): number | null;
}

export interface Played {
  /** Whether all of it was given to the player. */
  isWhole: boolean;
  /** What was given to the player. */
  seconds: number;
}

/** 20 ms: short enough to find a silence between words. */
const BLOCK = SAMPLE_RATE_HZ / 50;
/** -45 dB of full scale; breath and noise of a voice lie below. */
const SILENCE = 10 ** (-45 / 20);
/** Word ends are known to a frame: the quietest block this near is taken. */
const NEAR = 3 * BLOCK;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * Plays sound and waits until it was heard. When an urgent announcement waits, it ends with the word; a
 * player that does not let it end in time has failed.
 * @throws TtsError OUTPUT_FAILED
 */
export async function playInTurn(
  playable: Playable,
  player: Player,
  isWanted: () => boolean,
  clock: Clock,
): Promise<Played> {
  let wantedMs = Number.NaN;
  const wasWanted = () => {
    if (Number.isNaN(wantedMs) && isWanted()) wantedMs = monotonicMs();
    return !Number.isNaN(wantedMs);
  };
  const { hangMs } = ANNOUNCE_LIMITS;
  const hang = Promise.withResolvers<never>();
  const timer = setInterval(() => {
    if (!wasWanted() || monotonicMs() - wantedMs < hangMs) return;
    const what = `the player has made no room for an urgent announcement in ${hangMs / 1_000} s`;
    hang.reject(new TtsError("OUTPUT_FAILED", what, "choose another with {player}"));
  }, hangMs / 8);
  const playing = play(playable, player, wasWanted, clock).then(async (played) => {
    await player.finish();
    return played;
  });
  return Promise.race([playing, hang.promise]).finally(() => clearInterval(timer));
}

/**
 * Gives sound to the player, until an urgent announcement waits: then up to the end of the word, or the next
 * silence where no words are known, or for {@link ANNOUNCE_LIMITS.silenceSeconds} if there is neither.
 */
async function play(
  { sound, wordEnd }: Playable,
  player: Player,
  isWanted: () => boolean,
  clock: Clock,
): Promise<Played> {
  const leadMs = 1_000 * ANNOUNCE_LIMITS.leadSeconds;
  let [startMs, given, lookedMs] = [Number.NaN, 0, Number.NEGATIVE_INFINITY];
  let [latest, stop] = [NEVER, NEVER]; // where it ends at the latest, and where it ends
  for await (const samples of sound) {
    const from = given;
    for (let at = 0; at < samples.length; at += BLOCK) {
      const block = samples.subarray(at, at + BLOCK);
      const nowMs = clock.monotonicMs();
      if (latest === NEVER && nowMs - lookedMs >= ANNOUNCE_LIMITS.pollMs) {
        lookedMs = nowMs;
        if (isWanted()) latest = given + ANNOUNCE_LIMITS.silenceSeconds * SAMPLE_RATE_HZ;
      }
      if (latest !== NEVER && stop === NEVER) stop = from + stopIn(samples, at, wordEnd(given), from);
      if (Math.min(stop, latest) < given + block.length) {
        const last = Math.max(0, Math.min(stop, latest) - given);
        await player.write(samples.subarray(at, at + last));
        const faded = fadedOut(samples.subarray(at + last, at + last + BLOCK));
        await player.write(faded);
        return { isWhole: false, seconds: (given + last + faded.length) / SAMPLE_RATE_HZ };
      }
      await player.write(block);
      if (Number.isNaN(startMs)) startMs = nowMs;
      given += block.length;
      const aheadMs = (1_000 * given) / SAMPLE_RATE_HZ - (clock.monotonicMs() - startMs);
      if (aheadMs < 0) startMs -= aheadMs; // the sound was late: the player waits as well
      if (aheadMs > leadMs) await clock.sleep(aheadMs - leadMs);
    }
  }
  return { isWhole: true, seconds: given / SAMPLE_RATE_HZ };
}

/** Where in `samples` an interrupted one ends, from `at` on; Infinity: not known yet. */
function stopIn(samples: Float32Array, at: number, wordEnd: number | null, from: number): number {
  const end = wordEnd === null ? NEVER : wordEnd - from;
  if (wordEnd === null) return powerOf(samples.subarray(at, at + BLOCK)) < SILENCE ? at : NEVER;
  if (end > samples.length) return NEVER;
  let [quietest, least] = [end, NEVER];
  for (
    let near = Math.max(at, end - NEAR);
    near <= Math.min(end + NEAR, samples.length - BLOCK);
    near += BLOCK
  ) {
    const power = powerOf(samples.subarray(near, near + BLOCK));
    if (power < least) [quietest, least] = [near, power];
  }
  return quietest;
}

const powerOf = (block: Float32Array) =>
  Math.sqrt(block.reduce((sum, sample) => sum + sample * sample, 0) / block.length);

const fadedOut = (block: Float32Array) => block.map((sample, i) => sample * (1 - i / block.length));
