// When announcements begin that come faster than they can be said: all boards of a room hear the same ones,
// and so plan the same moments. Pure.

import { PRIORITIES, type Priority } from "../announce/queue.ts";

/** What a player needs to end, and the lead before the next sound. */
const GAP_MS = 500;

export interface Planned {
  /** When it would begin, and when that is too late, in milliseconds of the hub's clock. */
  moment: number;
  latest: number;
  priority: Priority;
}

export class Plan {
  private placed: { begins: number; ends: number; rank: number }[] = [];

  /**
   * Urgent ones wait for nobody. Others wait for what sounds by then, and for those of their priority and
   * higher ones.
   * @returns when it begins; null: too late, so that it takes no place
   */
  place({ latest, moment, priority }: Planned, lastsMs: number): number | null {
    const rank = PRIORITIES.indexOf(priority);
    this.placed = this.placed.filter(({ ends }) => ends + GAP_MS > moment);
    const before =
      priority === "urgent"
        ? []
        : this.placed.filter((other) => other.rank >= rank || other.begins <= moment);
    const begins = Math.max(moment, ...before.map(({ ends }) => ends + GAP_MS));
    if (begins > latest) return null;
    this.placed.push({ begins, ends: begins + lastsMs, rank });
    return begins;
  }
}
