// A fleet for tests: a real hub, and boards in this process that note what they say instead of sounding.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { Outcome } from "../../src/announce/announce.ts";
import { PhraseCache, phraseKey } from "../../src/announce/phrases.ts";
import { FLEET_LIMITS, type FleetLimits } from "../../src/config.ts";
import { Sender } from "../../src/fleet/announcing.ts";
import { Board, type BoardModel } from "../../src/fleet/board.ts";
import { HubClock } from "../../src/fleet/clock.ts";
import { Heard } from "../../src/fleet/heard.ts";
import { connectHub, type Hub } from "../../src/fleet/hub.ts";
import type { MakeSound } from "../../src/fleet/making.ts";
import { type FleetOutcome, readOutcome, type SayMessage, writeSay } from "../../src/fleet/messages.ts";
import { outcomeSubject, SAY_STREAM, saySubject } from "../../src/fleet/names.ts";
import { SharedPhrases } from "../../src/fleet/phrases.ts";
import type { HubSettings } from "../../src/fleet/settings.ts";
import type { Say } from "../../src/fleet/spokesman.ts";
import type { Tell } from "../../src/types.ts";
import { patient, scratchFolder } from "../_support.ts";
import { TestServer } from "./_servers.ts";

/** So that nothing waits long; a board's own messages come again soon. */
export const SHORT: FleetLimits = {
  ...FLEET_LIMITS,
  ackMs: 1_500,
  workingMs: 400,
  reconnectMs: 100,
  beatMs: 500,
  leadMs: 150,
  leaveMs: 500,
  makingSilenceMs: 2_000,
  answerMs: 4_000,
  heldForUrgent: 0,
};
const SAMPLES = 2_400;
const LOOK_MS = 10;

export const newFolder = () => mkdtempSync(join(scratchFolder(), "house-"));

export const settingsOf = (port: number, more: Partial<HubSettings> = {}): HubSettings => ({
  ...{ user: "", password: "", credentials: "", ca: "", certificate: "", key: "" },
  url: `nats://127.0.0.1:${port}`,
  ...more,
});

/** Looks until it is so. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + patient(15_000);
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`);
    await Bun.sleep(LOOK_MS);
  }
}

/** What a board or a sender has told a person. */
export class Told implements Tell {
  readonly lines: string[] = [];
  private readonly note = (message: string) => void this.lines.push(message);
  readonly debug = this.note;
  readonly info = this.note;
  readonly warn = this.note;
}

export interface Said {
  board: string;
  id: string;
  /** By the hub's clock. */
  beganMs: number;
  moment: number;
}

/** Says nothing, at the right moment. */
export class FakeSay implements Say {
  reason = "";
  /** Its process has been killed. */
  isDead = false;
  what: Outcome["what"] = "said";
  lengthMs = 0;

  constructor(
    private readonly board: string,
    private readonly clock: HubClock,
    private readonly said: Said[],
  ) {}

  reasonNotTo = () => this.reason;

  async say({ id, moment }: SayMessage, _: SharedPhrases, onBegin: () => void): Promise<Outcome> {
    while (this.clock.nowMs() < moment) await Bun.sleep(Math.min(1_000, moment - this.clock.nowMs()));
    if (this.isDead) await new Promise(() => {});
    const nothing = { parts: 1, cached: 1, waitedMs: 0, madeMs: 0, lateMs: 0 };
    if (this.what !== "said") return { ...nothing, what: this.what, seconds: 0 };
    onBegin();
    this.said.push({ board: this.board, id, beganMs: this.clock.nowMs(), moment });
    await Bun.sleep(this.lengthMs);
    return { ...nothing, what: "said", seconds: this.lengthMs / 1_000 };
  }
}

export interface TestBoard {
  name: string;
  board: Board;
  hub: Hub;
  clock: HubClock;
  say: FakeSay;
  told: Told;
  cache: PhraseCache;
  /** As if it were killed: it says nothing more, and nothing is acknowledged. */
  die(): Promise<void>;
}

export interface BoardParts {
  rooms?: readonly string[];
  model?: Partial<BoardModel> | null;
  /** For what a board of this name has heard, and its phrases; default: a new one. */
  folder?: string;
  wallMs?: () => number;
  limits?: Partial<FleetLimits>;
  settings?: Partial<HubSettings>;
}

export interface SenderParts {
  make?: MakeSound | null;
  /** Where `make` keeps what it makes. */
  cache?: PhraseCache;
  limits?: Partial<FleetLimits>;
  settings?: Partial<HubSettings>;
}

export class House {
  readonly said: Said[] = [];
  readonly outcomes: FleetOutcome[] = [];
  private readonly closing: (() => Promise<unknown>)[] = [];

  private constructor(
    readonly server: TestServer,
    private readonly port: number,
  ) {}

