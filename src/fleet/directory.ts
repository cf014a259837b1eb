// Who is there. Each board writes its state into a bucket of the hub every few seconds; a ping tells at once
// whether it still listens.

import { FLEET_LIMITS } from "../config.ts";
import type { Hub } from "./hub.ts";
import { type BoardState, readState, writeOrder } from "./messages.ts";
import { ALL_ROOMS, boardSubject } from "./names.ts";

/** Boards that told of themselves a short while ago, by name. @param nowMs of the hub's clock */
export async function listBoards({ boards }: Pick<Hub, "boards">, nowMs: number): Promise<BoardState[]> {
  const states: BoardState[] = [];
  for await (const { operation, value } of await boards.history({ key: ">" })) {
    const state = operation === "PUT" ? stateOf(value) : null;
    if (state !== null && nowMs - state.at <= FLEET_LIMITS.absentMs) states.push(state);
  }
  return states.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What another program wrote there is no board. */
function stateOf(bytes: Uint8Array): BoardState | null {
  try {
    return readState(bytes);
  } catch {
    return null;
  }
}

/** The state of a board now, or null where nobody listens. */
export async function ping(
  { connection }: Pick<Hub, "connection">,
  board: string,
): Promise<BoardState | null> {
  try {
    const answer = await connection.request(boardSubject(board), writeOrder("ping"), {
      timeout: FLEET_LIMITS.pingMs,
    });
    return stateOf(answer.data);
  } catch {
    return null;
  }
}

export interface Presence {
  present: BoardState[];
  /** Boards that have told of themselves, but do not answer now. */
  silent: string[];
}

/** All boards that answer now. */
export async function whoIsThere(hub: Hub, nowMs: number): Promise<Presence> {
  const known = await listBoards(hub, nowMs);
  const states = await Promise.all(known.map(({ name }) => ping(hub, name)));
  return {
    present: states.filter((state) => state !== null),
    silent: known.filter((_, i) => states[i] === null).map(({ name }) => name),
  };
}

export const isIn = ({ rooms }: Pick<BoardState, "rooms">, room: string): boolean =>
  rooms.length > 0 && (room === ALL_ROOMS || rooms.includes(room));
