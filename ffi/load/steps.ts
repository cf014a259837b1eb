// What the calling thread has opened so far, and when: libraries, models, sessions. The trace of a start is
// made of it.

import { monotonicMs } from "../libc.ts";

/** Times are those of {@link monotonicMs}. */
export interface Step {
  what: string;
  startMs: number;
  endMs: number;
}

/** More are not kept: a test may open things all day. */
const MOST_STEPS = 64;
const steps: Step[] = [];

/** Does `work`, and notes how long it took. */
export function noted<T>(what: string, work: () => T): T {
  const startMs = monotonicMs();
  const result = work();
  if (steps.length < MOST_STEPS) steps.push({ what, startMs, endMs: monotonicMs() });
  return result;
}

/** The steps of this thread since the last call. */
export const takeSteps = (): Step[] => steps.splice(0);