  /** As {@link TestServer.nats}. */
  static async open(options = "", limits = ""): Promise<House> {
    const server = await TestServer.nats(options, limits);
    const house = new House(server, server.port);
    house.closing.push(() => server.kill());
    return house;
  }

  /** Boards and senders of this process at a hub that another one has started. */
  static at(port: number): House {
    return new House(undefined as never, port);
  }

  settings(more: Partial<HubSettings> = {}): HubSettings {
    return settingsOf(this.port, more);
  }

  /** A connection for the test itself. */
  async hub(settings: Partial<HubSettings> = {}): Promise<Hub> {
    const hub = await connectHub(this.settings(settings), { name: "test", patient: true });
    this.closing.unshift(() => hub.close());
    return hub;
  }

  /** Notes what becomes of announcements on any board. */
  async listen(): Promise<void> {
    const { connection } = await this.hub();
    connection.subscribe(outcomeSubject("*"), {
      callback: (_, { data }) => void this.outcomes.push(readOutcome(data)),
    });
    await connection.flush();
  }

  async board(name: string, parts: BoardParts = {}): Promise<TestBoard> {
    const { folder = newFolder(), rooms = ["hallway"], wallMs } = parts;
    const told = new Told();
    const hub = await connectHub(this.settings(parts.settings), { name, patient: true, tell: told });
    const clock = new HubClock(wallMs);
    await clock.look(hub, name);
    const say = new FakeSay(name, clock, this.said);
    const cache = new PhraseCache(join(folder, "phrases"));
    const model = { name: "starter", kind: "01234567", lanes: 1, rtf: () => 1, make: makerOf(cache) };
    const board = new Board(hub, clock, {
      ...{ name, rooms, say, version: "1.0", tell: told },
      model: parts.model === null ? null : { ...model, ...parts.model },
      phrases: new SharedPhrases(hub, cache, cache),
      heard: new Heard(join(folder, "heard")),
      limits: { ...SHORT, ...parts.limits },
    });
    const die = () => {
      say.isDead = true;
      return hub.close();
    };
    this.closing.unshift(() => (say.isDead ? Promise.resolve() : board.leave()));
    await board.join();
    return { name, board, hub, clock, say, told, cache, die };
  }

  async sender(name = "desk", parts: SenderParts = {}): Promise<Sender & { told: Told }> {
    const told = new Told();
    const hub = await connectHub(this.settings(parts.settings), { name });
    this.closing.unshift(() => hub.close());
    const clock = new HubClock();
    await clock.look(hub, name);
    const { cache = new PhraseCache(newFolder()), make = null } = parts;
    const phrases = new SharedPhrases(hub, cache, cache);
    const limits = { ...SHORT, ...parts.limits };
    const sender = new Sender(hub, clock, { name, phrases, make, tell: told, limits });
    return Object.assign(sender, { told });
  }

  /** Those that have said an announcement, in the order of their names. */
  saidBy(id: string): string[] {
    return this.said.flatMap((said) => (said.id === id ? [said.board] : [])).toSorted();
  }

  /** Messages that the hub would give a board again, or has not given it yet. */
  async pending(hub: Hub, board: string, rooms: readonly string[]): Promise<number> {
    const infos = await Promise.all(
      rooms.map((room) => hub.manager.consumers.info(SAY_STREAM, `${board}__${room}`)),
    );
    return infos.reduce((sum, { num_ack_pending, num_pending }) => sum + num_ack_pending + num_pending, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.closing) await close().catch(() => {});
  }
}

/** A model that "speaks" at once. @param made gets each text */
export function makerOf(cache: PhraseCache, made: string[] = []): MakeSound {
  return async ({ text }) => {
    made.push(text);
    const key = phraseKey({ text });
    const samples = new Float32Array(SAMPLES).fill(0.1);
    if (cache.get(key) === null) cache.put(key, { samples, words: [] }, false);
    return { keys: [key], seconds: 0.1, loudness: -23, model: "starter" };
  };
}

/** An announcement as a stranger may write it, without a Sender. @param phrase is at the hub */
export function messageOf(phrase: string, more: Partial<SayMessage> = {}): SayMessage {
  const moment = Math.round(Date.now() + 100);
  return {
    ...{ id: crypto.randomUUID(), sender: "desk", rooms: ["hallway"], moment, latest: moment + 60_000 },
    freshUntil: moment + 60_000,
    ...{ priority: "normal", repeat: 1, chime: "", dedupeMs: 0, mostWaitMs: 60_000, phrases: [phrase] },
    ...{ loudness: null, speed: 1 },
    ...more,
  };
}

/** @param msgID under which the hub knows it; two are two messages */
export function publish({ streams }: Hub, message: SayMessage, msgID: string = message.id) {
  return streams.publish(saySubject(message.rooms[0], message.sender), writeSay(message), { msgID });
}
