// What a message to a room asks for: a text as it is, or JSON with a text and more. Read strictly, because
// whoever reaches the broker can write one. Pure.

import { PRIORITIES } from "../../announce/queue.ts";
import { parseDuration, parseTime } from "../../announce/times.ts";
import { SPEED_RANGE } from "../../audio/filters/speed.ts";
import { TtsError } from "../../errors.ts";
import { JsonFile } from "../../formats/json.ts";
import { ANNOUNCE_LIMITS, LIMITS, MQTT_LIMITS } from "../../limits.ts";
import { nearest } from "../../nearest.ts";
import type { FleetAnnouncement } from "../announcing.ts";

export interface Asked extends Omit<FleetAnnouncement, "rooms"> {
  /** What its sender calls it, or "". */
  id: string;
}

type Field = (file: JsonFile, key: string) => Partial<Asked>;

const { dedupeSeconds, mostWaitMs, passedMs, repeats } = ANNOUNCE_LIMITS;
const voiceField: Field = (file, key) => {
  const text = file.string(key);
  if (text.length <= LIMITS.instructChars) return { [key]: text };
  throw file.wrong(`${key} has ${text.length} characters, and may have ${LIMITS.instructChars}`);
};

const FIELDS: Readonly<Record<string, Field>> = {
  text: (file, key) => ({ text: file.string(key) }),
  by: (file, key) => {
    const by = file.string(key);
    parseTime(key, by);
    return { by };
  },
  max_late: (file, key) => ({ maxLateMs: parseDuration(key, file.string(key), passedMs) }),
  max_wait: (file, key) => ({ maxWaitMs: parseDuration(key, file.string(key), mostWaitMs) }),
  dedupe: (file, key) => ({ dedupeMs: parseDuration(key, file.string(key), 1_000 * dedupeSeconds) }),
  priority: (file, key) => ({ priority: file.choice(key, PRIORITIES) }),
  repeat: (file, key) => ({ repeat: file.within(key, 1, repeats) }),
  chime: (file, key) => (file.boolean(key) ? { chime: "own" } : {}),
  voice: voiceField,
  language: voiceField,
  instruct: voiceField,
  seed: (file, key) => ({ seed: file.within(key, 0, Number.MAX_SAFE_INTEGER) }),
  speed: (file, key) => {
    const { least, most } = SPEED_RANGE;
    const speed = file.number(key);
    if (speed >= least && speed <= most) return { speed };
    throw file.wrong(`${key} is ${speed}, not ${least} to ${most}`);
  },
  id: (file, key) => {
    const id = file.string(key);
    if (id.length <= MQTT_LIMITS.idChars) return { id };
    throw file.wrong(`${key} has ${id.length} characters, and may have ${MQTT_LIMITS.idChars}`);
  },
};
/** These are also given as a number of seconds. */
const DURATIONS: ReadonlySet<string> = new Set(["max_late", "max_wait", "dedupe"]);
const NAMES = Object.keys(FIELDS);

/** A text may begin with {time}, so JSON is what begins with a brace and a quotation mark. */
const JSON_START = /^\s*\{\s*["}]/;

/** @param topic named in errors @throws TtsError REQUEST_INVALID, USAGE, TEXT_ENCODING */
export function readSay(topic: string, payload: Uint8Array): Asked {
  const file = (fields: Record<string, unknown>) =>
    JsonFile.of(topic, fields, {
      code: "REQUEST_INVALID",
      hint: `send a text, or JSON with text and, where needed, ${NAMES.slice(1).join(", ")}`,
      unreadable: "",
    });
  const empty = file({});
  if (payload.length > MQTT_LIMITS.sayBytes)
    throw empty.wrong(`the message has ${payload.length} bytes, and may have ${MQTT_LIMITS.sayBytes}`);
  const text = decoded(topic, payload);
  if (!JSON_START.test(text)) return { text, id: "" };
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text);
  } catch (error) {
    throw empty.wrong(`the message begins as JSON and is none (${(error as Error).message})`);
  }
  const given = Object.entries(fields)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => [key, DURATIONS.has(key) && typeof value === "number" ? String(value) : value]);
  return fieldsOf(file(Object.fromEntries(given)));
}

function decoded(topic: string, payload: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch {
    throw new TtsError("TEXT_ENCODING", `${topic}: the message is not UTF-8`, "send it as UTF-8");
  }
}

function fieldsOf(file: JsonFile): Asked {
  const asked: Asked = { text: file.string("text"), id: "" };
  for (const [key] of file.entries()) {
    const field = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined;
    const guess = nearest(key, NAMES);
    if (field === undefined)
      throw file.wrong(
        `there is no ${JSON.stringify(key.slice(0, MQTT_LIMITS.idChars))}${guess === null ? "" : `, did you mean ${guess}?`}`,
      );
    Object.assign(asked, field(file, key));
  }
  return asked;
}
