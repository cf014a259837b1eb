// The options that say where the hub of a fleet is and who we are there, and the way in.

import { hostname } from "node:os";
import { TtsError } from "../../errors.ts";
import type { HubClock } from "../../fleet/clock.ts";
import type { Hub, HubOptions } from "../../fleet/hub.ts";
import { asName, nameOfHost } from "../../fleet/names.ts";
import { type HubSettings, loadServer } from "../../fleet/settings.ts";
import type { Tell } from "../../types.ts";
import { clearProgress, showProgress } from "./log.ts";
import type { Options, Values } from "./options.ts";

export const FLEET_OPTION = {
  fleet: {
    type: "string",
    valueHint: "URL",
    description:
      "The hub that boards meet at, a NATS server with JetStream: nats://HOST:4222, or tls://HOST:4222. Default: TTS_FLEET, else url under fleet in config.json.",
    group: "Fleet",
  },
} as const satisfies Options;

export const NAME_OPTION = {
  name: {
    type: "string",
    valueHint: "NAME",
    description: "What this machine is called in the fleet. Default: its host name.",
    group: "Fleet",
  },
} as const satisfies Options;

/** What commands of the fleet say about its settings. */
export const FLEET_SECTIONS = {
  FILES: [
    '~/.config/qwen3-tts/config.json\nHow the hub and an MQTT broker are reached and let us in: {"fleet": {"url", "user", "password", "credentials", "ca", "certificate", "key"}, "mqtt": {the same}}, all optional. credentials is a NATS .creds file or the seed of an nkey; ca, certificate and key are PEM files. Keep it for yourself (chmod 600). TTS_CONFIG names another folder.',
  ],
  ENVIRONMENT: ["TTS_FLEET\nThe hub, where --fleet names none."],
};

/** @throws TtsError USAGE */
export const nameOf = (args: Values<typeof NAME_OPTION>): string =>
  args.name === undefined ? nameOfHost(hostname()) : asName("--name", args.name);

export interface WayIn {
  hub: Hub;
  clock: HubClock;
}

/** @throws TtsError USAGE where nothing names a hub */
export function namedHub(url: string | undefined): HubSettings {
  const settings = loadServer("fleet", url);
  if (settings !== null) return settings;
  throw new TtsError("USAGE", "no hub is named", "set TTS_FLEET=nats://HOST:4222, or give --fleet URL");
}

/**
 * Connects to the hub, and looks at its clock.
 * @throws TtsError USAGE where nothing names a hub, FLEET_UNREACHABLE, FLEET_REFUSED
 */
export async function enterFleet(
  url: string | undefined,
  name: string,
  options: Pick<HubOptions, "patient" | "tell"> & { tell: Tell },
): Promise<WayIn> {
  const settings = namedHub(url);
  const { asHubError, connectHub } = await import("../../fleet/hub.ts"); // only now: it takes a while to load
  const { HubClock } = await import("../../fleet/clock.ts");
  const waiting = setTimeout(() => showProgress(`waiting for the hub at ${settings.url}`, 0, 1), SLOW_MS);
  const hub = await connectHub(settings, { name, ...options }).finally(() => clearTimeout(waiting));
  clearProgress();
  const clock = new HubClock();
  try {
    await clock.look(hub, name);
  } catch (error) {
    await hub.close();
    throw asHubError(hub.url, error);
  }
  const { errorMs, offsetMs } = clock.offset;
  const offset = `this machine's clock is ${Math.abs(offsetMs).toFixed(1)} ms ${offsetMs < 0 ? "behind" : "ahead of"} the hub's`;
  const line = `${offset} (to ${errorMs.toFixed(1)} ms)`;
  if (Math.abs(offsetMs) < CLOCK_WARNING_MS) options.tell.debug(line);
  else options.tell.warn(`${line}; times are those of the hub's`);
  return { hub, clock };
}

/** What takes longer is told. */
const SLOW_MS = 1_000;
/** So far off, a time of day may not mean what a person thinks. */
const CLOCK_WARNING_MS = 1_000;
