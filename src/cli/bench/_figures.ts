// From rounds to figures: medians, shares, and the form that --json prints and --compare reads. Pure
// arithmetic.

import type { Slice } from "../../engine.ts";
import { weightsInWords } from "../../formats/bundle.ts";
import { type Cost, predictorBytes } from "../../machine/frame-cost.ts";
import type { Machine } from "../../machine/load.ts";
import type { ThreadUse } from "../../machine/process.ts";
import { FRAMES_PER_SECOND } from "../../types.ts";
import type { Round, Spoken, Subject } from "./_run.ts";

/** `generation` is a whole turn of talker and code predictor. */
export const PARTS = ["talker", "predictor", "generation", "vocoder"] as const;
export type Part = (typeof PARTS)[number];
export type PerPart = Record<Part, number>;
/** The vocoder's figure is null where it is unknown. */
export type KnownPerPart = Omit<PerPart, "vocoder"> & { vocoder: number | null };

/** Figures of one configuration: medians over all rounds. Readers of --json rely on the keys. */
export interface Run {
  model: string;
  lanes: number;
  threads: number;
  weights: string;
  predictor: string;
  speculate: string;
  /**
   * Codes per call that wrong drafts were taken as right for: then no figure is that of a speech. Else null.
   */
  pretendedCodes: number | null;
  /** Calls of the code predictor per frame, and the share of right drafts by their place in a call. */
  callsPerFrame: number;
  rightDrafts: number[];
  /** The most that one lane may make. */
  frames: number;
  /** Frames that all lanes of a round made. */
  framesMade: number;
  repeat: number;
  /** Wall time divided by the duration of the sound of all lanes. */
  rtf: number;
  firstAudioMs: number;
  /** Until a player that plays the sound as it comes is at the first sample above -50 dB. */
  firstHeardMs: number;
  /** Per frame of sound: the time of a step is divided by the lanes that it moves. */
  msPerFrame: PerPart;
  msPerFrameP90: PerPart;
  /** Mean lanes per turn. A turn leaves out lanes that start or have ended, or whose vocoder is behind. */
  lanesPerTurn: number;
  /** Weights of talker and code predictor, as often as a turn reads them. */
  bytesPerFrame: number;
  bytes: KnownPerPart;
  flopPerFrame: KnownPerPart;
  gbPerSecond: KnownPerPart;
  /** Share of the machine's bandwidth, with `threads` threads, that talker and code predictor use. */
  bandwidthShare: number;
  rssMb: number;
  rssAnonMb: number;
  rssFileMb: number;
  mappedMb: number;
  loadMs: number;
  prefillMs: number;
  prefillRows: number;
  wallMs: number;
  /** Means per round, by name. */
  threadTimes: ThreadUse[];
}

export interface BenchMachine extends Machine {
  /** Threads -> 1e9 bytes read per second. */
  bandwidthGbPerSecond: Record<string, number>;
  /** Share of all cores' time that others took before the measurement, and during it. */
  busyBefore: number;
  busyDuring: number;
}

export interface Result {
  machine: BenchMachine;
  runs: Run[];
}

const round = (value: number, digits = 3) => Number(value.toFixed(digits));
const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);

/** The value that a share of all values does not exceed; 0 if there are none. */
function quantile(values: number[], share: number): number {
  if (values.length === 0) return 0;
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
}
const median = (values: number[]) => quantile(values, 0.5);

/** Something done for several frames at once. */
interface Turn {
  ms: number;
  rows: number;
}

const turnOf = ({ endMs, rows, startMs }: Slice): Turn => ({ ms: endMs - startMs, rows });

/** The talker's wait for the predictor, together with the step that follows. */
function wholeTurns(slices: Slice[]): Turn[] {
  return slices.flatMap((slice, i) => {
    const next = slices[i + 1];
    return slice.kind === "exchange" && next?.kind === "step"
      ? [{ ms: next.endMs - slice.startMs, rows: next.rows }]
      : [];
  });
}

function turnsOf(rounds: Round[]): Record<Part, Turn[]> {
  const all = (stage: keyof Round["slices"], kind: Slice["kind"]) =>
    rounds.flatMap(({ slices }) => slices[stage].filter((slice) => slice.kind === kind).map(turnOf));
  return {
    talker: all("talker", "step"),
    predictor: all("predictor", "predict"),
    generation: rounds.flatMap(({ slices }) => wholeTurns(slices.talker)),
    vocoder: all("vocoder", "decode"),
  };
}

const perPart = <T>(of: (part: Part) => T) =>
  Object.fromEntries(PARTS.map((part) => [part, of(part)])) as Record<Part, T>;

