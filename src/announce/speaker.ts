// Gives sound to a player: little ahead of what is heard, so that an urgent announcement can interrupt it.

import type { Sink } from "../audio/sink.ts";
import { ANNOUNCE_LIMITS } from "../config.ts";
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

/** 20 ms: short enough to find a silence between words. */
const BLOCK = SAMPLE_RATE_HZ / 50;
/** -45 dB of full scale; breath and noise of a voice lie below. */
const SILENCE = 10 ** (-45 / 20);

/**
 * Plays sound to its end, or until an urgent announcement waits: then up to the next silence, or for
 * {@link ANNOUNCE_LIMITS.silenceSeconds} if there is none.
 * @returns whether all of it was given to the player
 */
export async function play(
  sound: AsyncIterable<Float32Array>,
  player: Player,
  isWanted: () => boolean,
  clock: Clock,
): Promise<boolean> {
  const leadMs = 1_000 * ANNOUNCE_LIMITS.leadSeconds;
  const mostLeft = ANNOUNCE_LIMITS.silenceSeconds * SAMPLE_RATE_HZ;
  let [startMs, given, lookedMs] = [Number.NaN, 0, Number.NEGATIVE_INFINITY];
  let left = Number.POSITIVE_INFINITY; // samples until it ends at the latest
  for await (const samples of sound) {
    for (let at = 0; at < samples.length; at += BLOCK) {
      const block = samples.subarray(at, at + BLOCK);
      const nowMs = clock.monotonicMs();
      if (left === Number.POSITIVE_INFINITY && nowMs - lookedMs >= ANNOUNCE_LIMITS.pollMs) {
        lookedMs = nowMs;
        if (isWanted()) left = mostLeft;
      }
      if (left !== Number.POSITIVE_INFINITY && (left <= 0 || isSilent(block))) {
        await player.write(fadedOut(block));
        return false;
      }
      await player.write(block);
      if (Number.isNaN(startMs)) startMs = nowMs;
      given += block.length;
      left -= block.length;
      const aheadMs = (1_000 * given) / SAMPLE_RATE_HZ - (clock.monotonicMs() - startMs);
      if (aheadMs < 0) startMs -= aheadMs; // the sound was late: the player waits as well
      if (aheadMs > leadMs) await clock.sleep(aheadMs - leadMs);
    }
  }
  return true;
}

const isSilent = (block: Float32Array) =>
  Math.sqrt(block.reduce((sum, sample) => sum + sample * sample, 0) / block.length) < SILENCE;

const fadedOut = (block: Float32Array) => block.map((sample, i) => sample * (1 - i / block.length));
