// Messages to rooms become announcements, in their order, and what became of each is told: refused with a
// reason, accepted by the boards, and then said or not. Knows no MQTT.

import { asTtsError, spellSettings, TtsError } from "../../errors.ts";
import { newHash } from "../../io/hash.ts";
import { MQTT_LIMITS } from "../../limits.ts";
import type { FleetAnnouncement, FleetReport } from "../announcing.ts";
import type { FleetOutcome } from "../messages.ts";
import { SenderRates } from "../rates.ts";
import { type Asked, readSay } from "./_say.ts";
import { sayTopic } from "./_topics.ts";

/** What became of the last message to a room; on all of its boards together, and on each. */
export interface RoomOutcome {
  outcome: "accepted" | FleetOutcome["what"];
  /** Why it was not said, or not everywhere, or "". */
  reason: string;
  boards: Record<string, "accepted" | FleetOutcome["what"]>;
  /** What its sender called it, or "". */
  id: string;
  at: string;
}

export interface DeskHost {
  announce(request: FleetAnnouncement, signal?: AbortSignal): Promise<FleetReport>;
  /** Milliseconds of the hub's clock. */
  nowMs(): number;
  monotonicMs(): number;
  /** Whether it has, or had, a board. */
  isRoom(room: string): boolean;
  tellOutcome(room: string, outcome: RoomOutcome): void;
}

export interface SayPacket {
  payload: Uint8Array;
  /** The broker gives it again, because it has heard no receipt. */
  dup: boolean;
  /** Its number in the session with the broker, and whose session that is. */
  number: string;
}

/** An announcement that boards have, or have had. */
interface Followed {
  room: string;
  asked: Asked;
  boards: RoomOutcome["boards"];
  reasons: Map<string, string>;
}

/** Where the boards of a room differ, the first of these counts for the room. */
export const OUTCOMES = [
  ...(["accepted", "said", "interrupted", "failed"] as const),
  ...(["refused", "late", "quiet", "repeated"] as const),
];

export class Desk {
  private readonly leaving = new AbortController();
  private readonly rates: SenderRates;
  private waiting = 0;
  /** Room and priority -> the end of the last message. */
  private readonly lanes = new Map<string, Promise<void>>();
  /** By the announcements' ids. */
  private readonly followed = new Map<string, Followed>();
  /** Outcomes that came before the report of their announcement. */
  private readonly early = new Map<string, FleetOutcome[]>();
  private readonly received = new Set<string>();

  constructor(private readonly host: DeskHost) {
    const { roomBurst, roomPerMinute, rooms } = MQTT_LIMITS;
    this.rates = new SenderRates({
      senderBurst: roomBurst,
      senderPerMinute: roomPerMinute,
      senders: rooms,
    });
  }

  /** Never throws: what is wrong with a message is its outcome. */
  take(room: string, packet: SayPacket): void {
    if (this.isAgain(room, packet)) return;
    let asked: Asked | null = null;
    try {
      asked = readSay(sayTopic(room), packet.payload);
      // who tries many names shall not have many chances
      if (!this.rates.take(this.host.isRoom(room) ? room : "", this.host.monotonicMs()))
        throw busy(`more than ${MQTT_LIMITS.roomPerMinute} messages a minute for ${room}`);
      if (this.waiting >= MQTT_LIMITS.waiting) throw busy(`${this.waiting} messages wait already`);
      this.enqueue(room, asked);
    } catch (thrown) {
      this.tellRefused(room, asked?.id ?? "", thrown);
    }
  }

  /** What boards tell of announcements, this bridge's and others. */
  hear(outcome: FleetOutcome): void {
    const { id } = outcome;
    if (this.followed.has(id)) this.note(id, [outcome]);
    else remember(this.early, id, [...(this.early.get(id) ?? []), outcome]);
  }

  close(): void {
    this.leaving.abort(new TtsError("CANCELLED", "the bridge ends"));
  }

  private isAgain(room: string, { dup, number, payload }: SayPacket): boolean {
    const key = `${number} ${room} ${newHash().update(payload).digest("hex")}`;
    if (dup && this.received.has(key)) return true;
    this.received.add(key);
    if (this.received.size > MQTT_LIMITS.followed) this.received.delete(this.received.values().next().value!);
    return false;
  }

  /** In order within a room, but nothing waits for what is less urgent. */
  private enqueue(room: string, asked: Asked): void {
    const lane = `${room} ${asked.priority}`;
    this.waiting++;
    const before = this.lanes.get(lane) ?? Promise.resolve();
    const turn = before
      .then(() => this.announce(room, asked))
      .finally(() => {
        this.waiting--;
        if (this.lanes.get(lane) === turn) this.lanes.delete(lane);
      });
    this.lanes.set(lane, turn);
  }

  private async announce(room: string, asked: Asked): Promise<void> {
    const { id: _, ...request } = asked;
    try {
      const report = await this.host.announce({ ...request, rooms: [room] }, this.leaving.signal);
      this.follow(room, asked, report);
    } catch (thrown) {
      this.tellRefused(room, asked.id, thrown);
    }
  }

  private follow(room: string, asked: Asked, { boards, id }: FleetReport): void {
    const refused = boards.filter(({ state }) => state !== "accepted");
    remember(this.followed, id, {
      ...{ room, asked },
      boards: Object.fromEntries(
        boards.map(({ board, state }) => [board, state === "accepted" ? state : "refused"]),
      ),
      reasons: new Map(refused.map(({ board, reason }) => [board, reason])),
    });
    const early = this.early.get(id) ?? [];
    this.early.delete(id);
    this.note(id, early);
  }

  private note(id: string, outcomes: readonly FleetOutcome[]): void {
    const { asked, boards, reasons, room } = this.followed.get(id)!;
    for (const { board, reason, what } of outcomes) {
      boards[board] = what;
      if (what !== "said") reasons.set(board, reason);
    }
    const found = Object.values(boards);
    // all boards have gone meanwhile
    const outcome = OUTCOMES.find((one) => found.includes(one)) ?? "refused";
    const reason = [...reasons].map(([board, why]) => `${board}: ${why || boards[board]}`).join("; ");
    this.tell(room, {
      outcome,
      reason: reason || (found.length > 0 ? "" : "no board is there"),
      boards,
      id: asked.id,
    });
    if (outcome !== "accepted") this.followed.delete(id);
  }

  private tellRefused(room: string, id: string, thrown: unknown): void {
    const error = asTtsError(thrown);
    const hint = spellSettings(error.markedHint, asField);
    this.tell(room, { outcome: "refused", reason: error.inOneLineWith(hint), boards: {}, id });
  }

  private tell(room: string, outcome: Omit<RoomOutcome, "at">): void {
    const reason = outcome.reason.slice(0, MQTT_LIMITS.reasonChars).toWellFormed();
    this.host.tellOutcome(room, { ...outcome, reason, at: new Date(this.host.nowMs()).toISOString() });
  }
}

const busy = (what: string) => new TtsError("SPEAKER_BUSY", what, "send them more slowly");

/** maxLate -> max_late: a setting as a field of JSON. */
const asField = (setting: string) => setting.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The newest is kept last; the oldest goes. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MQTT_LIMITS.followed) map.delete(map.keys().next().value!);
}
