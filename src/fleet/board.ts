// A board of the fleet: tells the hub that it is there, and says what is announced in its rooms. It only
// connects outwards; nothing listens on it.

import type { Msg } from "@nats-io/transport-node";
import { FLEET_LIMITS, type FleetLimits } from "../config.ts";
import { asTtsError, TtsError } from "../errors.ts";
import type { Tell } from "../types.ts";
import type { HubClock } from "./clock.ts";
import { ping } from "./directory.ts";
import { Ear } from "./ear.ts";
import type { Heard } from "./heard.ts";
import { asHubError, type Hub } from "./hub.ts";
import { Maker, type MakeSound } from "./making.ts";
import { type BoardState, readOrder, writeState } from "./messages.ts";
import { ALL_ROOMS, boardSubject } from "./names.ts";
import type { SharedPhrases } from "./phrases.ts";
import { type Say, Spokesman } from "./spokesman.ts";

/** The model of a board. */
export interface BoardModel {
  name: string;
  /** Boards of one kind make the same bits of sound. */
  kind: string;
  lanes: number;
  /** Seconds that a second of sound takes now; null: not known. */
  rtf(): number | null;
  make: MakeSound;
}

export interface BoardOptions {
  name: string;
  version: string;
  /** None: it only makes sounds. */
  rooms: readonly string[];
  /** null: it only plays. */
  model: BoardModel | null;
  say: Say;
  phrases: SharedPhrases;
  heard: Heard;
  tell: Tell;
  limits?: FleetLimits;
}

export class Board {
  private readonly maker: Maker | null;
  private readonly spokesman: Spokesman;
  private readonly ears: Ear[];
  private readonly since: number;
  private readonly limits: FleetLimits;
  private lastError = { lastError: "", lastErrorAt: 0 };
  private beatsToLook = BEATS_A_LOOK;
  private timer: Timer | undefined;
  /** Sentences of books that are under way; another part of the board counts them. */
  rendering = 0;

  /** @param clock that has looked at the hub's */
  constructor(
    private readonly hub: Hub,
    private readonly clock: HubClock,
    private readonly options: BoardOptions,
  ) {
    const { limits = FLEET_LIMITS, model, name, phrases, rooms, tell } = options;
    this.limits = limits;
    this.since = Math.round(clock.nowMs());
    this.maker = model === null ? null : new Maker(hub, model.make, phrases, (fault) => this.fault(fault));
    this.spokesman = new Spokesman(hub, clock, {
      ...{ ...options, limits },
      onFault: (fault) => this.fault(fault),
    });
    this.ears = (rooms.length === 0 ? [] : [...rooms, ALL_ROOMS]).map(
      (room) =>
        new Ear(hub, {
          board: name,
          room,
          limits,
          tell,
          take: (message) => void this.spokesman.take(message),
        }),
    );
  }

  /**
   * Begins to listen.
   * @throws TtsError USAGE where a board of this name is there, FLEET_UNREACHABLE, FLEET_REFUSED
   */
  async join(): Promise<void> {
    const { hub, options } = this;
    const other = await ping(hub, options.name);
    if (other !== null)
      throw new TtsError(
        "USAGE",
        `a board called ${options.name} is there already, in ${inWords(other.rooms)}`,
        "give this one another {name}",
      );
    try {
      const orders = hub.connection.subscribe(boardSubject(options.name));
      void this.answer(orders);
      await hub.connection.flush();
      if (orders.isClosed()) throw new Error("no permission to hear what a board is asked");
      await Promise.all(this.ears.map((ear) => ear.open(true)));
      await this.tellState();
    } catch (error) {
      throw asHubError(hub.url, error);
    }
    for (const ear of this.ears) void ear.listen();
    void this.greetAgain();
    this.timer = setInterval(() => void this.beat(), this.limits.beatMs);
  }

  /** Whether its model makes the sound of an announcement. */
  get isMaking(): boolean {
    return this.maker !== null && this.maker.making > 0;
  }

  /** What is there to see of it now. */
  get state(): BoardState {
    const { model, name, rooms, version } = this.options;
    return {
      ...{ name, version, rooms },
      model: model?.name ?? null,
      kind: model?.kind ?? null,
      rtf: model?.rtf() ?? null,
      lanes: model?.lanes ?? 0,
      waiting: this.spokesman.held,
      making: (this.maker?.making ?? 0) + this.rendering,
      ...this.lastError,
      clock: this.clock.offset,
      since: this.since,
      at: Math.round(this.clock.nowMs()),
    };
  }

  /** Notes what went wrong, for everybody to see. */
  fault(fault: TtsError): void {
    const line = fault.inOneLineWith(fault.markedHint);
    this.lastError = { lastError: line, lastErrorAt: Math.round(this.clock.nowMs()) };
    this.options.tell.warn(line);
  }

  /** Never throws. */
  private async answer(requests: AsyncIterable<Msg>): Promise<void> {
    try {
      for await (const request of requests) this.answerOne(request);
    } catch (error) {
      this.fault(asHubError(this.hub.url, error)); // this user may not listen there
    }
  }

  private answerOne(request: Msg): void {
    // a reply goes where clients listen: never to what this board has rights to and its asker has not
    if (!request.reply?.startsWith("_INBOX.")) return;
    try {
      const order = readOrder(request.data);
      if (order === "ping") request.respond(writeState(this.state));
      else if (this.maker !== null) void this.maker.answer(order, request);
    } catch (error) {
      this.options.tell.debug(`a request was left out: ${asTtsError(error).inOneLine}`);
    }
  }

  /** A hub that is back hears of this board at once; it may be another one, with nothing on its disk. */
  private async greetAgain(): Promise<void> {
    for await (const { type } of this.hub.connection.status()) {
      if (type !== "reconnect") continue;
      for (const ear of this.ears) ear.again();
      this.beatsToLook = 0;
      await this.beat();
    }
  }

  private async beat(): Promise<void> {
    if (this.hub.connection.isClosed()) return;
    try {
      await this.tellHub().catch(async () => {
        await this.hub.prepare(); // it has lost something
        await this.tellHub();
      });
    } catch {
      // it is away
    }
  }

  private async tellHub(): Promise<void> {
    const { clock, hub, options } = this;
    if (this.beatsToLook-- <= 0) {
      await clock.look(hub, options.name);
      this.beatsToLook = BEATS_A_LOOK;
    }
    await this.tellState();
  }

  private async tellState(): Promise<void> {
    await this.hub.boards.put(this.options.name, writeState(this.state));
  }

  /** Takes nothing more on; what sounds may finish for a while, what waits is left for its return. */
  async leave(): Promise<void> {
    clearInterval(this.timer);
    const patience = () => Bun.sleep(this.limits.farewellMs); // the hub may be away
    await Promise.race([Promise.all(this.ears.map((ear) => ear.close())), patience()]);
    await this.spokesman.end();
    const farewell = async () => {
      await this.hub.boards.delete(this.options.name);
      await this.hub.connection.drain();
    };
    await Promise.race([farewell().catch(() => {}), patience()]);
    await Promise.race([this.hub.close(), patience()]);
  }
}

/** How often the clock is looked at again. */
const BEATS_A_LOOK = 5;

const inWords = (rooms: readonly string[]) => (rooms.length === 0 ? "no room" : rooms.join(", "));
