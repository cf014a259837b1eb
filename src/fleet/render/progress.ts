// How far a render has come: the sentences, where each of them stands, and the time left.

import type { Job, Place } from "./job.ts";
import { keyOf } from "./job.ts";

/** A sentence of the book. */
export interface Item extends Place {
  key: string;
  /** Its share of the book's bytes. */
  weight: number;
  /**
   * `waiting`: nobody has it. `queued`: it is at the hub. `begun`: a board makes it. `refused`: boards have
   * failed with it. `here`: this machine makes it.
   */
  state: "waiting" | "queued" | "begun" | "refused" | "here" | "done";
  /** When that was last heard of, in milliseconds of the monotonic clock. */
  sinceMs: number;
  /** Who has begun it last, or "". */
  board: string;
  /** Of its message at the hub. */
  seq: number;
  /** How often it was put there. */
  sent: number;
}

/** @param sentences of the section @param done keys of the sentences that are finished */
export function itemsOf(
  job: Job,
  section: number,
  sentences: readonly string[],
  done: ReadonlySet<string>,
): Item[] {
  const bytes = Buffer.byteLength(job.sections[section].text);
  const letters = sentences.reduce((sum, { length }) => sum + length, 0);
  return sentences.map(({ length }, sentence): Item => {
    const key = keyOf(job.id, { section, sentence });
    const state = done.has(key) ? "done" : "waiting";
    const weight = (bytes * length) / letters;
    return { section, sentence, key, state, weight, board: "", sinceMs: 0, seq: 0, sent: 0 };
  });
}

/** Counts in bytes of the book. */
export class Course {
  done = 0;
  /** What was made since the first sentence of this run was begun. */
  private made = 0;
  private startMs: number | null = null;

  constructor(
    readonly total: number,
    private readonly now: () => number,
  ) {}

  begin(): void {
    this.startMs ??= this.now();
  }

  /** @param isNew whether it was made in this run */
  take(weight: number, isNew: boolean): void {
    this.done += weight;
    if (isNew) this.made += weight;
  }

  /** undefined while there is nothing to guess from. */
  get secondsLeft(): number | undefined {
    if (this.startMs === null || this.made === 0) return undefined;
    return ((this.now() - this.startMs) / 1000 / this.made) * Math.max(0, this.total - this.done);
  }
}
