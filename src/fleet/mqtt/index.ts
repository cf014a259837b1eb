// The bridge between the fleet and a broker of MQTT: messages to rooms are spoken there, and the broker keeps
// who is in the rooms and what became of the messages, for Home Assistant and others. Any number of boards
// may be bridges: each message comes to one of them, and the first by its name writes what is common to all.

import { MQTT_LIMITS } from "../../limits.ts";
import type { Tell } from "../../types.ts";
import { isIn } from "../directory.ts";
import type { FleetOutcome } from "../messages.ts";
import { ALL_ROOMS } from "../names.ts";
import type { HubSettings } from "../settings.ts";
import { Broker, type BrokerMessage } from "./_broker.ts";
import { Desk, type DeskHost } from "./_desk.ts";
import { birthTopic, discoveryOf, discoveryTopic } from "./_discovery.ts";
import { type RoomBoard, type RoomStatus, readStatus, statusesOf } from "./_rooms.ts";
import {
  ALL_BRIDGES,
  ALL_STATUS,
  bridgeTopic,
  OFFLINE,
  ONLINE,
  outcomeTopic,
  readTopic,
  SHARED_SAY,
  statusTopic,
} from "./_topics.ts";

/** What the bridge stands on. */
export interface BridgeFleet extends Omit<DeskHost, "isRoom" | "tellOutcome"> {
  /** As far as it is known now. */
  boards(): readonly RoomBoard[];
  /** Whether the hub is there. */
  isConnected(): boolean;
}

export interface BridgeOptions {
  /** Of the board; no other bridge of the broker may have it. */
  name: string;
  settings: HubSettings;
  /** Where Home Assistant looks for devices, such as homeassistant; "": it is told nothing. */
  discovery: string;
  tell: Tell;
}

/** In the will alone: a bridge that ends by itself leaves nothing behind. */
const DIED = { died: "1" };
const clientIdOf = (bridge: string) => `tts-${bridge}`;

export class Bridge {
  private readonly desk: Desk;
  private readonly broker: Broker;
  /** What this bridge has the broker keep, by topic. */
  private readonly written = new Map<string, string>();
  /** Outcomes of rooms that the broker does not know yet. */
  private readonly unsent = new Map<string, string>();
  /** As the broker keeps them. */
  private rooms = new Map<string, RoomStatus>();
  /** Other bridges that say they are there -> since when the hub does not know them; null: it does. */
  private readonly others = new Map<string, number | null>();
  private hearsSay: boolean | null = null;
  private isLeader = false;
  /** What the broker keeps has come. */
  private isSettled = false;
  private settling: Timer | undefined;
  private looking: Timer | undefined;

  private constructor(
    private readonly fleet: BridgeFleet,
    private readonly options: BridgeOptions,
  ) {
    const { name, settings, tell } = options;
    this.desk = new Desk({
      announce: (request, signal) => fleet.announce(request, signal),
      nowMs: () => fleet.nowMs(),
      monotonicMs: () => fleet.monotonicMs(),
      isRoom: (room) => this.isRoom(room),
      tellOutcome: (room, outcome) => this.tellOutcome(room, JSON.stringify(outcome)),
    });
    const clientId = clientIdOf(name);
    const will = { topic: bridgeTopic(name), payload: OFFLINE, userProperties: DIED };
    this.broker = new Broker(
      { settings, clientId, will },
      { onConnect: () => this.begin(), onMessage: (message) => this.take(message, clientId), tell },
    );
  }

  /** @throws TtsError FLEET_REFUSED by the broker, INPUT_UNREADABLE for a file of the settings */
  static async open(fleet: BridgeFleet, options: BridgeOptions): Promise<Bridge> {
    const bridge = new Bridge(fleet, options);
    await bridge.broker.open();
    bridge.looking = setInterval(() => bridge.look(), MQTT_LIMITS.lookMs);
    return bridge;
  }

  /** What boards tell of announcements. */
  hear(outcome: FleetOutcome): void {
    this.desk.hear(outcome);
  }

  /** Gives up what is not at the boards yet. Where this bridge is the only one, the broker waits for it. */
  async close(): Promise<void> {
    clearInterval(this.looking);
    clearTimeout(this.settling);
    this.desk.close();
    this.write(bridgeTopic(this.options.name), OFFLINE);
    await this.broker.close(this.others.size > 0);
  }

