// Where the hub and the broker are, and how they let us in: option > environment > config.json.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { environmentNow, FLEET_LIMITS, loadConfig } from "../config.ts";
import { TtsError } from "../errors.ts";
import { JsonFile } from "../formats/json.ts";
import { readTextFile } from "../io/read.ts";

/** How to reach a server, and how it lets us in. Everything but `url` may be "". */
export interface HubSettings {
  /** Without user and password, such as nats://hub:4222. */
  url: string;
  user: string;
  password: string;
  /** A file of NATS credentials (.creds), or of the seed of an nkey. */
  credentials: string;
  /** PEM files: the authority that the server's certificate comes from, and our own certificate and key. */
  ca: string;
  certificate: string;
  key: string;
}

const FILE = "config.json";
const KEYS = ["url", "user", "password", "credentials", "ca", "certificate", "key"] as const;
/** What is asked for, by the name of its part in config.json. */
const SERVERS = {
  fleet: {
    variable: "TTS_FLEET",
    schemes: { nats: 4222, tls: 4222 },
    example: "nats://hub:4222, or tls://hub:4222",
  },
  mqtt: {
    variable: "TTS_MQTT",
    schemes: { mqtt: 1883, mqtts: 8883 },
    example: "mqtt://broker:1883, or mqtts://broker:8883",
  },
} as const;

/**
 * @param url what an option says
 * @returns null where nothing names a server
 * @throws TtsError USAGE for an address or a file that cannot be used
 */
export function loadServer(
  kind: keyof typeof SERVERS,
  url?: string,
  environment = environmentNow(),
): HubSettings | null {
  const { example, schemes, variable } = SERVERS[kind];
  const path = join(loadConfig({}, environment).configDir, FILE);
  const file = existsSync(path) ? partOf(path, kind) : null;
  const said = url ?? (environment[variable] || undefined);
  const place = url !== undefined ? "" : ` in ${said !== undefined ? variable : path}`;
  const address = said ?? file?.url ?? "";
  if (address === "") return null;
  const parsed = URL.parse(/^\w+:\/\//.test(address) ? address : `${Object.keys(schemes)[0]}://${address}`);
  const port = Object.entries(schemes).find(([scheme]) => `${scheme}:` === parsed?.protocol)?.[1];
  const isPlain = parsed !== null && /^\/?$/.test(parsed.pathname) && parsed.search + parsed.hash === "";
  if (parsed === null || parsed.hostname === "" || port === undefined || !isPlain)
    throw new TtsError(
      "USAGE",
      `${withoutPassword(address)}${place} is no address of a server`,
      `give {${kind}} such as ${example}`,
    );
  return {
    ...(file ?? NONE),
    url: `${parsed.protocol}//${parsed.hostname}:${parsed.port || port}`,
    ...(parsed.username === "" ? {} : { user: decoded(parsed.username), password: decoded(parsed.password) }),
  };
}

export const readCredential = (path: string): Promise<string> =>
  readTextFile(path, FLEET_LIMITS.credentialBytes);

/** What both clients call these files. @throws TtsError INPUT_UNREADABLE */
export async function tlsFiles({
  ca,
  certificate,
  key,
}: HubSettings): Promise<{ ca?: string; cert?: string; key?: string }> {
  const given = Object.entries({ ca, cert: certificate, key }).filter(([, path]) => path !== "");
  return Object.fromEntries(
    await Promise.all(given.map(async ([name, path]) => [name, await readCredential(path)] as const)),
  );
}

const NONE = { user: "", password: "", credentials: "", ca: "", certificate: "", key: "" };

const withoutPassword = (address: string) => JSON.stringify(address.replace(/^(\w+:\/\/)?.*@/s, "$1…@"));

/** A percent sign that stands for nothing is one of a password. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @throws TtsError USAGE naming file and key */
function partOf(path: string, kind: string): HubSettings | null {
  const fault = {
    code: "USAGE",
    hint: `see tts join --help for ${FILE}`,
    unreadable: "mend or remove it",
    isSecret: true,
  } as const;
  const whole = JsonFile.read(path, fault);
  checkKeys(whole, Object.keys(SERVERS));
  if (!whole.has(kind)) return null;
  const part = whole.object(kind);
  checkKeys(part, KEYS);
  const entries = KEYS.map((key) => [key, part.string(key, "")] as const);
  return Object.fromEntries(entries) as unknown as HubSettings;
}

function checkKeys(part: JsonFile, known: readonly string[]): void {
  const unknown = part.entries().find(([key]) => !known.includes(key));
  if (unknown !== undefined)
    throw part.wrong(`there is nothing called ${JSON.stringify(unknown[0])}, only ${known.join(", ")}`);
}
