// What each job costs by itself, in shared memory: two speeches at once get each its own figures. A field is
// written by one thread.

import { MAX_JOBS } from "./signals.ts";

const FIELDS = [
  "talkerMs",
  "talkerFrames",
  "predictorMs",
  "predictorFrames",
  "vocoderMs",
  "vocoderFrames",
  "computedRows",
  "knownRows",
  "savedMs",
] as const;
type Field = (typeof FIELDS)[number];

/** Times in milliseconds; of a step of several lanes each has its part. Rows are those of prompts. */
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

  /** Stages, before the job's end is told: afterwards its slot belongs to another one. */
  add(job: number, field: Field, value: number): void {
    this.values[firstOf(job) + AT[field]] += value;
  }

  /** Engine, before the job is told to anybody. */
  reset(job: number): void {
    this.values.fill(0, firstOf(job), firstOf(job) + FIELDS.length);
  }

  /** Engine: adds what a job has cost so far. */
  addTo(sums: JobFigures, job: number): void {
    for (const field of FIELDS) sums[field] += this.values[firstOf(job) + AT[field]];
  }
}
