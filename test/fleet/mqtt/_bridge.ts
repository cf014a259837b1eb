// A bridge to a real broker before a fleet that is played, and a client that listens to the broker as Home
// Assistant does.

import { expect } from "bun:test";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import mqtt, { type IPublishPacket, type MqttClient } from "mqtt";
import { TtsError } from "../../../src/errors.ts";
import type { FleetAnnouncement, FleetReport } from "../../../src/fleet/announcing.ts";
import type { RoomBoard } from "../../../src/fleet/mqtt/_rooms.ts";
import { Bridge, type BridgeFleet, type BridgeOptions } from "../../../src/fleet/mqtt/index.ts";
import { patient } from "../../_support.ts";

export const HOST = "127.0.0.1";
export const NO_SECRETS = { user: "", password: "", credentials: "", ca: "", certificate: "", key: "" };

/** Boards that take everything; what was announced is in `asked`. */
export class PlayedFleet implements BridgeFleet {
  readonly asked: FleetAnnouncement[] = [];
  isThere = true;
  present: RoomBoard[];
  /** Stands between an announcement and its report. */
  taking: () => Promise<void> = async () => {};

  constructor(rooms: Record<string, string[]>) {
    this.present = Object.entries(rooms).map(([name, rooms]) => ({ name, rooms, waiting: 0 }));
  }

  nowMs = () => Date.now();
  monotonicMs = () => performance.now();
  boards = () => this.present;
  isConnected = () => this.isThere;

  async announce(request: FleetAnnouncement): Promise<FleetReport> {
    this.asked.push(request);
    await this.taking();
    const [room] = request.rooms;
    const boards = this.present.filter(({ rooms }) => room === "all" || rooms.includes(room));
    if (boards.length === 0)
      throw new TtsError("ROOM_EMPTY", `no board is in the room ${room}`, "try {maxLate}");
    return {
      id: `id-${String(this.asked.length).padStart(6, "0")}`,
      moment: Date.now(),
      boards: boards.map(({ name }) => ({ board: name, state: "accepted" as const, reason: "" })),
    };
  }

  get texts(): string[] {
    return this.asked.map(({ text }) => text);
  }
}

const open: { close(): Promise<void> }[] = [];
/** Lines of all bridges since the last test. */
export const lines: string[] = [];

export async function openBridge(
  fleet: BridgeFleet,
  port: number,
  more: Partial<Omit<BridgeOptions, "settings">> & { settings?: Partial<BridgeOptions["settings"]> } = {},
): Promise<Bridge> {
  const note = (line: string) => void lines.push(line);
  const bridge = await Bridge.open(fleet, {
    name: "attic",
    discovery: "homeassistant",
    tell: { info: note, warn: note, debug: note },
    ...more,
    settings: { ...NO_SECRETS, url: `mqtt://${HOST}:${port}`, ...more.settings },
  });
  open.push(bridge);
  return bridge;
}

/** Whoever speaks to the broker; what it hears is in `heard`, the last of each topic. */
export class Listener {
  readonly heard = new Map<string, string>();
  /** All messages, oldest first. */
  readonly all: { topic: string; text: string; packet: IPublishPacket }[] = [];

  private constructor(readonly client: MqttClient) {}

  static async open(port: number, filter = "#"): Promise<Listener> {
    const client = await mqtt.connectAsync(`mqtt://${HOST}:${port}`, {
      protocolVersion: 5,
      reconnectPeriod: 50,
    });
    const listener = new Listener(client);
    client.on("error", () => {});
    client.on("message", (topic, payload, packet) => {
      listener.heard.set(topic, payload.toString());
      listener.all.push({ topic, text: payload.toString(), packet });
    });
    await client.subscribeAsync(filter, { qos: 1, rap: true });
    open.push({ close: () => client.endAsync(true) });
    return listener;
  }

  async say(room: string, message: string | object | Buffer, retain = false): Promise<void> {
    const isPlain = typeof message === "string" || Buffer.isBuffer(message);
    const payload = isPlain ? message : JSON.stringify(message);
    await this.client.publishAsync(`tts/${room}/say`, payload, { qos: 1, retain });
  }

  json(topic: string): Record<string, unknown> {
    return JSON.parse(this.heard.get(topic) || "{}");
  }

  outcome(room: string): Record<string, unknown> {
    return this.json(`tts/${room}/outcome`);
  }
}

/** Waits until it is so; the last difference is the failure. */
export async function eventually(check: () => void): Promise<void> {
  const deadline = performance.now() + patient(8_000);
  for (;;) {
    try {
      return check();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await Bun.sleep(10);
  }
}

/** The bridge hears what is said from now on. */
export const ready = (listener: Listener, bridge = "attic") =>
  eventually(() => expect(listener.heard.get(`tts/_bridge/${bridge}`)).toBe("online"));

export async function closeAll(): Promise<void> {
  await Promise.all(open.splice(0).map((one) => one.close()));
  lines.length = 0;
}

/** The wire between a bridge and its broker, which a test can break. */
export class Wire {
  private readonly sockets = new Set<Socket>();
  /** Of what goes through; answers are what the bridge sends. */
  loses: "nothing" | "answers" | "everything" = "nothing";
  /** Nobody comes through. */
  isClosed = false;

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async open(toPort: number): Promise<Wire> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    const wire = new Wire(server, (server.address() as AddressInfo).port);
    server.on("connection", (near) => {
      if (wire.isClosed) return near.destroy();
      const far = connect(toPort, HOST);
      near.on("data", (bytes) => void (wire.loses === "nothing" && far.write(bytes)));
      far.on("data", (bytes) => void (wire.loses !== "everything" && near.write(bytes)));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ]) {
        wire.sockets.add(one);
        one.on("error", () => {});
        one.on("close", () => other.destroy());
      }
    });
    open.push({ close: async () => wire.close() });
    return wire;
  }

  cut(): void {
    for (const socket of this.sockets) socket.destroy();
    this.sockets.clear();
  }

  private close(): void {
    this.server.close();
    this.cut();
  }
}
