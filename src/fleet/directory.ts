// Who is there. Each board writes its state into a bucket of the hub every few seconds; a ping tells at once
// whether it still listens.

import { RequestError } from "@nats-io/transport-node";
import { FLEET_LIMITS } from "../config.ts";
import type { Hub } from "./hub.ts";
import { type BoardState, readState, writeOrder } from "./messages.ts";
import { ALL_ROOMS, BOARD_BUCKET, boardSubject } from "./names.ts";

/**
 * Boards that told of themselves a short while ago, by name. The client would end its list where the hub says
 * that no entry is left, which many boards that write meanwhile keep from ever coming; so this ends at the
 * entry that was the last one at the beginning. The bucket keeps two of each board: none that was there goes.
 * @param nowMs of the hub's clock
 * @throws what the hub throws
 */
export async function listBoards(
  { boards, manager }: Pick<Hub, "boards" | "manager">,
  nowMs: number,
): Promise<BoardState[]> {
  const { state: bucket } = await manager.streams.info(`KV_${BOARD_BUCKET}`);
  if (bucket.messages === 0) return [];
  const states = new Map<string, BoardState | null>();
  const entries = await boards.history({ key: ">" });
  const timer = setTimeout(() => entries.stop(new Error("timeout")), FLEET_LIMITS.requestMs);
  try {
    for await (const { key, operation, revision, value } of entries) {
      const state = operation === "PUT" ? stateOf(value) : null;
      states.set(key, state?.name === key ? state : null);
      if (revision >= bucket.last_seq) break;
    }
  } finally {
    clearTimeout(timer);
  }
  return [...states.values()]
    .filter((state) => state !== null && nowMs - state.at <= FLEET_LIMITS.absentMs)
    .map((state) => state!)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What another program wrote there is no board. */
function stateOf(bytes: Uint8Array): BoardState | null {
  try {
    return readState(bytes);
  } catch {
    return null;
  }
}

/** `gone`: the hub knows that nobody listens there any more. `silent`: it hangs, or is cut off. */
async function ask(
  { connection }: Pick<Hub, "connection">,
  board: string,
): Promise<BoardState | "gone" | "silent"> {
  const options = { timeout: FLEET_LIMITS.pingMs };
  try {
    const { data } = await connection.request(boardSubject(board), writeOrder("ping"), options);
    return stateOf(data) ?? "silent";
  } catch (error) {
    return error instanceof RequestError && error.isNoResponders() ? "gone" : "silent";
  }
}

/** The state of a board now, or null where none answers. */
export async function ping(hub: Pick<Hub, "connection">, board: string): Promise<BoardState | null> {
  const state = await ask(hub, board);
  return typeof state === "string" ? null : state;
}

export const hasGone = async (hub: Pick<Hub, "connection">, board: string): Promise<boolean> =>
  (await ask(hub, board)) === "gone";

export interface Presence {
  /** As they are now. */
  present: BoardState[];
  /** Names of those that the hub knows, and that do not answer. */
  silent: string[];
}

export async function whoAnswers(
  hub: Pick<Hub, "connection">,
  boards: readonly BoardState[],
): Promise<Presence> {
  const answers = await Promise.all(boards.map(({ name }) => ask(hub, name)));
  return {
    present: answers.filter((answer) => typeof answer !== "string"),
    silent: boards.filter((_, i) => answers[i] === "silent").map(({ name }) => name),
  };
}

export const isIn = ({ rooms }: Pick<BoardState, "rooms">, room: string): boolean =>
  rooms.length > 0 && (room === ALL_ROOMS || rooms.includes(room));