/** @param bytesPerSecond what the machine can read with the run's threads */
export function figuresOf(subject: Subject, frames: number, bytesPerSecond: number): Run {
  const { backends, bundle, costs, memory, rounds, setting } = subject;
  const turns = turnsOf(rounds);
  /** Every frame counts once. */
  const frameMs = perPart((part) =>
    turns[part].flatMap(({ ms, rows }) => Array<number>(rows).fill(ms / rows)),
  );
  const rowsPerTurn = perPart(
    (part) => sum(turns[part].map(({ rows }) => rows)) / Math.max(1, turns[part].length),
  );
  const spoken = rounds.flatMap((each) => each.spoken);
  const callsPerFrame = round(median(spoken.map(({ speculation }) => speculation.callsPerFrame)));
  const predictor = { ...costs.predictor, bytes: predictorBytes(costs.predictor, callsPerFrame) };
  const generation: Cost = {
    bytes: costs.talker.bytes + predictor.bytes,
    multiplications: costs.talker.multiplications + predictor.multiplications,
  };
  const costOf = { ...costs, predictor, generation };
  const known = (of: (cost: Cost, part: Part) => number) =>
    perPart((part) => (costOf[part] === null ? null : of(costOf[part], part))) as KnownPerPart;
  const gbPerSecond = known(({ bytes }, part) =>
    round(bytes / 1e6 / Math.max(1e-6, median(turns[part].map(({ ms }) => ms))), 2),
  );
  const bytes = known((cost, part) => Math.round(cost.bytes / Math.max(1, rowsPerTurn[part])));
  const prefills = rounds.flatMap(({ slices }) =>
    slices.talker.filter(({ kind }) => kind === "prefill").map(turnOf),
  );
  return {
    model: bundle.manifest.name,
    lanes: setting.lanes,
    threads: setting.threads,
    weights: weightsInWords(bundle.manifest.weights),
    predictor: backends.predictor,
    speculate: setting.speculate,
    pretendedCodes: setting.pretendedCodes || null,
    callsPerFrame,
    rightDrafts: rightDraftsOf(spoken),
    frames,
    framesMade: median(rounds.map((each) => sum(each.spoken.map((one) => one.frames)))),
    repeat: rounds.length,
    rtf: round(median(rounds.map(rtfOf)), 4),
    firstAudioMs: round(median(spoken.map(({ firstMs, submittedMs }) => firstMs - submittedMs)), 1),
    firstHeardMs: round(median(spoken.map(({ heardMs }) => heardMs)), 1),
    msPerFrame: perPart((part) => round(median(frameMs[part]))),
    msPerFrameP90: perPart((part) => round(quantile(frameMs[part], 0.9))),
    lanesPerTurn: round(rowsPerTurn.generation, 2),
    bytesPerFrame: bytes.generation,
    bytes,
    flopPerFrame: known((cost) => 2 * cost.multiplications),
    gbPerSecond,
    bandwidthShare: round((1e9 * gbPerSecond.generation) / bytesPerSecond),
    rssMb: round(memory.rss / 1e6, 1),
    rssAnonMb: round(memory.anon / 1e6, 1),
    rssFileMb: round(memory.file / 1e6, 1),
    mappedMb: round(subject.mappedBytes / 1e6, 1),
    loadMs: round(subject.loadMs, 1),
    prefillMs: round(median(prefills.map(({ ms }) => ms)), 2),
    prefillRows: median(prefills.map(({ rows }) => rows)),
    wallMs: round(median(rounds.map(({ endMs, startMs }) => endMs - startMs)), 1),
    threadTimes: meanUse(rounds),
  };
}

/** Medians over the speeches that had drafts in this place. */
function rightDraftsOf(spoken: Spoken[]): number[] {
  const shares = spoken.map(({ speculation }) => speculation.rightDrafts);
  const places = Math.max(0, ...shares.map(({ length }) => length));
  return Array.from({ length: places }, (_, i) => median(shares.flatMap((share) => share[i] ?? [])));
}

function rtfOf({ endMs, spoken, startMs }: Round): number {
  const seconds = sum(spoken.map(({ frames }) => frames)) / FRAMES_PER_SECOND;
  return seconds === 0 ? 0 : (endMs - startMs) / 1000 / seconds;
}

/** Means of all rounds; the busiest name comes first. */
function meanUse(rounds: Round[]): ThreadUse[] {
  const all = rounds.flatMap(({ threads }) => threads);
  const uses = [...new Set(all.map(({ name }) => name))].map((name): ThreadUse => {
    const own = all.filter((use) => use.name === name);
    return {
      name,
      count: Math.max(...own.map(({ count }) => count)),
      cpuMs: round(sum(own.map(({ cpuMs }) => cpuMs)) / rounds.length, 1),
      queuedMs: round(sum(own.map(({ queuedMs }) => queuedMs)) / rounds.length, 1),
    };
  });
  return uses.filter(({ cpuMs }) => cpuMs > 0).toSorted((a, b) => b.cpuMs - a.cpuMs);
}
