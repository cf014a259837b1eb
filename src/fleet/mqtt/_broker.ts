// The connection to a broker of MQTT 5: comes back for ever, with longer and longer waits, tells when the
// broker goes and returns, and turns its failures into errors of one line. Each attempt has a client of its
// own, so nothing of an old connection is sent on a new one. The password is never shown.

import type { IClientOptions, IPublishPacket, MqttClient } from "mqtt";
import { TtsError } from "../../errors.ts";
import { MQTT_LIMITS } from "../../limits.ts";
import type { Tell } from "../../types.ts";
import { type HubSettings, tlsFiles } from "../settings.ts";

export interface BrokerMessage {
  topic: string;
  payload: Buffer;
  packet: IPublishPacket;
}

export interface BrokerHost {
  /** The connection is there, and nothing is subscribed in it yet. */
  onConnect(): void;
  onMessage(message: BrokerMessage): void;
  tell: Tell;
}

export interface BrokerOptions {
  settings: HubSettings;
  /** The broker knows the session by it. */
  clientId: string;
  /** What the broker publishes, and keeps, where this process goes without a word. */
  will: { topic: string; payload: string; userProperties: Record<string, string> };
}

export class Broker {
  /** Of the connection that is there, or is tried now. */
  private client: MqttClient | null = null;
  private backoffMs: number = MQTT_LIMITS.backoffMs;
  private next: Timer | undefined;
  /** What was told last; the first connection is told of where it took several attempts. */
  private told: "nothing" | "gone" | "refused" = "nothing";
  /** What the broker has not let us do in this connection. */
  private readonly denied = new Set<string>();
  private isOver = false;

  private connect!: (clientId: string, more: IClientOptions) => MqttClient;

  constructor(
    private readonly options: BrokerOptions,
    private readonly host: BrokerHost,
  ) {}

  /**
   * Waits for a broker that is not there yet, beside what follows.
   * @throws TtsError FLEET_REFUSED by one that is there; INPUT_UNREADABLE for a file of the settings
   */
  async open(): Promise<void> {
    const shared = await connectionOptions(this.options.settings);
    const { connect } = (await import("mqtt")).default; // takes 40 ms
    this.connect = (clientId, more) => connect({ ...shared, ...more, clientId });
    await new Promise<void>((resolve, reject) => {
      this.attempt((failure) => {
        const isRefused = failure?.code === "FLEET_REFUSED";
        if (isRefused) reject(failure);
        else resolve();
        return !isRefused;
      });
    });
  }

  private get url(): string {
    return this.options.settings.url;
  }

  get isConnected(): boolean {
    return this.client?.connected ?? false;
  }

  /** Sent now or never. @param keep for those who come later; "" ends that */
  publish(topic: string, payload: string, keep: boolean): void {
    if (!this.isConnected) return;
    this.client?.publish(topic, payload, { qos: 1, retain: keep }, (error) => {
      this.tellDenied("write to", topic, error);
    });
  }

  /** @param keeps whether the broker keeps messages while this client is away; its own never come */
  subscribe(filter: string, keeps: boolean): void {
    // a group may not leave out what its members send
    const nl = !filter.startsWith("$share/");
    this.client?.subscribe(filter, { qos: keeps ? 1 : 0, nl }, (error) => {
      this.tellDenied("read", filter, error);
    });
  }

  unsubscribe(filter: string): void {
    this.client?.unsubscribe(filter, () => {});
  }

  /** The last words are sent first. @param forget the broker keeps nothing for this client any more */
  async close(forget = true): Promise<void> {
    this.isOver = true;
    clearTimeout(this.next);
    const { client } = this;
    this.client = null;
    if (client !== null) await ended(client, forget);
  }

  /** What the broker keeps for another client that has gone, once; that client has no session afterwards. */
  async takeOver(clientId: string, onMessage: BrokerHost["onMessage"]): Promise<void> {
    const client = this.connect(clientId, {});
    client.on("error", () => {}); // "close" follows
    client.on("message", (topic, payload, packet) => onMessage({ topic, payload, packet }));
    await new Promise<void>((resolve) => {
      client.once("close", resolve);
      client.once("connect", ({ sessionPresent }) =>
        setTimeout(resolve, sessionPresent ? MQTT_LIMITS.settleMs : 0),
      );
    });
    await ended(client, true);
  }

  /** @param goesOn told what came of it, null for a connection; whether there are to be more */
  private attempt(goesOn: (failure: TtsError | null) => boolean): void {
    const { clientId, will } = this.options;
    const { payload, topic, userProperties } = will;
    const client = this.connect(clientId, {
      will: { topic, payload: Buffer.from(payload), qos: 1, retain: true, properties: { userProperties } },
    });
    this.client = client;
    let failure: unknown = null;
    let wasConnected = false;
    let stable: Timer | undefined;
    client.on("error", (error) => {
      failure ??= error;
    });
    client.on("message", (topic, payload, packet) => {
      if (this.client === client) this.host.onMessage({ topic, payload, packet });
    });
    client.once("connect", () => {
      if (this.client !== client) return; // closed meanwhile
      wasConnected = true;
      this.denied.clear();
      stable = setTimeout(() => {
        this.backoffMs = MQTT_LIMITS.backoffMs;
      }, MQTT_LIMITS.stableMs);
      if (this.told !== "nothing") this.host.tell.info(`the broker at ${this.url} is there`);
      this.told = "nothing";
      this.host.onConnect();
      goesOn(null);
    });
    client.once("close", () => {
      clearTimeout(stable);
      client.end(true);
      const why = asBrokerError(this.url, failure);
      if (this.isOver || (!wasConnected && !goesOn(why))) return;
      const isRefused = !wasConnected && why.code === "FLEET_REFUSED";
      this.tellGone(wasConnected, isRefused, why);
      this.tryAgain(isRefused);
    });
  }

