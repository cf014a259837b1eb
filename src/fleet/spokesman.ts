// What a board does with each announcement: takes it or refuses it, answers its sender, waits for its time,
// says it once, and tells the hub when it is done.

import type { JsMsg } from "@nats-io/jetstream";
import type { Outcome } from "../announce/announce.ts";
import { ANNOUNCE_LIMITS, type FleetLimits } from "../config.ts";
import { asTtsError, TtsError } from "../errors.ts";
import { SAMPLE_RATE_HZ, type Tell } from "../types.ts";
import type { HubClock } from "./clock.ts";
import type { Heard } from "./heard.ts";
import type { Hub } from "./hub.ts";
import {
  type Answer,
  type FleetOutcome,
  isPhrase,
  readSay,
  type SayMessage,
  writeAnswer,
  writeOutcome,
} from "./messages.ts";
import { answerSubject, outcomeSubject, saySubject } from "./names.ts";
import type { SharedPhrases } from "./phrases.ts";
import { SenderRates } from "./rates.ts";

/** How announcements are heard here. */
export interface Say {
  /** Why nothing will be said at a moment, such as quiet hours; "": it will be. */
  reasonNotTo(moment: Date): string;
  /**
   * Waits for its moment and its turn, and says it, unless there is a reason not to.
   * @param onBegin called right before the first sound
   */
  say(message: SayMessage, phrases: SharedPhrases, onBegin: () => void): Promise<Outcome>;
}

export interface SpokesmanOptions {
  name: string;
  rooms: readonly string[];
  say: Say;
  phrases: SharedPhrases;
  heard: Heard;
  tell: Tell;
  limits: FleetLimits;
  onFault(fault: TtsError): void;
}

/** One announcement that is held. */
interface Held {
  message: JsMsg;
  hasBegun: boolean;
  /** Settles when it is over. */
  done: Promise<void>;
}

export class Spokesman {
  private readonly inHand = new Map<string, Held>();
  private readonly rates: SenderRates;
  private readonly leaving = new AbortController();
  private readonly left = new Promise<void>((resolve) =>
    this.leaving.signal.addEventListener("abort", () => resolve()),
  );

  constructor(
    private readonly hub: Pick<Hub, "connection">,
    private readonly clock: HubClock,
    private readonly options: SpokesmanOptions,
  ) {
    this.rates = new SenderRates(options.limits);
  }

  /** Announcements that are held. */
  get held(): number {
    return this.inHand.size;
  }

  /** Takes one message of the hub. Never throws. */
  async take(message: JsMsg): Promise<void> {
    const { options } = this;
    let said: SayMessage;
    try {
      said = readSay(message.data);
      checkSender(message, said);
    } catch (error) {
      this.toHub(() => message.term());
      options.onFault(asTtsError(error));
      return;
    }
    const known = this.inHand.get(said.id);
    // It came by another room too, or again: what is said once is done once.
    if (known !== undefined) return known.done.then(() => this.settle(message, said));
    if (options.heard.has(said.id)) return this.toHub(() => message.ack());
    const held: Held = { message, hasBegun: false, done: Promise.resolve() };
    this.inHand.set(said.id, held);
    held.done = this.handle(message, said, held).finally(() => this.inHand.delete(said.id));
    return held.done;
  }

  private async handle(message: JsMsg, said: SayMessage, held: Held): Promise<void> {
    const { clock, options } = this;
    const lateMs = clock.nowMs() - said.moment;
    if (clock.nowMs() > Math.min(said.latest, said.freshUntil)) {
      const reason = `it came ${seconds(lateMs)} after its time`;
      return this.refuse(message, said, "late", reason, { lateMs });
    }
    const refusal = this.refusalOf(said, message);
    if (refusal !== null) return this.refuse(message, said, "refused", refusal);
    const timer = setInterval(() => this.toHub(() => message.working()), options.limits.workingMs);
    try {
      const lasts = await this.lengthOf(said); // its sound is kept until it is due
      if (lasts > options.limits.saySeconds) {
        const reason = `it would sound for ${minutes(lasts)}, and may for ${minutes(options.limits.saySeconds)}`;
        return this.refuse(message, said, "refused", reason);
      }
      this.answer(said, "accepted", options.say.reasonNotTo(new Date(said.moment)));
      await this.untilDue(said);
      if (this.leaving.signal.aborted) return; // it comes again
      const outcome = await options.say.say(said, options.phrases, () => this.begin(said, held));
      this.tell(
        said,
        outcome.what === "prepared" ? "said" : outcome.what,
        this.reasonOf(said, outcome),
        outcome,
      );
      this.isOver(message, said);
    } catch (thrown) {
      if (this.leaving.signal.aborted) return; // it comes again
      const error = asTtsError(thrown);
      options.onFault(error);
      if (error.code === "FLEET_UNREACHABLE") return this.giveBack(message);
      this.refuse(message, said, "failed", error.message);
    } finally {
      clearInterval(timer);
    }
  }

  /** Why nothing was said, or "". */
  private reasonOf({ moment }: SayMessage, { lateMs, what }: Outcome): string {
    if (what === "quiet") return this.options.say.reasonNotTo(new Date(moment));
    if (what === "repeated") return "the same was said a short while ago";
    return what === "late" ? `its turn came ${seconds(lateMs)} after its time` : "";
  }

  /** What was not done comes again. */
  private settle(message: JsMsg, { id }: SayMessage): void {
    if (this.options.heard.has(id)) this.toHub(() => message.ack());
    else this.giveBack(message);
  }

