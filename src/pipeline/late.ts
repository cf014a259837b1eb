// How long a stage may take, and what is said of one that takes longer: the same in an engine and in a server. Pure.

import type { Opening } from "../backends/index.ts";
import { type Config, LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import type { StageName } from "./wire.ts";

export interface StageState {
  stage: StageName;
  /** What it opens, or has opened; null before it says so. */
  opening: Opening | null;
  isReady: boolean;
}

/** Opening files on a slow disk takes long; a call into an accelerator's driver does not, unless it hangs. */
const mayHang = ({ isReady, opening }: StageState) => isReady || opening?.isAccelerator === true;

/** Milliseconds without a sign of life. */
export const patienceWith = (state: StageState, { stageTimeoutMs }: Pick<Config, "stageTimeoutMs">) =>
  mayHang(state) ? stageTimeoutMs : LIMITS.startTimeoutMs;

/** @param waitedMs as {@link patienceWith} has it */
export function lateStage(state: StageState, waitedMs: number): TtsError {
  const { isReady, opening, stage } = state;
  const what = `the ${stage}${opening === null ? "" : ` (${opening.backend})`}`;
  const seconds = Math.round(waitedMs / 1000);
  const hints = [
    ...(opening?.isAccelerator === true ? [`--${stage} ort does without it`] : []),
    mayHang(state) ? "TTS_STAGE_TIMEOUT is the patience in seconds" : "tts doctor looks at disk and memory",
  ];
  const message = isReady ? `${what} has given no sign for ${seconds} s` : `${what} was not ready after ${seconds} s`;
  return new TtsError("STAGE_TIMEOUT", message, hints.join("; "));
}
