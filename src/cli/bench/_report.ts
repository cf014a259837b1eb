// The figures for people: one block per configuration, aligned, and what changed since an earlier result.

import { changesOf, sameRun } from "./_compare.ts";
import {
  type BenchMachine,
  type KnownPerPart,
  PARTS,
  type PerPart,
  type Result,
  type Run,
} from "./_figures.ts";

const INDENT = "  ";
/** Width of the names at the start of the lines. */
const NAME_WIDTH = 13;
const NO_VALUE = "–";
/** Threads that used less than this share of a core are summed as others. */
const LEAST_SHARE = 0.01;

export function reportOf(
  { machine, runs }: Result,
  width: number,
  before: Result | null,
  beforePath: string,
): string {
  const blocks = [machineLines(machine), ...runs.map((run) => runLines(run, width))];
  if (runs.length > 1) blocks.push(overview(runs));
  if (before !== null) blocks.push(comparison({ machine, runs }, before, beforePath));
  return `${blocks.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** Decimals with which a value of at least 0.1 has three digits. */
const decimalsOf = (value: number) => (value < 0.9995 ? 3 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
const short = (value: number) => value.toFixed(decimalsOf(value));

/** Formats a column: the largest value has three digits, and the decimal points stand below each other. */
function column(values: (number | null)[]): string[] {
  const decimals = decimalsOf(Math.max(...values.map((value) => value ?? 0)));
  return values.map((value) => value?.toFixed(decimals) ?? NO_VALUE);
}

/** Columns to rows. */
const rowsOf = (columns: string[][]) => columns[0].map((_, row) => columns.map((cells) => cells[row]));

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function machineLines({ bandwidthGbPerSecond, cores, cpu, features, memoryMb }: BenchMachine): string[] {
  const speeds = Object.entries(bandwidthGbPerSecond).map(
    ([threads, speed]) => `${short(speed)} GB/s with ${plural(Number(threads), "thread")}`,
  );
  return [
    `${cpu}, ${plural(cores, "core")}, ${(memoryMb / 1000).toFixed(1)} GB`,
    ...(features.length > 0 ? [`${INDENT}${features.join(" ")}`] : []),
    `${INDENT}memory reads ${speeds.join(", ")}`,
  ];
}

const titleOf = ({ lanes, model, predictor, pretendedCodes, speculate, threads, weights }: Run) => {
  const guesses = speculate === "auto" ? "" : `, speculate ${speculate}`;
  const pretended = pretendedCodes === null ? "" : `, PRETENDED ${pretendedCodes} codes a call`;
  return `${model} ${weights}, predictor ${predictor}${guesses}, ${plural(lanes, "lane")}, ${plural(threads, "thread")}${pretended}`;
};

/** Aligns the first column to the left and the others to the right. */
function table(rows: string[][]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  widths[0] = Math.max(widths[0], NAME_WIDTH - INDENT.length);
  return rows.map((row) => {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]),
    );
    return `${INDENT}${cells.join(INDENT)}`.trimEnd();
  });
}

function runLines(run: Run, width: number): string[] {
  const made = run.framesMade / run.lanes;
  const lanes = run.lanes === 1 ? "" : ` in every lane, ${run.lanesPerTurn} lanes a turn`;
  const parts = (values: PerPart | KnownPerPart, unit = 1) => {
    return column(PARTS.map((part) => (values[part] === null ? null : values[part] / unit)));
  };
  // the share of the memory bandwidth that 1 GB/s is
  const shareOfOne = run.bandwidthShare / Math.max(1e-9, run.gbPerSecond.generation);
  const shares = PARTS.map((part) => run.gbPerSecond[part]).map((speed) =>
    speed === null ? NO_VALUE : percent(speed * shareOfOne),
  );
  const stages = rowsOf([
    [...PARTS],
    parts(run.msPerFrame),
    parts(run.msPerFrameP90),
    parts(run.bytes, 1e6),
    parts(run.flopPerFrame, 1e9),
    parts(run.gbPerSecond),
    shares,
  ]);
  return [
    titleOf(run),
    `${INDENT}medians of ${plural(run.repeat, "round")}, ${plural(Math.round(made), "frame")} each${lanes}`,
    "",
    ...table([["per frame", "ms", "p90", "MB", "GFLOP", "GB/s", "of memory"], ...stages]),
    ...(run.pretendedCodes === null
      ? []
      : [`${INDENT}wrong guesses of codes were taken as right: the codes, and so the sound, mean nothing`]),
    ...(run.bandwidthShare > 1
      ? [`${INDENT}above 100 %: part of the weights stayed in the processor's caches`]
      : []),
    "",
    ...pairs([
      ["RTF", run.rtf.toFixed(3), "first audio", `${short(run.firstAudioMs)} ms`],
      ["load", `${short(run.loadMs)} ms`, "first heard", `${short(run.firstHeardMs)} ms`],
    ]),
    named("prefill", `${short(run.prefillMs)} ms, ${plural(run.prefillRows, "row")}`),
    named("calls", `${short(run.callsPerFrame)} of the predictor per frame${draftsOf(run)}`),
    named(
      "memory",
      `${short(run.rssMb)} MB: own ${short(run.rssAnonMb)}, files ${short(run.rssFileMb)}; ${short(run.mappedMb)} of the model mapped`,
    ),
    ...wrap("threads", threadParts(run), width),
  ];
}

