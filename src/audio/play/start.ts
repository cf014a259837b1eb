// When a player starts, where sound is made slower than it plays: as early as it then never has to wait. Pure
// but for the clock that it is given.

import { FRAMES_PER_SECOND } from "../../types.ts";
import type { Sink } from "../sink.ts";
import type { Player } from "./player.ts";

/** At once; so that playing never breaks off; when all the sound is there. */
export const START_CHOICES = ["now", "safe", "complete"] as const;
export type StartChoice = (typeof START_CHOICES)[number];

/** What is known of the sound before it is made. */
export interface Course {
  /**
   * About how many seconds of speech each sentence has in all.
   * @param made seconds made of each so far; the last one is under way
   */
  seconds(made: readonly number[]): number[];
  /** Seconds of the pause before a sentence, or behind the last one at their number. */
  pauseSeconds(sentence: number): number;
  /** From the end of one sentence to the first sound of the next, about. */
  gapSeconds(): number;
}

/** Of codes, whose sentences are of known length, as are the pauses before them. */
export const knownCourse = (seconds: readonly number[], pauses: readonly number[] = []): Course => ({
  seconds: () => [...seconds],
  pauseSeconds: (sentence) => pauses[sentence] ?? 0,
  gapSeconds: () => 0,
});

/**
 * UTF-8 bytes tell the length of speech better than characters do: one of Chinese takes as long as three of
 * English. The starter voice takes 0.06 s for a byte of IPA.
 */
const SECONDS_PER_BYTE = 0.075;
/** Sentences differ in their pace. */
const MARGIN = 1.15;

/** For a text: from the pace of the sentences that are done. */
export function courseOf(speech: {
  readonly sentences: readonly string[];
  readonly pauses: ReadonlyMap<number, number>;
  readonly settings: { maxFrames: number };
  summary(): { firstAudioMs: number };
}): Course {
  const bytes = (text: string) => Buffer.byteLength(text);
  const mostSeconds = speech.settings.maxFrames / FRAMES_PER_SECOND;
  return {
    seconds(made) {
      const done = made.slice(0, -1);
      const doneBytes = speech.sentences.slice(0, done.length).reduce((sum, text) => sum + bytes(text), 0);
      const doneSeconds = done.reduce((sum, seconds) => sum + seconds, 0);
      const pace = doneBytes === 0 ? SECONDS_PER_BYTE : (MARGIN * doneSeconds) / doneBytes;
      return speech.sentences.map((text) => Math.min(mostSeconds, pace * bytes(text)));
    },
    pauseSeconds: (sentence) => (speech.pauses.get(sentence) ?? 0) / 1000,
    gapSeconds: () => speech.summary().firstAudioMs / 1000,
  };
}

/** Sound comes in pieces of up to four frames. */
const PIECE_SECONDS = 0.32;
/** Sound that must have come before its speed is believed, after the first piece. */
const MEASURED_SECONDS = 0.15;
/** Other programs may need the processor later on. */
const TRUST = 0.9;

export interface Prospect {
  /** Sound that is there, as it will play. */
  heldSeconds: number;
  /** Speech still to come, sentence by sentence; the first is under way. */
  leftSeconds: readonly number[];
  /** Silence still to come before each of them, and behind the last: it takes no time to make. */
  pauseSeconds: readonly number[];
  /** Seconds of speech that are made in a second. */
  speed: number;
  gapSeconds: number;
}

/** Whether a player that starts now has every piece in time. */
export function neverWaits({ gapSeconds, heldSeconds, leftSeconds, pauseSeconds, speed }: Prospect): boolean {
  let [atSeconds, thereSeconds] = [0, heldSeconds];
  for (const [i, seconds] of leftSeconds.entries()) {
    thereSeconds += pauseSeconds[i] ?? 0;
    if (seconds === 0) continue;
    const piece = Math.min(seconds, PIECE_SECONDS);
    if (i > 0) atSeconds += gapSeconds;
    if (atSeconds + piece / speed > thereSeconds) return false; // its first piece
    atSeconds += seconds / speed;
    thereSeconds += seconds;
    if (atSeconds > thereSeconds - piece) return false; // and its last one
  }
  return true;
}

