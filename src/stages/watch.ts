// Watches the frames of a sentence: whether it goes on for ever, repeats itself, falls silent, skips text or
// says it twice. Pure; its answers depend on the frames alone, never on how they come.

import { slowFrames } from "../text/spoken-length.ts";
import { CODES_PER_FRAME } from "../types.ts";

/** What can be wrong with a sentence. `endless`: its text was said, or could have been, and it goes on. */
export type FaultKind = "endless" | "repeat" | "silence" | "skipped" | "twice";

export interface Fault {
  kind: FaultKind;
  /** The first frame that is not good any more. */
  from: number;
  /** Offset in the text of what is still to be said; null where nobody knows. */
  rest: number | null;
}

/** Frames of a second are 12.5. From `doubt` on nothing is given out, at `fault` the sentence is cut. */
const LIMITS = {
  silence: { doubt: 13, fault: 38 },
  repeat: { doubt: 8, fault: 25 },
  finished: { doubt: 12, fault: 25 },
} as const;
/** A pause stays where silence is cut off. */
const KEPT_SILENCE = 4;
/** Frames of the longest pattern that counts as one when it repeats. */
const LONGEST_PATTERN = 8;
/** Words that one frame may pass over, or go back. */
const WORDS_ASTRAY = 2;
/** The path of the attention leaps so many frames after the talker has. */
const LEAP_DELAY = 2;

/** For breath before and behind. */
const SLACK_FRAMES = 50;

/** The most frames that a text may take. */
export const frameBudget = (text: string): number => SLACK_FRAMES + slowFrames(text);

export class Watch {
  /** Why the sentence must be cut, or null. */
  fault: Fault | null = null;
  /** Frames from here on are doubtful; null: none are. */
  doubtful: number | null = null;
  private frames = 0;
  private readonly budget: number;
  /** i32: the codes of the last frames, the newest last. */
  private readonly recent: number[][] = [];
  /** By length of a pattern: frames that were equal to the one so long before. */
  private readonly repeated = Array.from({ length: LONGEST_PATTERN + 1 }, () => 0);
  private silent = 0;
  private finished = 0;
  /** The word being said, and how far the text was said; -1 before the first one. */
  private word = -1;
  private reached = -1;

  /** @param words where the words of the text lie in it */
  constructor(
    text: string,
    private readonly words: readonly { from: number; to: number }[],
  ) {
    this.budget = frameBudget(text);
  }

  /**
   * Takes in a frame.
   * @param codes i32 [16], from `at` on
   * @param isSilent whether nothing is heard of it
   * @param textAt offset of the token that it says, or -1
   */
  take(codes: Int32Array, at: number, isSilent: boolean, textAt: number): void {
    if (this.fault !== null) return;
    const now = ++this.frames;
    this.doubtful = null;
    this.silent = isSilent ? this.silent + 1 : 0;
    this.count("silence", this.silent, KEPT_SILENCE);
    this.count("repeat", this.repeats(codes, at), 0);
    if (textAt >= 0) this.follow(textAt);
    this.count("finished", this.finished, KEPT_SILENCE);
    if (now >= this.budget) this.cut("endless", now);
  }

  /** @param kept frames of the stretch that are good */
  private count(what: keyof typeof LIMITS, frames: number, kept: number): void {
    const { doubt, fault } = LIMITS[what];
    const from = this.frames - frames + kept;
    if (frames >= fault) this.cut(what === "finished" ? "endless" : what, from);
    else if (frames >= doubt) this.doubtful = Math.min(this.doubtful ?? from, from, this.frames);
  }

  /** Frames so far of the pattern that repeats, without its first time. Silence has a limit of its own. */
  private repeats(codes: Int32Array, at: number): number {
    const frame = Array.from({ length: CODES_PER_FRAME }, (_, i) => codes[at + i]);
    let most = 0;
    for (let length = 1; length <= LONGEST_PATTERN; length++) {
      const before = this.recent.at(-length);
      const isEqual = before?.every((code, i) => code === frame[i]) ?? false;
      this.repeated[length] = isEqual && this.silent === 0 ? this.repeated[length] + 1 : 0;
      most = Math.max(most, this.repeated[length]);
    }
    this.recent.push(frame);
    if (this.recent.length > LONGEST_PATTERN) this.recent.shift();
    return most;
  }

  private follow(textAt: number): void {
    const { words } = this;
    const last = words.length - 1;
    this.finished = last >= 0 && textAt >= words[last].to ? this.finished + 1 : 0;
    const word = words.findIndex(({ from, to }) => textAt >= from && textAt < to);
    if (word < 0) {
      if (this.word >= 0 && textAt >= words[this.word].to) this.reached = Math.max(this.reached, textAt);
      return;
    }
    const before = this.word;
    if (before >= 0 && word > before + WORDS_ASTRAY) this.cut("skipped", this.frames - 1 - LEAP_DELAY);
    else if (word < before - WORDS_ASTRAY + 1) this.cut("twice", this.frames - 1 - LEAP_DELAY);
    else [this.word, this.reached] = [Math.max(word, before), Math.max(this.reached, textAt)];
  }

  private cut(kind: FaultKind, from: number): void {
    this.fault ??= { kind, from: Math.max(0, from), rest: this.rest() };
  }

  /** A word that was all but said counts as said. */
  private rest(): number | null {
    const { reached, word, words } = this;
    if (words.length === 0 || word < 0) return null;
    const next = reached >= words[word].to - 2 ? word + 1 : word;
    return next < words.length ? words[next].from : words[words.length - 1].to;
  }
}
