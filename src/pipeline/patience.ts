// How long a stage may take, which stage is late, and the error that says so. Time in which this process
// itself was stopped (Ctrl-Z, sleep) does not count.

import type { Opening } from "../backends/stage.ts";
import { type Config, LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import type { Timeline } from "../stages/timeline.ts";
import { STAGES, type StageName } from "../types.ts";

export interface StageState {
  /** The engine: all stages as one process. */
  stage: StageName | "engine";
  /** What it is opening, or has opened; null before it says so. */
  opening: Opening | null;
  isReady: boolean;
}

/** Opening files on a slow disk takes long; a call into an accelerator's driver does not, unless it hangs. */
const mayHang = ({ isReady, opening }: StageState) => isReady || opening?.isAccelerator === true;

/** Milliseconds that a stage may go without a sign of life. */
export const patienceWith = (state: StageState, { stageTimeoutMs }: Pick<Config, "stageTimeoutMs">) =>
  mayHang(state) ? stageTimeoutMs : LIMITS.startTimeoutMs;

/** @param waitedMs from {@link patienceWith} */
export function lateStage(state: StageState, waitedMs: number): TtsError {
  const { isReady, opening, stage } = state;
  const what = `the ${stage}${opening === null ? "" : ` (${opening.backend})`}`;
  const seconds = Math.round(waitedMs / 1000);
  const hints = [
    ...(opening?.isAccelerator === true ? [`{${stage}} ort does without it`] : []),
    mayHang(state) ? "TTS_STAGE_TIMEOUT is the patience in seconds" : "tts doctor looks at disk and memory",
  ];
  const message = isReady
    ? `${what} has given no sign for ${seconds} s`
    : `${what} was not ready after ${seconds} s`;
  return new TtsError("STAGE_TIMEOUT", message, hints.join("; "));
}

/**
 * Calls `late` when this process has run for this long, and `meanwhile` every slice until then.
 * @returns a function that stops the countdown
 */
export function countDown(milliseconds: number, late: () => void, meanwhile = () => {}): () => void {
  const sliceMs = Math.min(milliseconds, LIMITS.waitSliceMs);
  let [leftMs, beforeMs] = [milliseconds, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    leftMs -= Math.min(now - beforeMs, 2 * sliceMs);
    beforeMs = now;
    meanwhile();
    if (leftMs > 0) return;
    clearInterval(timer);
    late();
  }, sliceMs).unref();
  return () => clearInterval(timer);
}

/**
 * Finds a running stage that owes something and has given no sign of life for too long. Judges each stage by
 * itself: others may be busy.
 */
export class Watch {
  /** Per stage: its count of signs when that last grew or the stage owed nothing, and the time of that. */
  private readonly signs = STAGES.map(() => 0);
  private readonly sinceMs = STAGES.map(() => 0);
  private lookedMs = 0;

  constructor(
    private readonly timeline: Timeline,
    private readonly owes: (stage: StageName) => boolean,
    private readonly patienceMs: number,
  ) {}

  /**
   * Call it at least once per slice while somebody waits. After a longer gap the stages count as rested,
   * since nobody listened.
   */
  look(now: number): StageName | null {
    const rested = now - this.lookedMs >= 4 * LIMITS.waitSliceMs;
    this.lookedMs = now;
    let late: StageName | null = null;
    for (const [i, stage] of STAGES.entries()) {
      const { signs } = this.timeline.tracks[stage];
      if (rested || signs !== this.signs[i] || !this.owes(stage))
        [this.signs[i], this.sinceMs[i]] = [signs, now];
      else if (now - this.sinceMs[i] >= this.patienceMs) late = stage;
    }
    return late;
  }
}
