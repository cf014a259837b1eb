// The options of tts join: where the hub is, in which rooms the board is, and how it sounds.

import { TtsError } from "../../errors.ts";
import { ALL_ROOMS, roomsOf } from "../../fleet/names.ts";
import { FLEET_LIMITS } from "../../limits.ts";
import { MANNERS_AT_NIGHT, PLAYING_OPTIONS } from "../shared/announce-options.ts";
import { FLEET_OPTION, NAME_OPTION } from "../shared/fleet-options.ts";
import { COMMON, type Options, type Values } from "../shared/options.ts";
import { PHRASE_OPTIONS } from "../shared/phrases.ts";

const { speed: _speed, start: _start, ...SOUND_OPTIONS } = PLAYING_OPTIONS;

export const JOIN_OPTIONS = {
  rooms: {
    type: "string",
    valueHint: "ROOM,...",
    description:
      "The rooms that this board speaks in, such as hallway,ground-floor. Default: none; it then makes sound for others.",
    group: "Fleet",
  },
  ...FLEET_OPTION,
  ...NAME_OPTION,
  "play-only": {
    type: "boolean",
    description: "Open no model: this board only plays what others make.",
    group: "Fleet",
  },
  mqtt: {
    type: "string",
    valueHint: "URL",
    description:
      "Be a bridge to this broker of MQTT 5 as well: mqtt://HOST:1883, or mqtts://HOST:8883. Default: TTS_MQTT, else url under mqtt in config.json.",
    group: "MQTT",
  },
  "mqtt-discovery": {
    type: "string",
    valueHint: "PREFIX|off",
    description: "Where Home Assistant looks for devices at the broker. Default: homeassistant.",
    group: "MQTT",
  },
  ...MANNERS_AT_NIGHT,
  ...SOUND_OPTIONS,
  ...PHRASE_OPTIONS,
  ...COMMON,
} as const satisfies Options;
export type JoinValues = Values<typeof JOIN_OPTIONS>;

/** @param isBridge whether it has something to do without a room and a model @throws TtsError USAGE */
export function readRooms({ rooms: text, "play-only": playsOnly }: JoinValues, isBridge: boolean): string[] {
  const rooms = text === undefined ? [] : roomsOf("--rooms", text);
  if (rooms.includes(ALL_ROOMS))
    throw new TtsError("USAGE", `--rooms names "${ALL_ROOMS}", which is every room`, "leave it out");
  if (rooms.length > FLEET_LIMITS.rooms - 1)
    throw new TtsError("USAGE", `--rooms names ${rooms.length} rooms`, `at most ${FLEET_LIMITS.rooms - 1}`);
  if (rooms.length === 0 && playsOnly === true && !isBridge)
    throw new TtsError("USAGE", "--play-only without a room", "name one with --rooms ROOM");
  return rooms;
}
