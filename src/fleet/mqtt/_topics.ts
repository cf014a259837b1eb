// The topics of the bridge. `tts/_bridge/…` is no room, because names of rooms begin with a letter or a
// digit. Pure.

import { isName } from "../names.ts";

export const sayTopic = (room: string) => `tts/${room}/say`;
/** Who is in the room; kept by the broker. */
export const statusTopic = (room: string) => `tts/${room}/status`;
/** What became of the last message to the room; kept by the broker. */
export const outcomeTopic = (room: string) => `tts/${room}/outcome`;
/** Whether a bridge is there: online or offline; kept by the broker. */
export const bridgeTopic = (bridge: string) => `tts/_bridge/${bridge}`;

export const ONLINE = "online";
export const OFFLINE = "offline";

/** Of all bridges one gets each message. */
export const SHARED_SAY = `$share/tts/${sayTopic("+")}`;
export const ALL_STATUS = statusTopic("+");
export const ALL_BRIDGES = bridgeTopic("+");

export type Topic =
  | { kind: "say" | "status"; room: string }
  | { kind: "bridge"; bridge: string }
  /** A room or a bridge of a name that cannot be. */
  | { kind: "other" };

export function readTopic(topic: string): Topic {
  const [root, given, last, ...rest] = topic.split("/");
  const name = given?.toLowerCase(); // as everywhere, Hallway is hallway
  if (root !== "tts" || last === undefined || rest.length > 0) return { kind: "other" };
  if (name === "_bridge") return isName(last) ? { kind: "bridge", bridge: last } : { kind: "other" };
  return (last === "say" || last === "status") && isName(name)
    ? { kind: last, room: name }
    : { kind: "other" };
}
