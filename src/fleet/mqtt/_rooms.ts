// The rooms as the broker keeps them: who is in each, how many announcements wait there, and which are gone
// for so long that they are forgotten. Pure.

import { MQTT_LIMITS } from "../../limits.ts";
import { isIn } from "../directory.ts";
import type { BoardState } from "../messages.ts";
import { ALL_ROOMS } from "../names.ts";

export interface RoomStatus {
  state: "ready" | "empty";
  boards: string[];
  /** Announcements that sound or wait there, those for later included: of the board that has most. */
  waiting: number;
  /** Since when it is ready or empty. */
  since: string;
}

/** What the bridge needs to know of a board. */
export type RoomBoard = Pick<BoardState, "name" | "rooms" | "waiting">;

/**
 * Every room that has a board or had one a while ago, and "all".
 * @param known what was so before, for the rooms that are still the same
 */
export function statusesOf(
  boards: readonly RoomBoard[],
  known: ReadonlyMap<string, RoomStatus>,
  nowMs: number,
): Map<string, RoomStatus> {
  const rooms = [ALL_ROOMS, ...boards.flatMap((board) => board.rooms), ...known.keys()];
  const statuses = [...new Set(rooms)].map((room) => {
    const present = boards.filter((board) => isIn(board, room));
    const state = present.length > 0 ? "ready" : "empty";
    const before = known.get(room);
    const since = before?.state === state ? before.since : new Date(nowMs).toISOString();
    const waiting = Math.max(0, ...present.map((board) => board.waiting));
    return [room, { state, boards: present.map(({ name }) => name).toSorted(), waiting, since }] as const;
  });
  return new Map(statuses.filter(([room, status]) => room === ALL_ROOMS || !isForgotten(status, nowMs)));
}

const isForgotten = ({ since, state }: RoomStatus, nowMs: number) =>
  state === "empty" && nowMs - Date.parse(since) > MQTT_LIMITS.goneRoomMs;

/** What a bridge has written before, or null for what nobody could have written. */
export function readStatus(text: string): RoomStatus | null {
  try {
    const { boards, since, state, waiting } = JSON.parse(text);
    const isWhole =
      (state === "ready" || state === "empty") &&
      Array.isArray(boards) &&
      typeof waiting === "number" &&
      typeof since === "string" &&
      !Number.isNaN(Date.parse(since));
    return isWhole ? { state, boards, waiting, since } : null;
  } catch {
    return null;
  }
}
