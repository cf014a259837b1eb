// What each job costs, in shared memory, so that speeches at the same time each get their own figures. Each
// field is written by one thread.

import { MAX_JOBS } from "./signals.ts";

/** Drafts by their position in a pass, and the right ones among them. */
export const DRAFTS = [
  { tried: "drafts1", right: "rightDrafts1" },
  { tried: "drafts2", right: "rightDrafts2" },
  { tried: "drafts3", right: "rightDrafts3" },
] as const;

const FIELDS = [
  "talkerMs",
  "talkerFrames",
  "predictorMs",
  "predictorFrames",
  "predictorCalls",
  ...DRAFTS.flatMap(({ right, tried }) => [tried, right]),
  "vocoderMs",
  "vocoderFrames",
  "computedRows",
  "knownRows",
  "savedMs",
] as const;
type Field = (typeof FIELDS)[number];

/** Times in milliseconds; lanes that share a step share its time evenly. Rows are prompt rows. */
export type JobFigures = Record<Field, number>;

/** f64 [jobs, fields] */
export type FiguresMemory = SharedArrayBuffer;
export const createFiguresMemory = (): FiguresMemory => new SharedArrayBuffer(8 * MAX_JOBS * FIELDS.length);

const AT = Object.fromEntries(FIELDS.map((field, i) => [field, i])) as Record<Field, number>;
const firstOf = (job: number) => (job % MAX_JOBS) * FIELDS.length;

export const noFigures = (): JobFigures =>
  Object.fromEntries(FIELDS.map((field) => [field, 0])) as JobFigures;

export class Figures {
  private readonly values: Float64Array;

  constructor(memory: FiguresMemory) {
    this.values = new Float64Array(memory);
  }

  /** Stages call it before they report the job's end: afterwards the slot may belong to another job. */
  add(job: number, field: Field, value: number): void {
    this.values[firstOf(job) + AT[field]] += value;
  }

  /** The engine calls it before it sends the job to any stage. */
  reset(job: number): void {
    this.values.fill(0, firstOf(job), firstOf(job) + FIELDS.length);
  }

  /** The engine calls it to add what a job has cost so far. */
  addTo(sums: JobFigures, job: number): void {
    for (const field of FIELDS) sums[field] += this.values[firstOf(job) + AT[field]];
  }
}
