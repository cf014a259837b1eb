// A sound is made once, by one board, however many boards play it. Who wants one asks a board and hears signs
// of life until it is at the hub.

import { createInbox, type Msg, RequestError } from "@nats-io/transport-node";
import { FLEET_LIMITS, type FleetLimits } from "../config.ts";
import { asTtsError, TtsError, toWire } from "../errors.ts";
import type { Hub } from "./hub.ts";
import {
  type BoardState,
  type MadeSound,
  type MakeOrder,
  type MakeReply,
  readReply,
  writeOrder,
  writeReply,
} from "./messages.ts";
import { boardSubject } from "./names.ts";
import type { SharedPhrases } from "./phrases.ts";

/** What of a sound's making is known where it was made. */
export interface LocalSound extends Omit<MadeSound, "bytes" | "phrases"> {
  /** Of phrases in the cache here, in order; a phrase may come twice. */
  keys: readonly string[];
}

/** A model that makes sounds, and keeps them in the phrase cache. */
export type MakeSound = (order: MakeOrder, signal?: AbortSignal) => Promise<LocalSound>;

/** Makes a sound here, and brings it to the hub. @throws what both throw */
export async function makeAndShare(
  order: MakeOrder,
  make: MakeSound,
  phrases: SharedPhrases,
  signal?: AbortSignal,
): Promise<MadeSound> {
  const { keys, ...made } = await make(order, signal);
  if (keys.length > FLEET_LIMITS.parts)
    throw new TtsError(
      "TEXT_TOO_LONG",
      `the sound has ${keys.length} parts`,
      `at most ${FLEET_LIMITS.parts}`,
    );
  const shared = new Map<string, Awaited<ReturnType<SharedPhrases["share"]>>>();
  for (const key of new Set(keys)) shared.set(key, await phrases.share(key));
  const bytes = shared.values().reduce((sum, one) => sum + one.bytes, 0);
  return { ...made, phrases: keys.map((key) => shared.get(key)!.phrase), bytes };
}

/** A board's side. Sounds are made side by side; a model that has one lane takes them in turn. */
export class Maker {
  /** Sounds that are being made, or wait for it. */
  making = 0;

  constructor(
    private readonly hub: Pick<Hub, "connection">,
    private readonly make: MakeSound,
    private readonly phrases: SharedPhrases,
    private readonly onFault: (fault: TtsError) => void,
  ) {}

  /** Answers one order, unless nobody waits for the answer any more. Never throws. */
  async answer(order: MakeOrder, request: Pick<Msg, "respond" | "reply">): Promise<void> {
    const respond = (reply: MakeReply) => {
      try {
        request.respond(writeReply(reply));
      } catch {
        // this board leaves; whoever asked asks another one
      }
    };
    if (this.making >= FLEET_LIMITS.makings) {
      const what = `it makes ${this.making} sounds already`;
      return respond({ failed: toWire(new TtsError("FLEET_REFUSED", what, "try again soon")) });
    }
    this.making++;
    const unwanted = new AbortController();
    const sign = async () => {
      if (await this.isGone(request.reply!))
        unwanted.abort(new TtsError("CANCELLED", "whoever asked has gone"));
    };
    respond({ sign: true });
    const timer = setInterval(() => void sign(), FLEET_LIMITS.makingSignMs);
    try {
      respond({ made: await makeAndShare(order, this.make, this.phrases, unwanted.signal) });
    } catch (thrown) {
      if (unwanted.signal.aborted) return;
      const fault = asTtsError(thrown);
      if (fault.exitStatus !== 2) this.onFault(fault); // else the order is wrong
      respond({ failed: { ...toWire(fault), stack: undefined } });
    } finally {
      clearInterval(timer);
      this.making--;
    }
  }

  /** Gives a sign to whoever asked. @returns whether the hub knows that nobody hears it */
  private async isGone(inbox: string): Promise<boolean> {
    try {
      await this.hub.connection.request(inbox, writeReply({ sign: true }), { timeout: FLEET_LIMITS.pingMs });
    } catch (error) {
      return error instanceof RequestError && error.isNoResponders();
    }
    return false;
  }
}

/**
 * Has a board make a sound.
 * @param onSign called about every second meanwhile
 * @throws TtsError what the board tells; FLEET_UNREACHABLE where it has gone or gives no sign of life; the
 * reason of an aborted signal
 */
export async function makeAt(
  { connection }: Pick<Hub, "connection">,
  board: string,
  order: MakeOrder,
  onSign: () => void,
  signal?: AbortSignal,
  { makingSilenceMs }: Pick<FleetLimits, "makingSilenceMs"> = FLEET_LIMITS,
): Promise<MadeSound> {
  const inbox = createInbox();
  const replies = connection.subscribe(inbox);
  const gone = new TtsError("FLEET_UNREACHABLE", `the board ${board} has gone while it made the sound`);
  let timer: Timer | undefined;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => replies.unsubscribe(), makingSilenceMs);
  };
  const stop = () => replies.unsubscribe();
  signal?.addEventListener("abort", stop);
  try {
    wait();
    connection.publish(boardSubject(board), writeOrder(order), { reply: inbox });
    for await (const { data } of replies) {
      if (data.length === 0) break; // the hub says that nobody listens there
      wait();
      onSign();
      const reply = readReply(data);
      if ("failed" in reply) throw reply.failed;
      if ("made" in reply) return reply.made;
    }
    throw signal?.aborted ? signal.reason : gone;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    replies.unsubscribe();
  }
}

/**
 * Boards that can make a sound, the best first: those with the wanted model, or else with the one that most
 * have, so that a house has one voice; idle ones before busy ones, fast ones before slow ones.
 */
export function makersAmong(boards: readonly BoardState[], model?: string): BoardState[] {
  const able = boards.filter(
    (board) => board.model !== null && (model === undefined || board.model === model),
  );
  const count = (name: string | null) => able.filter((board) => board.model === name).length;
  const ranks = (board: BoardState) => [
    -count(board.model),
    board.making,
    board.rtf ?? Number.MAX_VALUE,
    board.name,
  ];
  return able.toSorted((a, b) => {
    const [ours, theirs] = [ranks(a), ranks(b)];
    const at = ours.findIndex((rank, i) => rank !== theirs[i]);
    return at < 0 ? 0 : ours[at] < theirs[at] ? -1 : 1;
  });
}