/** Watches the sound as it is made, and says when a player may start. */
export class StartWatch {
  private course: Course | null = null;
  /** Seconds of speech made, by sentence. */
  private readonly made: number[] = [];
  private total = 0;
  /** Of the pause before the sentence that came last. */
  private paused = 0;
  private beganMs: number | null = null;
  private first: { atMs: number; seconds: number } | null = null;
  private lastMs = 0;

  /** @param tempo how many times faster it is played than spoken */
  constructor(
    readonly choice: StartChoice,
    private readonly tempo = 1,
  ) {}

  follow(course: Course): void {
    this.course = course;
  }

  /** A piece has come: speech, or a pause, which tells nothing of how fast speech is made. */
  take(sentence: number, seconds: number, nowMs: number, isPause = false): void {
    this.beganMs ??= nowMs;
    if (this.made.length <= sentence) this.paused = 0;
    while (this.made.length <= sentence) this.made.push(0);
    if (isPause) {
      this.paused += seconds;
      return;
    }
    this.made[sentence] += seconds;
    this.total += seconds;
    this.first ??= { atMs: nowMs, seconds };
    this.lastMs = nowMs;
  }

  /** null: not known yet */
  prospect(heldSeconds: number): Prospect | null {
    const { beganMs, course, first, lastMs, made, paused, tempo, total } = this;
    if (course === null || first === null || total - first.seconds < MEASURED_SECONDS) return null;
    const current = made.length - 1;
    const all = course.seconds(made);
    const leftSeconds = all.slice(current).map((seconds, i) => {
      return Math.max(0, seconds - (i === 0 ? made[current] : 0)) / tempo;
    });
    const pauseSeconds = Array.from({ length: leftSeconds.length + 1 }, (_, i) => {
      const seconds = course.pauseSeconds(current + i);
      if (i > 0) return seconds / tempo;
      return made[current] > 0 ? 0 : Math.max(0, seconds - paused) / tempo;
    });
    const speed = (total - first.seconds) / tempo / Math.max(1e-3, (lastMs - first.atMs) / 1000);
    // a pause at the start comes before the first prompt is done
    const gapSeconds = Math.max(course.gapSeconds(), (first.atMs - beganMs!) / 1000);
    return { heldSeconds, leftSeconds, pauseSeconds, speed: TRUST * speed, gapSeconds };
  }

  /** Whether a player that has been given `heldSeconds` may start. */
  isTime(heldSeconds: number): boolean {
    if (this.choice !== "safe") return this.choice === "now";
    const prospect = this.prospect(heldSeconds);
    return prospect !== null && neverWaits(prospect);
  }
}

/** The player as a sink that begins in time. `onStart` is told why once, in words. */
export function startedBy(player: Player, watch: StartWatch, onStart: (why: string) => void): Sink {
  let started = false;
  const begin = (why: string) => {
    if (!started) onStart(`${player.command.name} starts with ${player.seconds.toFixed(2)} s of sound${why}`);
    started = true;
    player.begin();
  };
  return {
    async write(samples) {
      await player.write(samples);
      if (!started && watch.isTime(player.seconds)) begin(reasonOf(watch.prospect(player.seconds)));
    },
    finish() {
      begin(": all of it");
      return player.finish();
    },
    abandon: () => player.abandon(),
  };
}

function reasonOf(prospect: Prospect | null): string {
  if (prospect === null) return "";
  const { leftSeconds, pauseSeconds } = prospect;
  const left = [...leftSeconds, ...pauseSeconds].reduce((sum, seconds) => sum + seconds, 0);
  const speed = (prospect.speed / TRUST).toFixed(2);
  return ` of about ${(prospect.heldSeconds + left).toFixed(1)} s: a second makes ${speed} s of it`;
}
