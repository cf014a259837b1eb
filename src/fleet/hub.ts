// The hub that boards meet at: a NATS server with JetStream. Connects to it, makes what the fleet keeps
// there, and turns its failures into errors of one line. Nothing listens on this machine.

import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { type ObjectStore, Objm } from "@nats-io/obj";
import {
  type Authenticator,
  connect,
  credsAuthenticator,
  type NatsConnection,
  type NodeConnectionOptions,
  nanos,
  nkeyAuthenticator,
} from "@nats-io/transport-node";
import { FLEET_LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import type { Tell } from "../types.ts";
import {
  BOARD_BUCKET,
  CLOCK_STREAM,
  labelSubject,
  PHRASE_BUCKET,
  PIECES_SUBJECT,
  SAY_STREAM,
  SOUND_STREAM,
  saySubject,
  WORK_STREAM,
  workSubject,
} from "./names.ts";
import { type HubSettings, readCredential, tlsFiles } from "./settings.ts";

/** What the fleet keeps at the hub. */
export interface Hub {
  readonly connection: NatsConnection;
  readonly streams: JetStreamClient;
  readonly manager: JetStreamManager;
  /** Who is there: names of boards -> their states. */
  readonly boards: KV;
  /** Phrases by their keys, in the form of their files. */
  readonly phrases: ObjectStore;
  /** Its address, without user and password. */
  readonly url: string;
  /** Makes what is missing there, as after a loss of its disk. */
  prepare(): Promise<void>;
  close(): Promise<void>;
}

export interface HubOptions {
  /** How the hub's administrator sees this connection. */
  name: string;
  /** Comes back to a hub that has gone, for ever; `true`: also waits for one that is not there yet. */
  patient?: boolean | "later";
  tell?: Tell;
}

type StreamSettings = Partial<StreamConfig> & Pick<StreamConfig, "name" | "max_bytes">;

const STREAMS: readonly StreamSettings[] = [
  {
    name: SAY_STREAM,
    subjects: [saySubject("*", "*")],
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_age: nanos(FLEET_LIMITS.sayMs),
    max_msgs: FLEET_LIMITS.sayMessages,
    max_bytes: FLEET_LIMITS.sayBytes,
    max_msg_size: FLEET_LIMITS.messageBytes,
    duplicate_window: nanos(FLEET_LIMITS.dedupeMs),
  },
  {
    name: CLOCK_STREAM,
    subjects: ["tts.clock.*"],
    storage: StorageType.Memory,
    max_bytes: FLEET_LIMITS.clockBytes,
    max_msgs_per_subject: 64, // a machine's board and those who announce on it may have one name
    max_msg_size: FLEET_LIMITS.messageBytes,
    max_age: nanos(FLEET_LIMITS.stateMs),
  },
  {
    name: WORK_STREAM,
    subjects: [workSubject("*", "*")],
    storage: StorageType.File,
    retention: RetentionPolicy.Workqueue,
    discard: DiscardPolicy.New, // a full queue is told to who fills it
    max_bytes: FLEET_LIMITS.workBytes,
    max_msg_size: FLEET_LIMITS.messageBytes,
    max_age: nanos(FLEET_LIMITS.soundMs),
  },
  {
    name: SOUND_STREAM,
    subjects: [PIECES_SUBJECT, labelSubject("*")],
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_bytes: FLEET_LIMITS.soundBytes,
    max_age: nanos(FLEET_LIMITS.soundMs),
    allow_direct: true,
  },
];

/**
 * A patient one waits for a hub that is not there, but for none that does not let it in.
 * @throws TtsError FLEET_UNREACHABLE, FLEET_REFUSED, INPUT_UNREADABLE for a file of the settings
 */
export async function connectHub(settings: HubSettings, options: HubOptions): Promise<Hub> {
  const { patient, tell } = options;
  const connecting = await connectionOptions(settings, options);
  for (let attempt = 0; ; attempt++) {
    try {
      return await openHub(connecting, settings.url, tell);
    } catch (error) {
      const fault = asHubError(settings.url, error);
      if (patient !== true || fault.code !== "FLEET_UNREACHABLE") throw fault;
      if (attempt === 0) tell?.warn(`${fault.inOneLineWith(fault.markedHint)}; waiting for it`);
    }
    await Bun.sleep(FLEET_LIMITS.reconnectMs);
  }
}

async function openHub(options: NodeConnectionOptions, url: string, tell?: Tell): Promise<Hub> {
  const connection = await connect(options);
  try {
    return await furnished(connection, url, tell);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

async function furnished(connection: NatsConnection, url: string, tell?: Tell): Promise<Hub> {
  const timeout = FLEET_LIMITS.requestMs;
  const manager = await jetstreamManager(connection, { timeout });
  const hub = {
    ...{ connection, manager, url },
    streams: jetstream(connection, { timeout }),
    boards: undefined as unknown as KV, // prepare() sets them
    phrases: undefined as unknown as ObjectStore,
    async prepare() {
      const [kvm, objm] = [new Kvm(connection), new Objm(connection)];
      const { phraseBytes, phraseMs, stateBytes, stateMs } = FLEET_LIMITS;
      const create = {
        stream: (stream: StreamSettings) => (bytes: number) =>
          manager.streams.add({ ...stream, max_bytes: bytes }),
        boards: (bytes: number) =>
          kvm.create(BOARD_BUCKET, {
            ...{ history: 2, ttl: stateMs, max_bytes: bytes },
            storage: StorageType.Memory, // it changes all the time, and boards tell it again
          }),
        phrases: (bytes: number) => objm.create(PHRASE_BUCKET, { ttl: nanos(phraseMs), max_bytes: bytes }),
      };
      for (const stream of STREAMS)
        await madeIfMissing(manager, stream.name, stream.max_bytes, create.stream(stream));
      await madeIfMissing(manager, `KV_${BOARD_BUCKET}`, stateBytes, create.boards);
      await madeIfMissing(manager, `OBJ_${PHRASE_BUCKET}`, phraseBytes, create.phrases);
      hub.boards = await kvm.open(BOARD_BUCKET);
      hub.phrases = await objm.open(PHRASE_BUCKET);
    },
    close: () => connection.close(),
  };
  await hub.prepare();
  if (tell !== undefined) void follow(connection, url, tell);
  return hub;
}

/**
 * What another version of the program has made with other limits stays, and what another machine makes at the
 * same moment.
 * @throws what both throw
 */
export async function unlessThere(
  isMissing: number,
  look: () => Promise<unknown>,
  create: () => Promise<unknown>,
): Promise<void> {
  try {
    await look();
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== isMissing) throw error;
    try {
      await create();
    } catch (failure) {
      await look().catch(() => {
        throw failure;
      });
    }
  }
}

/** A hub reserves what a stream may hold, and refuses more than its disk has; half of it may do. */
async function madeIfMissing(
  manager: JetStreamManager,
  stream: string,
  bytes: number,
  create: (bytes: number) => Promise<unknown>,
): Promise<void> {
  const look = () => manager.streams.info(stream);
  await unlessThere(JetStreamApiCodes.StreamNotFound, look, async () => {
    try {
      await create(bytes);
    } catch (error) {
      if (bytes / 2 < FLEET_LIMITS.leastBytes || !/insufficient/.test(String(error))) throw error;
      await madeIfMissing(manager, stream, bytes / 2, create);
    }
  });
}

/** Tells when the hub goes and comes back. */
async function follow(connection: NatsConnection, url: string, tell: Tell): Promise<void> {
  let isGone = false;
  for await (const { type } of connection.status()) {
    if (type === "disconnect" && !isGone) tell.warn(`the hub at ${url} has gone; waiting for it`);
    else if (type === "reconnect") tell.info(`the hub at ${url} is back`);
    if (type === "disconnect" || type === "reconnect") isGone = type === "disconnect";
  }
}

async function connectionOptions(
  settings: HubSettings,
  { name, patient = false }: HubOptions,
): Promise<NodeConnectionOptions> {
  const { credentials, password, url, user } = settings;
  const files = await tlsFiles(settings);
  const isSecret = url.startsWith("tls:") || Object.keys(files).length > 0;
  return {
    servers: url.replace(/^\w+:\/\//, ""),
    name,
    timeout: FLEET_LIMITS.connectMs,
    ignoreClusterUpdates: true, // a hub may tell addresses that only it can reach
    reconnectTimeWait: FLEET_LIMITS.reconnectMs,
    pingInterval: FLEET_LIMITS.hubPingMs,
    ...(patient ? { maxReconnectAttempts: -1, ignoreAuthErrorAbort: true } : { reconnect: false }),
    ...(user === "" ? {} : { user, pass: password }),
    ...(credentials === ""
      ? {}
      : { authenticator: authenticatorOf(credentials, await readCredential(credentials)) }),
    ...(isSecret ? { tls: files } : {}),
  };
}

/** A file of credentials holds a token and a seed, the other kind a seed alone. @throws INPUT_UNREADABLE */
function authenticatorOf(path: string, text: string): Authenticator {
  const bytes = new TextEncoder().encode(text.trim());
  const sign = text.includes("BEGIN NATS USER JWT") ? credsAuthenticator(bytes) : nkeyAuthenticator(bytes);
  try {
    sign("a trial");
  } catch (error) {
    const hint = "give a .creds file of NATS, or the seed of an nkey";
    throw new TtsError("INPUT_UNREADABLE", `${path} holds no credentials`, hint, { cause: error });
  }
  return sign;
}

/** What the client or the hub threw, as an error of one line. @param url without a password */
export function asHubError(url: string, error: unknown): TtsError {
  if (error instanceof TtsError) return error;
  const { message, name } = error instanceof Error ? error : { message: String(error), name: "" };
  const [code, what, hint] = meaningOf(name, message);
  return new TtsError(code, `the hub at ${url} ${what}`, hint, { cause: error });
}

function meaningOf(name: string, message: string): ["FLEET_UNREACHABLE" | "FLEET_REFUSED", string, string] {
  const refused = "FLEET_REFUSED";
  if (/authoriz|authentic|permission/i.test(`${name} ${message}`))
    return [
      refused,
      `does not let us in (${message})`,
      "check {fleet} with its user, password or credentials",
    ];
  if (/JetStreamNotEnabled/i.test(name) || /jetstream.*not enabled/i.test(message))
    return [refused, "has no JetStream", "start it with nats-server -js"];
  if (/insufficient|no space|maximum (bytes|messages)|max.*exceeded|resource/i.test(message))
    return [
      refused,
      `has no room left (${message})`,
      "free some of its disk, or raise its limits of JetStream",
    ];
  if (/not support .tls/i.test(message))
    return [refused, "has no TLS", "give {fleet} with nats:// instead of tls://"];
  if (/certificate|self.signed|tls|ssl/i.test(message))
    return [
      refused,
      `has no certificate that we trust (${message})`,
      "give its authority with ca in config.json",
    ];
  if (
    /^(Timeout|NoResponders|Closed|Connection|Draining|Request)/.test(name) ||
    /refused|ENOTFOUND|timeout/i.test(message)
  )
    return [
      "FLEET_UNREACHABLE",
      `does not answer (${message})`,
      "start it there with nats-server -js, or check {fleet}",
    ];
  return [refused, `failed: ${message}`, "look into its log"];
}
