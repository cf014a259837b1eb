// What the server has done so far, for /metrics and /health. Figures only: no texts, no names.

import type { Summary } from "../engine.ts";

/** Upper bounds of the groups in which first-audio times are counted. */
export const FIRST_AUDIO_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const;

export class Counts {
  readonly startedMs = performance.now();
  /** Speeches that ended, by how: "eos", "length", "cancelled", or the code of a failure. */
  readonly ended = new Map<string, number>();
  /** Speeches that never began, by why. */
  readonly refusals = new Map<string, number>();
  frames = 0;
  audioSeconds = 0;
  wallSeconds = 0;
  /** Milliseconds of each stage's work, all speeches together. */
  readonly stageMs = { talker: 0, predictor: 0, vocoder: 0 };
  promptRows = 0;
  /** Rows of prompts that were known from before. */
  cachedRows = 0;
  repairs = 0;
  /** Speeches whose first sound came within each of {@link FIRST_AUDIO_SECONDS}, and later than all. */
  readonly firstAudio = new Array<number>(FIRST_AUDIO_SECONDS.length + 1).fill(0);
  firstAudioSeconds = 0;

  private get speeches(): number {
    return this.firstAudio.reduce((sum, count) => sum + count, 0);
  }

  /** 1 where nothing is known yet. */
  get meanWallSeconds(): number {
    return this.speeches === 0 ? 1 : this.wallSeconds / this.speeches;
  }

  /** @param failure the code of what ended it early */
  spoken(summary: Summary, failure?: string): void {
    add(this.ended, failure ?? summary.stop);
    this.frames += summary.frames;
    this.audioSeconds += summary.audioSeconds;
    this.wallSeconds += summary.wallSeconds;
    for (const stage of ["talker", "predictor", "vocoder"] as const)
      this.stageMs[stage] += summary.msPerFrame[stage] * summary.frames;
    this.promptRows += summary.prompt.rows;
    this.cachedRows += summary.prompt.cachedRows;
    this.repairs += summary.repairs.length;
    const seconds = summary.firstAudioMs / 1000;
    const group = FIRST_AUDIO_SECONDS.findIndex((bound) => seconds <= bound);
    this.firstAudio[group < 0 ? FIRST_AUDIO_SECONDS.length : group]++;
    this.firstAudioSeconds += seconds;
  }

  refused(reason: string): void {
    add(this.refusals, reason);
  }
}

const add = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1);