function draftsOf({ pretendedCodes, rightDrafts }: Run): string {
  if (rightDrafts.length === 0) return "";
  const shares = rightDrafts.map((share) => percent(share)).join(", then ");
  return `; drafts ${pretendedCodes === null ? "right" : "taken as right"}: ${shares}`;
}

const named = (name: string, value: string) => `${INDENT}${name.padEnd(NAME_WIDTH)}${value}`;

/** Puts two names with their values on a line. */
function pairs(rows: [string, string, string, string][]): string[] {
  const middle = Math.max(...rows.map(([, value]) => value.length)) + 2 * INDENT.length;
  return rows.map(([name, value, name2, value2]) =>
    named(name, `${value.padEnd(middle)}${name2.padEnd(NAME_WIDTH)}${value2}`),
  );
}

/** Shares of one core's time during a round. Queued means ready to run while no core was free. */
function threadParts({ threadTimes, wallMs }: Run): string[] {
  const busy = threadTimes.filter(({ cpuMs }) => cpuMs >= LEAST_SHARE * wallMs);
  const rest = threadTimes
    .filter((use) => !busy.includes(use))
    .reduce((total, { cpuMs }) => total + cpuMs, 0);
  const parts = busy.map(({ count, cpuMs, name, queuedMs }) => {
    const waited = queuedMs >= LEAST_SHARE * wallMs ? ` (queued ${percent(queuedMs / wallMs)})` : "";
    return `${name}${count > 1 ? ` × ${count}` : ""} ${percent(cpuMs / wallMs)}${waited}`;
  });
  return [...parts, `others ${percent(rest / wallMs)}`];
}

/** Breaks lines only between the parts of a list. */
function wrap(name: string, parts: string[], width: number): string[] {
  const lines: string[] = [];
  let line = named(name, "");
  parts.forEach((part, i) => {
    const piece = i < parts.length - 1 ? `${part},` : part;
    if (line.trim() !== "" && !line.endsWith(" ") && line.length + 1 + piece.length > width) {
      lines.push(line);
      line = named("", "");
    }
    line += line.endsWith(" ") ? piece : ` ${piece}`;
  });
  return [...lines, line];
}

/** All configurations in one table, compared with the first. */
function overview(runs: Run[]): string[] {
  const [first] = runs;
  const times = (of: (run: Run) => number) => runs.map((run) => (of(run) / of(first)).toFixed(2));
  const rows = rowsOf([
    runs.map(({ predictor, pretendedCodes, speculate, weights }) => {
      const guesses = speculate === "auto" ? "" : ` ${speculate}`;
      return `${weights} ${predictor}${guesses}${pretendedCodes === null ? "" : ` PRETENDED ${pretendedCodes}`}`;
    }),
    runs.map(({ lanes }) => String(lanes)),
    runs.map(({ threads }) => String(threads)),
    runs.map(({ rtf }) => rtf.toFixed(3)),
    times(({ rtf }) => rtf),
    column(runs.map((run) => run.msPerFrame.generation)),
    times((run) => run.msPerFrame.generation),
    column(runs.map((run) => run.msPerFrame.vocoder)),
    column(runs.map((run) => run.firstAudioMs)),
    column(runs.map((run) => run.rssMb)),
  ]);
  const heads = ["", "lanes", "threads", "RTF", "×", "generation", "×", "vocoder", "first", "MB"];
  return ["all configurations (ms, MB; ×: relative to the first)", "", ...table([heads, ...rows])];
}

function comparison({ machine, runs }: Result, before: Result, path: string): string[] {
  const other = before.machine.cpu === machine.cpu ? "" : `, measured on ${before.machine.cpu}`;
  const blocks = runs.flatMap((run) => {
    const then = sameRun(run, before);
    const title = ["", titleOf(run)];
    if (then === undefined) return [...title, `${INDENT}not in ${path}`];
    const rows = changesOf(run, then).map(({ before: old, name, now, ratio }) => [
      name,
      ...column([old, now]),
      ratio === null ? NO_VALUE : ratio.toFixed(2),
    ]);
    return [...title, ...table([["", "before", "now", "ratio"], ...rows])];
  });
  return [`compared with ${path}${other} (ms, MB; a ratio below 1 is less)`, ...blocks];
}