  /** The hub gives it again soon. */
  private giveBack(message: JsMsg): void {
    this.toHub(() => message.nak(this.options.limits.reconnectMs));
  }

  /** What was done here once is not done again, whatever it was. */
  private isOver(message: JsMsg, { id }: SayMessage): void {
    this.options.heard.pass(id);
    this.toHub(() => message.ack());
  }

  /** @throws TtsError CANCELLED where the board leaves: another time */
  private begin(said: SayMessage, held: Held): void {
    if (this.leaving.signal.aborted) throw new TtsError("CANCELLED", "the board leaves");
    held.hasBegun = true;
    try {
      this.options.heard.note(said.id);
    } catch {
      // a full disk: this process knows it nevertheless
    }
  }

  /** Why it is not taken on, or null. */
  private refusalOf({ moment, priority, sender }: SayMessage, { redelivered, time }: JsMsg): string | null {
    const { held, heldForUrgent, senderBurst, senderPerMinute } = this.options.limits;
    if (this.inHand.size > (priority === "urgent" ? held : held - heldForUrgent))
      return `${this.inHand.size - 1} announcements wait already`;
    const aheadMs = moment - this.clock.nowMs();
    if (aheadMs > ANNOUNCE_LIMITS.aheadMs + SLACK_MS)
      return `it is ${(aheadMs / 3_600_000).toFixed(1)} hours ahead, and may be ${ANNOUNCE_LIMITS.aheadMs / 3_600_000}`;
    if (!redelivered && !this.rates.take(sender, time.getTime()))
      return `${sender} has sent ${senderBurst} announcements, and more than ${senderPerMinute} a minute since`;
    return null;
  }

  /** Brings its sound here. @returns its seconds @throws as fetching a phrase does */
  private async lengthOf({ chime, phrases, repeat, speed }: SayMessage): Promise<number> {
    const known = new Map<string, number>();
    for (const phrase of new Set(isPhrase(chime) ? [...phrases, chime] : phrases)) {
      const { samples } = await this.options.phrases.fetch(phrase);
      known.set(phrase, samples.length / SAMPLE_RATE_HZ);
    }
    const words = phrases.reduce((sum, phrase) => sum + known.get(phrase)!, 0);
    return (repeat * words) / speed + 2 * (known.get(chime) ?? 0);
  }

  /** Until its sound must be read, or the board leaves. */
  private async untilDue({ moment }: SayMessage): Promise<void> {
    const { signal } = this.leaving;
    while (!signal.aborted) {
      const leftMs = moment - this.options.limits.loadAheadMs - this.clock.nowMs();
      if (leftMs <= 0) return;
      await Promise.race([this.left, Bun.sleep(Math.min(leftMs, this.options.limits.loadAheadMs))]);
    }
  }

  /** Nothing will be said: everybody is told why. */
  private refuse(
    message: JsMsg,
    said: SayMessage,
    what: FleetOutcome["what"],
    reason: string,
    figures: Partial<Pick<Outcome, "seconds" | "lateMs">> = {},
  ): void {
    this.tell(said, what, reason, figures);
    this.answer(said, "refused", reason);
    this.isOver(message, said);
  }

  private answer({ id }: SayMessage, state: Answer["state"], reason: string): void {
    const { name } = this.options;
    this.publish(answerSubject(id), writeAnswer({ board: name, state, reason }));
  }

  private tell(
    { id, rooms, sender }: SayMessage,
    what: FleetOutcome["what"],
    reason: string,
    figures: Partial<Pick<Outcome, "seconds" | "lateMs">> = {},
  ): void {
    const { name, tell } = this.options;
    const { lateMs = 0, seconds = 0 } = figures;
    const at = Math.round(this.clock.nowMs());
    this.publish(
      outcomeSubject(name),
      writeOutcome({ id, board: name, rooms, what, reason, seconds, lateMs, at }),
    );
    const facts = [what, reason, seconds > 0 ? `${seconds.toFixed(1)} s of sound` : ""];
    tell.info(`from ${sender} for ${rooms.join(", ")}: ${facts.filter((fact) => fact !== "").join(", ")}`);
  }

  private publish(subject: string, text: string): void {
    this.toHub(() => this.hub.connection.publish(subject, text));
  }

  /** While the hub is away nobody hears it: the message itself comes again. */
  private toHub(send: () => void): void {
    try {
      send();
    } catch {
      // this connection has ended
    }
  }

  /** What waits is given back to the hub; what sounds may finish for a while. */
  async end(): Promise<void> {
    this.leaving.abort();
    const sounding = [...this.inHand.values()].filter(({ hasBegun }) => hasBegun);
    await Promise.race([
      Promise.all(sounding.map(({ done }) => done)),
      Bun.sleep(this.options.limits.leaveMs),
    ]);
    for (const { hasBegun, message } of this.inHand.values()) if (!hasBegun) this.toHub(() => message.nak());
  }
}

/** The hub may let a sender write under its own name alone. @throws TtsError REQUEST_INVALID */
function checkSender({ subject }: JsMsg, { rooms, sender }: SayMessage): void {
  if (rooms.some((room) => saySubject(room, sender) === subject)) return;
  throw new TtsError(
    "REQUEST_INVALID",
    `an announcement of ${sender} for ${rooms.join(", ")} came as ${subject}`,
  );
}

/** Senders look at their clock a little earlier. */
const SLACK_MS = 60_000;

const minutes = (seconds: number) => `${(seconds / 60).toFixed(0)} min`;
const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;