  private tryAgain(isRefused: boolean): void {
    const { mostBackoffMs } = MQTT_LIMITS;
    const waitMs = isRefused ? mostBackoffMs : this.backoffMs;
    this.backoffMs = Math.min(2 * this.backoffMs, mostBackoffMs);
    this.next = setTimeout(() => this.attempt(() => true), waitMs);
  }

  /** Once for each time that it goes, and once more where it refuses what it took before. */
  private tellGone(wasConnected: boolean, isRefused: boolean, why: TtsError): void {
    if (isRefused ? this.told === "refused" : this.told !== "nothing") return;
    this.told = isRefused ? "refused" : "gone";
    const { tell } = this.host;
    if (isRefused) tell.warn(`${why.inOneLineWith(why.markedHint)}; trying again`);
    else if (wasConnected) tell.warn(`the broker at ${this.url} has gone; waiting for it`);
    else tell.warn(`${why.message}; waiting for it`);
  }

  /** The first of each kind; a connection that ends meanwhile is no refusal. */
  private tellDenied(what: string, topic: string, error: unknown): void {
    if (codeOf(error) === 0 || this.denied.has(what)) return;
    this.denied.add(what);
    const { message } = error as Error;
    this.host.tell.warn(`the broker at ${this.url} does not let us ${what} ${topic}: ${message}`);
  }
}

/** Resolves also where the broker does not answer any more. */
async function ended(client: MqttClient, forget: boolean): Promise<void> {
  const properties = forget ? { sessionExpiryInterval: 0 } : {};
  const end = new Promise<void>((resolve) => {
    // a client that is not connected would wait for ever
    if (client.connected) client.end(false, { properties } as object, () => resolve());
    else client.end(true, {}, () => resolve());
  });
  await Promise.race([end, Bun.sleep(MQTT_LIMITS.endMs)]);
  client.end(true);
}

async function connectionOptions(settings: HubSettings): Promise<IClientOptions> {
  const { password, url, user } = settings;
  const { hostname, port, protocol } = new URL(url); // given whole, it would be parsed with a warning
  return {
    protocol: protocol === "mqtts:" ? "mqtts" : "mqtt",
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(port),
    protocolVersion: 5,
    clean: false,
    keepalive: MQTT_LIMITS.keepAliveSeconds,
    connectTimeout: MQTT_LIMITS.connectMs,
    reconnectPeriod: 0,
    properties: {
      sessionExpiryInterval: MQTT_LIMITS.sessionSeconds,
      maximumPacketSize: MQTT_LIMITS.packetBytes,
    },
    ...(user === "" ? {} : { username: user, password }),
    ...(await tlsFiles(settings)),
  };
}

/** Reason codes of MQTT, those of version 3 included. */
const DENIED: ReadonlySet<number> = new Set([4, 5, 134, 135, 138, 140]);
const TOO_OLD: ReadonlySet<number> = new Set([1, 132]);
const BUSY: ReadonlySet<number> = new Set([3, 136, 137, 139]);

/** @returns FLEET_REFUSED where trying again soon is no use */
function asBrokerError(url: string, cause: unknown): TtsError {
  const error = (what: string, hint: string, code: "FLEET_REFUSED" | "FLEET_UNREACHABLE" = "FLEET_REFUSED") =>
    new TtsError(code, `the broker at ${url} ${what}`, hint, { cause });
  const { message } = cause instanceof Error ? cause : { message: "it has closed the connection" };
  const code = codeOf(cause);
  if (DENIED.has(code)) return error("does not let us in", "check {mqtt} with its user and password");
  if (TOO_OLD.has(code)) return error("does not speak MQTT 5", "take another, such as mosquitto");
  if (code > 0 && !BUSY.has(code)) return error(`refuses us: ${message}`, "look into its log");
  if (/certificate|altname|self.signed|CERT_/i.test(`${message} ${systemCodeOf(cause)}`))
    return error(`has no certificate that we trust (${message})`, "give its authority as ca in config.json");
  if (/invalid|malformed|cannot parse/i.test(message) && systemCodeOf(cause) === "")
    return error(`does not speak MQTT (${message})`, "check {mqtt} and its port");
  return error(`does not answer (${message})`, "start it there, or check {mqtt}", "FLEET_UNREACHABLE");
}

const codeOf = (error: unknown): number => {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : 0;
};

const systemCodeOf = (error: unknown): string => {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : "";
};
