// The part of tts join that makes a board a bridge to MQTT as well.

import { TtsError } from "../../errors.ts";
import type { Bridge as OpenBridge } from "../../fleet/mqtt/index.ts";
import { type HubSettings, loadServer } from "../../fleet/settings.ts";
import type { WayIn } from "../shared/fleet-options.ts";
import { TELL } from "../shared/log.ts";
import { openOthersPhrases, openPhrases } from "../shared/phrases.ts";
import type { JoinValues } from "./_options.ts";

/** Where Home Assistant looks, unless it was told otherwise. */
const USUAL_DISCOVERY = "homeassistant";

const PREFIX = /^[\w-]+(\/[\w-]+)*$/;

/** @returns null where nothing names a broker @throws TtsError USAGE */
export function brokerOf({ mqtt, "mqtt-discovery": discovery }: JoinValues): HubSettings | null {
  if (discovery !== undefined && !PREFIX.test(discovery))
    throw new TtsError(
      "USAGE",
      `--mqtt-discovery is ${JSON.stringify(discovery)}`,
      `give the start of a topic, such as ${USUAL_DISCOVERY}, or off`,
    );
  return loadServer("mqtt", mqtt);
}

/**
 * @returns what closes it
 * @throws TtsError FLEET_REFUSED by the broker or the hub, FLEET_UNREACHABLE, INPUT_UNREADABLE
 */
export async function openBridge(
  settings: HubSettings,
  { "mqtt-discovery": discovery = USUAL_DISCOVERY }: JoinValues,
  { clock, hub }: WayIn,
  name: string,
): Promise<() => Promise<void>> {
  const [{ Sender }, { SharedPhrases }, { Bridge }, { FleetOfHub }] = await Promise.all([
    import("../../fleet/announcing.ts"),
    import("../../fleet/phrases.ts"),
    import("../../fleet/mqtt/index.ts"),
    import("../../fleet/mqtt/fleet.ts"),
  ]);
  const phrases = new SharedPhrases(hub, openPhrases(), openOthersPhrases());
  const fleet = new FleetOfHub(hub, clock, new Sender(hub, clock, { name, phrases, make: null, tell: TELL }));
  const options = { name, settings, discovery: discovery === "off" ? "" : discovery, tell: TELL };
  let bridge: OpenBridge | null = null;
  await fleet.watch((outcome) => bridge?.hear(outcome));
  bridge = await Bridge.open(fleet, options);
  return async () => {
    await bridge.close();
    fleet.close();
  };
}
