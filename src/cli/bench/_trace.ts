// The trace that Chrome (about:tracing) and Perfetto show: a process per configuration, a track per thread, a
// slice per piece of work, the opening of the model included.

import type { Slice, StageName } from "../../engine.ts";
import { weightsInWords } from "../../formats/bundle.ts";
import type { Round, Subject } from "./_run.ts";

/** Times in microseconds. */
interface TraceEvent {
  name: string;
  /** X: a slice, i: a moment, M: a name. */
  ph: "X" | "i" | "M";
  pid: number;
  tid: number;
  ts?: number;
  dur?: number;
  /** How far the line of a moment reaches; t: across its thread. */
  s?: "t";
  args?: Record<string, unknown>;
}

const TRACKS: Record<"engine" | StageName, number> = { engine: 1, talker: 2, predictor: 3, vocoder: 4 };
const NAMES: Record<Slice["kind"], string> = {
  prefill: "prefill",
  step: "talker step",
  exchange: "predictor's turn",
  predict: "predictor frame",
  decode: "vocoder chunk",
  recall: "known prompt",
};

export function traceOf(subjects: Subject[]): string {
  const rounds = subjects.flatMap((subject) => subject.rounds);
  const opened = subjects.flatMap(({ opening }) => opening);
  const originMs = Math.min(...[...rounds, ...opened].map(({ startMs }) => startMs));
  const ts = (ms: number) => Math.round((ms - originMs) * 1e3);
  const events = subjects.flatMap((subject, i) => [
    ...namesOf(subject, i + 1),
    ...subject.opening.map((step) => slice(step.what, i + 1, TRACKS[step.thread], step, ts)),
    ...subject.rounds.flatMap((round) => eventsOf(round, i + 1, ts)),
  ]);
  return `${JSON.stringify({ displayTimeUnit: "ms", traceEvents: events })}\n`;
}

function namesOf({ backends, bundle, setting }: Subject, pid: number): TraceEvent[] {
  const { name, weights } = bundle.manifest;
  const title = `${name} ${weightsInWords(weights)}, lanes ${setting.lanes}, threads ${setting.threads}`;
  const tracks = Object.entries(TRACKS).map(([track, tid]): TraceEvent => {
    const backend = backends[track] === undefined ? "" : ` (${backends[track]})`;
    return { name: "thread_name", ph: "M", pid, tid, args: { name: `${track}${backend}` } };
  });
  return [{ name: "process_name", ph: "M", pid, tid: 0, args: { name: title } }, ...tracks];
}

function slice(
  name: string,
  pid: number,
  tid: number,
  { endMs, startMs }: { startMs: number; endMs: number },
  ts: (ms: number) => number,
): TraceEvent {
  return { name, ph: "X", pid, tid, ts: ts(startMs), dur: ts(endMs) - ts(startMs) };
}

function eventsOf({ slices, spoken }: Round, pid: number, ts: (ms: number) => number): TraceEvent[] {
  const moment = (name: string, ms: number, lane: number): TraceEvent => {
    return { name, ph: "i", s: "t", pid, tid: TRACKS.engine, ts: ts(ms), args: { lane } };
  };
  const moments = spoken.flatMap(({ endedMs, firstMs, heardMs, submittedMs }, lane) => [
    moment("submit", submittedMs, lane),
    ...(firstMs > 0 ? [moment("first audio", firstMs, lane)] : []),
    ...(heardMs > 0 ? [moment("first heard", submittedMs + heardMs, lane)] : []),
    moment("end", endedMs, lane),
  ]);
  const works = (Object.keys(slices) as StageName[]).flatMap((stage) =>
    slices[stage].map((work): TraceEvent => {
      return { ...slice(NAMES[work.kind], pid, TRACKS[stage], work, ts), args: { rows: work.rows } };
    }),
  );
  return [...moments, ...works];
}