  private begin(): void {
    this.written.clear();
    this.others.clear();
    [this.hearsSay, this.isLeader, this.isSettled] = [null, false, false];
    const { discovery } = this.options;
    for (const filter of [ALL_BRIDGES, ALL_STATUS, ...(discovery === "" ? [] : [birthTopic(discovery)])])
      this.broker.subscribe(filter, false);
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.isSettled = true;
      this.look();
    }, MQTT_LIMITS.settleMs);
  }

  /** @param session whose it was at the broker */
  private take({ packet, payload, topic: name }: BrokerMessage, session: string): void {
    const topic = readTopic(name);
    if (topic.kind === "say") {
      const { dup, messageId, retain } = packet;
      // what a broker keeps was said before: mosquitto sends it to a group as well
      if (!retain) this.desk.take(topic.room, { dup, payload, number: `${session} ${messageId}` });
    } else if (session !== clientIdOf(this.options.name)) return;
    else if (topic.kind === "status") this.learn(topic.room, payload.toString());
    else if (topic.kind === "bridge") this.meet(topic.bridge, payload.toString(), packet);
    else if (name === birthTopic(this.options.discovery) && payload.toString() === ONLINE)
      this.isLeader = false; // the leader then writes everything anew
  }

  /** Who writes it knows better than what comes late of what was written before. */
  private learn(room: string, payload: string): void {
    if (this.isLeader) return;
    const status = readStatus(payload);
    if (status === null) this.rooms.delete(room);
    else if (this.rooms.size < MQTT_LIMITS.rooms) this.rooms.set(room, status);
  }

  private meet(bridge: string, payload: string, { properties, retain }: BrokerMessage["packet"]): void {
    if (bridge === this.options.name) {
      this.written.delete(bridgeTopic(bridge)); // said by others: say it again
    } else if (payload === ONLINE) this.others.set(bridge, null);
    else {
      this.others.delete(bridge);
      const hasDied = properties?.userProperties?.died !== undefined && !retain;
      if (hasDied && this.leads()) void this.takeOver(bridge);
    }
  }

  /** Messages that the broker has for a bridge that has died. */
  private async takeOver(bridge: string): Promise<void> {
    const session = clientIdOf(bridge);
    await this.broker.takeOver(session, (message) => this.take(message, session));
  }

  /** Whether this bridge writes what is common to all: the first by its name does. */
  private leads(): boolean {
    const { name } = this.options;
    return this.fleet.isConnected() && this.others.keys().every((other) => name < other);
  }

  /** Brings what the broker keeps up to date. */
  private look(): void {
    if (!this.broker.isConnected || !this.isSettled) return;
    const isThere = this.fleet.isConnected();
    this.hearSay(isThere || this.others.size === 0); // before it says that it is there
    this.write(bridgeTopic(this.options.name), isThere ? ONLINE : OFFLINE);
    for (const [room, outcome] of this.unsent) this.write(outcomeTopic(room), outcome);
    this.unsent.clear();
    this.checkOthers();
    const leads = this.leads();
    if (leads && !this.isLeader) this.written.clear();
    this.isLeader = leads;
    if (leads) this.writeRooms();
  }

  /** A bridge without the hub leaves the messages to the others, if there are any. */
  private hearSay(hears: boolean): void {
    if (hears === this.hearsSay) return;
    this.hearsSay = hears;
    if (hears) this.broker.subscribe(SHARED_SAY, true);
    else this.broker.unsubscribe(SHARED_SAY);
  }

  /** A broker that was killed itself may still say of a bridge that it is there. */
  private checkOthers(): void {
    if (!this.fleet.isConnected()) return;
    const nowMs = this.fleet.monotonicMs();
    const known = new Set(this.fleet.boards().map(({ name }) => name));
    for (const [bridge, absentSince] of this.others) {
      this.others.set(bridge, known.has(bridge) ? null : (absentSince ?? nowMs));
      if (absentSince === null || known.has(bridge) || nowMs - absentSince < MQTT_LIMITS.absentMs) continue;
      this.others.delete(bridge);
      this.broker.publish(bridgeTopic(bridge), OFFLINE, true);
    }
  }

  private writeRooms(): void {
    const { discovery, name } = this.options;
    const statuses = statusesOf(this.fleet.boards(), this.rooms, this.fleet.nowMs());
    const bridges = [name, ...this.others.keys()].toSorted();
    const device = (room: string, config: string) => {
      if (discovery !== "") this.write(discoveryTopic(discovery, room), config);
    };
    for (const room of this.rooms.keys()) {
      if (statuses.has(room)) continue;
      for (const topic of [statusTopic(room), outcomeTopic(room)]) this.write(topic, "");
      device(room, "");
    }
    this.rooms = statuses;
    for (const [room, status] of statuses) {
      this.write(statusTopic(room), JSON.stringify(status));
      device(room, JSON.stringify(discoveryOf(room, bridges, status.state === "empty")));
    }
  }

  private write(topic: string, payload: string): void {
    if (!this.broker.isConnected || this.written.get(topic) === payload) return;
    this.broker.publish(topic, payload, true);
    this.written.set(topic, payload);
  }

  private isRoom(room: string): boolean {
    return (
      room === ALL_ROOMS || this.rooms.has(room) || this.fleet.boards().some((board) => isIn(board, room))
    );
  }

  private tellOutcome(room: string, outcome: string): void {
    // nobody can fill the broker with rooms that never were
    if (!this.isRoom(room)) this.broker.publish(outcomeTopic(room), outcome, false);
    else if (this.broker.isConnected) this.write(outcomeTopic(room), outcome);
    else this.unsent.set(room, outcome);
  }
}
