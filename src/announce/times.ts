// When an announcement is said: times of day, quiet hours and lengths of time as users write them. Pure: the
// caller gives the present. Local time is that of TZ, with both changes of the clock.

import { ANNOUNCE_LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";

/** Seconds since midnight, as a clock on the wall shows it. */
export type WallSeconds = number;

const DAY_SECONDS = 86_400;
const TIME = /^([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/;

/** @throws TtsError USAGE unless it is HH:MM or HH:MM:SS */
export function parseTime(name: string, text: string): WallSeconds {
  const parts = TIME.exec(text);
  if (parts === null)
    throw new TtsError(
      "USAGE",
      `${name} is "${text}"`,
      "give a local time from 00:00 to 23:59, as HH:MM or HH:MM:SS",
    );
  const [hours, minutes, seconds] = parts.slice(1).map((part) => Number(part ?? 0));
  return 3_600 * hours + 60 * minutes + seconds;
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1_000,
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
};

/**
 * A length of time, such as 90, 90s, 5min or 1h, in milliseconds.
 * @throws TtsError USAGE unless it is one of 0 to `mostMs`
 */
export function parseDuration(name: string, text: string, mostMs: number): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|min|m|h)?$/.exec(text) ?? [];
  const milliseconds = Number(number) * UNITS[unit ?? ""];
  if (milliseconds <= mostMs) return milliseconds;
  const most = mostMs >= 3_600_000 ? `${mostMs / 3_600_000}h` : `${mostMs / 1_000}s`;
  throw new TtsError("USAGE", `${name} is "${text}"`, `give 0 to ${most}, such as 90s, 5min or 1h`);
}

/** From the first second up to the last, which does not count; the end may lie on the next day. */
export interface QuietRange {
  from: WallSeconds;
  to: WallSeconds;
}

/** @param text ranges such as `22:00-07:00`, with commas between them @throws TtsError USAGE */
export function parseQuietHours(name: string, text: string): QuietRange[] {
  return text.split(",").map((range) => {
    const ends = range.trim().split("-");
    const times = ends.map((end) =>
      end === "24:00" ? DAY_SECONDS : TIME.test(end) ? parseTime(name, end) : null,
    );
    const [from, to] = times;
    if (times.length === 2 && from != null && to != null && from !== to && from < DAY_SECONDS)
      return { from, to };
    throw new TtsError(
      "USAGE",
      `${name} is "${text}"`,
      "give ranges of local time that are not empty, such as 22:00-07:00 or 22:00-07:00,13:00-14:00",
    );
  });
}

/** What a clock on the wall shows, to the millisecond. */
const wallOf = (moment: Date): WallSeconds =>
  3_600 * moment.getHours() + 60 * moment.getMinutes() + moment.getSeconds();

export function isQuiet(ranges: readonly QuietRange[], moment: Date): boolean {
  const now = wallOf(moment);
  return ranges.some(({ from, to }) => (from < to ? now >= from && now < to : now >= from || now < to));
}

/**
 * What becomes of an announcement for a time of day. `wait`: it is to come. `now`: it has passed, but not by
 * more than may be. `dropped`: it has passed by more.
 */
export type Appointment =
  | { kind: "wait" | "now"; moment: Date }
  | { kind: "dropped"; moment: Date; lateMs: number };

/**
 * The moment that a time of day means: the next one if it is at most 12 hours ahead, else the last one if it
 * passed within 6 hours. A time just passed counts before the next one, which may follow within the hour
 * where the clock is set back.
 * @throws TtsError USAGE for a time further ahead
 */
export function appointment(name: string, text: string, now: Date, mostLateMs: number): Appointment {
  const moments = occurrences(parseTime(name, text), now);
  const next = moments.find((moment) => moment >= now.getTime());
  const last = moments.findLast((moment) => moment < now.getTime());
  const lateMs = last === undefined ? Number.POSITIVE_INFINITY : now.getTime() - last;
  if (lateMs < mostLateMs) return { kind: "now", moment: new Date(last!) };
  if (next !== undefined && next - now.getTime() <= ANNOUNCE_LIMITS.aheadMs)
    return { kind: "wait", moment: new Date(next) };
  if (lateMs <= ANNOUNCE_LIMITS.passedMs) return { kind: "dropped", moment: new Date(last!), lateMs };
  const hours = ((next! - now.getTime()) / 3_600_000).toFixed(1);
  const most = ANNOUNCE_LIMITS.aheadMs / 3_600_000;
  throw new TtsError(
    "USAGE",
    `${name} ${text} is ${hours} hours ahead`,
    `at most ${most} hours: start it later, from cron or a systemd timer`,
  );
}

/** What clocks are set by: an hour, half of one on Lord Howe Island, two at Troll. */
const CHANGES_MS = [-7_200_000, -3_600_000, -1_800_000, 0, 1_800_000, 3_600_000, 7_200_000];

/**
 * When clocks on the wall show this from yesterday to the day after tomorrow, in order. A time that a change
 * skips is as long after midnight as on other days; one that comes twice is in the list twice.
 */
function occurrences(time: WallSeconds, now: Date): number[] {
  const found = [-1, 0, 1, 2].flatMap((day) => {
    const [hours, minutes, seconds] = [Math.trunc(time / 3_600), Math.trunc(time / 60) % 60, time % 60];
    const date = new Date(now.getFullYear(), now.getMonth(), now.getDate() + day, hours, minutes, seconds);
    const same = CHANGES_MS.map((change) => date.getTime() + change).filter(
      (moment) => wallOf(new Date(moment)) === time,
    );
    return same.length > 0 ? same : [date.getTime()];
  });
  return [...new Set(found)].toSorted((a, b) => a - b);
}
