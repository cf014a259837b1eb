// What Home Assistant is told of a room, in the device form of its discovery: an action that speaks there,
// and what became of the last message, how many boards are there, and how many announcements wait. Pure.

import { version } from "../../../package.json";
import { ALL_ROOMS } from "../names.ts";
import { OUTCOMES } from "./_desk.ts";
import { bridgeTopic, outcomeTopic, sayTopic, statusTopic } from "./_topics.ts";

export const discoveryTopic = (prefix: string, room: string) => `${prefix}/device/tts-${room}/config`;
/** Home Assistant says here that it has begun, some seconds after it has connected. */
export const birthTopic = (prefix: string) => `${prefix}/status`;

/**
 * @param bridges those that are there. The room can be used while one of them is.
 * @param isEmpty whether no board is there, so that nothing can be said
 */
export function discoveryOf(room: string, bridges: readonly string[], isEmpty: boolean): object {
  const id = `tts-${room}`;
  /** Whatever areas and names a person gives, automations may rely on notify.tts_ROOM. */
  const idsOf = (part: string, platform: string) => ({
    platform,
    unique_id: `${id}-${part}`,
    default_entity_id: `${platform}.${`${id}${part === "say" ? "" : `-${part}`}`.replaceAll("-", "_")}`,
  });
  const sensor = (part: string, name: string, icon: string, topic: string, template: string) => ({
    ...idsOf(part, "sensor"),
    name,
    icon: `mdi:${icon}`,
    state_topic: topic,
    value_template: `{{ value_json.${template} }}`,
    json_attributes_topic: topic,
    entity_category: "diagnostic",
  });
  return {
    device: {
      identifiers: [id],
      name: `Speech ${titleOf(room)}`,
      manufacturer: "Qwen3-TTS",
      model: room === ALL_ROOMS ? "All rooms" : "Room",
      sw_version: version,
      ...(room === ALL_ROOMS ? {} : { suggested_area: titleOf(room) }),
    },
    origin: { name: "qwen3-tts-edge", sw_version: version },
    availability_mode: "any",
    availability: bridges.map((bridge) => ({ topic: bridgeTopic(bridge) })),
    qos: 1,
    components: {
      say: {
        ...idsOf("say", "notify"),
        name: null, // it is called as the device
        icon: "mdi:bullhorn",
        command_topic: sayTopic(room),
        ...(isEmpty ? { availability: [whereBoardsAre(room)] } : {}),
      },
      outcome: {
        ...sensor("outcome", "Last message", "message-check", outcomeTopic(room), "outcome"),
        device_class: "enum",
        options: OUTCOMES,
      },
      boards: sensor("boards", "Boards", "speaker", statusTopic(room), "boards | count"),
      waiting: sensor("waiting", "Waiting", "tray-full", statusTopic(room), "waiting"),
    },
  };
}

const whereBoardsAre = (room: string) => ({
  topic: statusTopic(room),
  value_template: "{{ 'online' if value_json.boards else 'offline' }}",
});

/** "ground-floor" -> "Ground floor" */
function titleOf(room: string): string {
  if (room === ALL_ROOMS) return "all rooms";
  const words = room.replace(/[-_]+/g, " ").trim();
  return words[0].toUpperCase() + words.slice(1);
}
