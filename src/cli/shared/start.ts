// The trace of a start for people: when each thread opened what, in milliseconds since the process began.

import { monotonicMs } from "../../../ffi/libc.ts";
import type { Engine, OpeningStep, Slice } from "../../engine.ts";
import { log } from "./log.ts";

/** The monotonic clock when the process began. */
const processStartMs = () => monotonicMs() - performance.now();

/** A line for each thread. What came before the engine was asked to open is the program itself. */
export function tellOpening({ opening }: Engine): void {
  const originMs = processStartMs();
  const within = ({ endMs, startMs, what }: Omit<OpeningStep, "thread">) =>
    `${what} ${(startMs - originMs).toFixed(0)} to ${(endMs - originMs).toFixed(0)}`;
  const program = { what: "program", startMs: originMs, endMs: opening[0].startMs };
  for (const thread of new Set(opening.map((step) => step.thread))) {
    const steps = opening.filter((step) => step.thread === thread);
    const all = thread === "engine" ? [program, ...steps] : steps;
    log.debug(`start, ms: ${thread}: ${all.map(within).join(", ")}`);
  }
}

/** The way of the first frame through the stages; known once something was spoken. */
export function tellFirstSound({ timeline: { tracks } }: Engine): void {
  const originMs = processStartMs();
  const first = ([slice]: Slice[]) => (slice === undefined ? "never" : (slice.endMs - originMs).toFixed(0));
  const ends = [
    `prompt ${first(tracks.talker.since(0))}`,
    `codes ${first(tracks.predictor.since(0))}`,
    `sound ${first(tracks.vocoder.since(0))}`,
  ];
  log.debug(`first frame, ms: ${ends.join(", ")}`);
}
