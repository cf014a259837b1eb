// An earlier result of tts bench --json: read, checked, and set beside the new one.

import { TtsError } from "../../errors.ts";
import { readTextFile } from "../../io/read.ts";
import { PARTS, type Result, type Run } from "./_figures.ts";

/** One figure then and now. */
export interface Change {
  name: string;
  before: number;
  now: number;
  /** now / before; null if `before` is 0. */
  ratio: number | null;
}

/** A run takes 1 kB. */
const MAX_RESULT_BYTES = 8 * 2 ** 20;

/** @throws TtsError INPUT_UNREADABLE, TEXT_TOO_LONG, TEXT_ENCODING; the message says what is wrong */
export async function readResult(path: string): Promise<Result> {
  const text = await readTextFile(path, MAX_RESULT_BYTES);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const hint = "give what tts bench --json has printed";
    throw new TtsError("INPUT_UNREADABLE", `${path} is not JSON`, hint, { cause });
  }
  const wrong = faultOf(value);
  if (wrong === null) return value as Result;
  throw new TtsError(
    "INPUT_UNREADABLE",
    `${path} is no result of this tts bench: ${wrong}`,
    "measure again with --json",
  );
}

const NUMBERS = [
  "lanes",
  "threads",
  "frames",
  "rtf",
  "firstAudioMs",
  "prefillMs",
  "loadMs",
  "rssMb",
] as const satisfies (keyof Run)[];
const WORDS = ["model", "weights", "predictor"] as const satisfies (keyof Run)[];

/** Names the first field that is missing or of the wrong type; null if there is none. */
function faultOf(value: unknown): string | null {
  const { machine, runs } = asRecord(value);
  if (typeof asRecord(machine).cpu !== "string") return "machine.cpu is missing";
  if (!Array.isArray(runs)) return "runs is missing";
  for (const [i, run] of runs.entries()) {
    const fields = asRecord(run);
    const times = asRecord(fields.msPerFrame);
    const word = WORDS.find((name) => typeof fields[name] !== "string");
    const number = NUMBERS.find((name) => !Number.isFinite(fields[name]));
    const part = PARTS.find((name) => !Number.isFinite(times[name]));
    const missing = word ?? number ?? (part === undefined ? undefined : `msPerFrame.${part}`);
    if (missing !== undefined) return `runs[${i}].${missing} is missing`;
  }
  return null;
}

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? { ...value } : {};

/** Results of before there was speculation name neither kind of it. */
const keyOf = ({ frames, lanes, model, predictor, pretendedCodes, speculate, threads, weights }: Run) =>
  JSON.stringify([
    model,
    weights,
    predictor,
    speculate ?? "auto",
    pretendedCodes ?? null,
    lanes,
    threads,
    frames,
  ]);

/** The earlier run of the same configuration. */
export const sameRun = (run: Run, before: Result): Run | undefined =>
  before.runs.find((other) => keyOf(other) === keyOf(run));

export function changesOf(run: Run, before: Run): Change[] {
  const change = (name: string, then: number, now: number): Change => {
    return { name, before: then, now, ratio: then === 0 ? null : Number((now / then).toFixed(3)) };
  };
  return [
    ...PARTS.map((part) => change(part, before.msPerFrame[part], run.msPerFrame[part])),
    change("RTF", before.rtf, run.rtf),
    change("first audio", before.firstAudioMs, run.firstAudioMs),
    // results of earlier versions lack it
    ...(Number.isFinite(before.firstHeardMs)
      ? [change("first heard", before.firstHeardMs, run.firstHeardMs)]
      : []),
    change("prefill", before.prefillMs, run.prefillMs),
    change("load", before.loadMs, run.loadMs),
    change("memory", before.rssMb, run.rssMb),
  ];
}
