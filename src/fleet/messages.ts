// What boards and senders tell each other, as JSON. Every message is read strictly: whoever reaches the hub
// can write one. Moments are milliseconds of the hub's clock.

import { PRIORITIES, type Priority } from "../announce/queue.ts";
import { ANNOUNCE_LIMITS, FLEET_LIMITS } from "../config.ts";
import { type ErrorOnTheWire, fromWire, isErrorCode, type TtsError } from "../errors.ts";
import type { JsonFile } from "../formats/json.ts";
import { isName } from "./names.ts";
import { readMessage } from "./wire.ts";

/** An announcement whose sound is at the hub. No text is in it. */
export interface SayMessage {
  id: string;
  sender: string;
  rooms: readonly string[];
  /** When it begins, and from when on it is too late. */
  moment: number;
  latest: number;
  /** A board that hears of it later leaves it out, since its room has heard it. */
  freshUntil: number;
  priority: Priority;
  repeat: number;
  /** The phrase that is played before and after; "own": the usual chime; "": none. */
  chime: string;
  dedupeMs: number;
  mostWaitMs: number;
  /**
   * KEY.SUM of phrases, in order: the keys of the phrase cache, and the sums of their files, so that nobody
   * can put other sound in their place.
   */
  phrases: readonly string[];
  /** Of the voice, in LUFS; null: not known. */
  loudness: number | null;
  /** What changes the words, beside the board's own settings; 1 leaves them as they are. */
  speed: number;
}

/** What a board says to the sender. */
export interface Answer {
  board: string;
  state: "accepted" | "refused";
  /** Why nothing will be said, or "". */
  reason: string;
}

/** What became of an announcement on one board. */
export interface FleetOutcome {
  id: string;
  board: string;
  rooms: readonly string[];
  what: "said" | "interrupted" | "quiet" | "late" | "repeated" | "refused" | "failed";
  reason: string;
  seconds: number;
  lateMs: number;
  at: number;
}

/** What a board tells of itself. */
export interface BoardState {
  name: string;
  version: string;
  rooms: readonly string[];
  /** null: it only plays. */
  model: string | null;
  /** Boards of one kind make the same bits of sound; null: without a model. */
  kind: string | null;
  /** Seconds that a second of sound takes; null: not known. */
  rtf: number | null;
  lanes: number;
  /** Announcements that it holds, those that sound and those for later included. */
  waiting: number;
  /** Sounds that it makes, for announcements and for books. */
  making: number;
  /** Settings in its hint are marked, as in an error's markedHint. */
  lastError: string;
  /** When that was; 0: never. */
  lastErrorAt: number;
  /** Of its own clock, against the hub's. */
  clock: { offsetMs: number; errorMs: number };
  since: number;
  at: number;
}

/** How the words are spoken; the voice is the name of a speaker or of a cloned voice. */
export interface VoiceSettings {
  voice?: string;
  language?: string;
  instruct?: string;
  seed?: number;
  normalize?: boolean;
}

/** Asks a board to make a sound. Its answers: signs of life, then what was made or why not. */
export interface MakeOrder {
  text: string;
  /** What {time} and its like stand for. */
  moment: number;
  settings: VoiceSettings;
}

export interface MadeSound {
  phrases: readonly string[];
  seconds: number;
  /** Of all phrases at the hub. */
  bytes: number;
  loudness: number | null;
  /** The model that spoke. */
  model: string;
}

export type MakeReply = { sign: true } | { made: MadeSound } | { failed: ErrorOnTheWire };

const ID = /^[a-z0-9-]{8,64}$/;
const PHRASE = /^[0-9a-f]{64}\.[0-9a-f]{64}$/;
const MOST_MOMENT = 8.64e15;
const MOST_SHOWN = 1_000;

/** @throws TtsError REQUEST_INVALID */
const read = <T>(title: string, bytes: Uint8Array, reading: (file: JsonFile) => T): T =>
  reading(readMessage(title, bytes, FLEET_LIMITS.messageBytes, "tts announce"));

const bytesOf = (message: object) => JSON.stringify(message);
export const writeSay: (message: SayMessage) => string = bytesOf;
export const writeState: (state: BoardState) => string = bytesOf;
export const writeAnswer: (answer: Answer) => string = bytesOf;
export const writeOutcome: (outcome: FleetOutcome) => string = bytesOf;
export const writeOrder: (order: MakeOrder | "ping") => string = (order) =>
  bytesOf(order === "ping" ? { ask: "ping" } : { ask: "make", ...order });
export const writeReply: (reply: MakeReply) => string = bytesOf;

/** Whether the name of a chime is that of a phrase. */
export const isPhrase = (name: string): boolean => PHRASE.test(name);

/** @throws TtsError REQUEST_INVALID */
export const readSay = (bytes: Uint8Array): SayMessage =>
  read("announcement", bytes, (file) => {
    const chime = file.string("chime");
    const message = {
      id: matching(file, "id", ID),
      sender: named(file, "sender"),
      rooms: names(file, "rooms"),
      moment: file.within("moment", 0, MOST_MOMENT),
      latest: file.within("latest", 0, MOST_MOMENT),
      freshUntil: file.within("freshUntil", 0, MOST_MOMENT),
      priority: file.choice("priority", PRIORITIES),
      repeat: file.within("repeat", 1, ANNOUNCE_LIMITS.repeats),
      chime: ["", "own"].includes(chime) ? chime : matching(file, "chime", PHRASE),
      dedupeMs: file.within("dedupeMs", 0, 1_000 * ANNOUNCE_LIMITS.dedupeSeconds),
      mostWaitMs: file.within("mostWaitMs", 0, ANNOUNCE_LIMITS.mostWaitMs),
      phrases: phrasesOf(file),
      loudness: finiteOrNull(file, "loudness"),
      speed: file.number("speed"),
    };
    if (!(message.speed >= 0.5 && message.speed <= 2)) throw file.wrong(`speed is ${message.speed}`);
    if (message.latest < message.moment) throw file.wrong("latest is before moment");
    if (message.latest - message.moment > ANNOUNCE_LIMITS.passedMs)
      throw file.wrong(`latest is ${(message.latest - message.moment) / 3_600_000} hours after moment`);
    return message;
  });

/** @throws TtsError REQUEST_INVALID */
export const readState = (bytes: Uint8Array): BoardState =>
  read("state of a board", bytes, (file) => {
    const clock = file.object("clock");
    return {
      name: named(file, "name"),
      version: shown(file, "version"),
      rooms: names(file, "rooms"),
      model: file.has("model") ? shown(file, "model") : null,
      kind: file.has("kind") ? matching(file, "kind", /^[0-9a-f]{8,64}$/) : null,
      rtf: finiteOrNull(file, "rtf"),
      lanes: file.count("lanes"),
      waiting: file.count("waiting"),
      making: file.count("making"),
      lastError: shown(file, "lastError"),
      lastErrorAt: file.number("lastErrorAt"),
      clock: { offsetMs: clock.number("offsetMs"), errorMs: clock.number("errorMs") },
      since: file.number("since"),
      at: file.number("at"),
    };
  });

/** @throws TtsError REQUEST_INVALID */
export const readAnswer = (bytes: Uint8Array): Answer =>
  read("answer", bytes, (file) => ({
    board: named(file, "board"),
    state: file.choice("state", ["accepted", "refused"]),
    reason: shown(file, "reason"),
  }));

/** @throws TtsError REQUEST_INVALID */
export const readOutcome = (bytes: Uint8Array): FleetOutcome =>
  read("outcome", bytes, (file) => ({
    id: matching(file, "id", ID),
    board: named(file, "board"),
    rooms: names(file, "rooms"),
    what: file.choice("what", ["said", "interrupted", "quiet", "late", "repeated", "refused", "failed"]),
    reason: shown(file, "reason"),
    seconds: file.number("seconds"),
    lateMs: file.number("lateMs"),
    at: file.number("at"),
  }));

/** @throws TtsError REQUEST_INVALID */
export const readOrder = (bytes: Uint8Array): MakeOrder | "ping" =>
  read("request", bytes, (file) => {
    if (file.choice("ask", ["ping", "make"]) === "ping") return "ping";
    const settings = file.object("settings");
    const text = file.string("text");
    if (Buffer.byteLength(text) > ANNOUNCE_LIMITS.textBytes)
      throw file.wrong(
        `the text has ${Buffer.byteLength(text)} bytes, and may have ${ANNOUNCE_LIMITS.textBytes}`,
      );
    const optional = <T>(key: string, get: (key: string) => T) =>
      settings.has(key) ? { [key]: get(key) } : {};
    return {
      text,
      moment: file.within("moment", 0, MOST_MOMENT),
      settings: {
        ...optional("voice", (key) => settings.string(key)),
        ...optional("language", (key) => settings.string(key)),
        ...optional("instruct", (key) => settings.string(key)),
        ...optional("seed", (key) => settings.within(key, 0, Number.MAX_SAFE_INTEGER)),
        ...optional("normalize", (key) => settings.boolean(key)),
      },
    };
  });

/** @throws TtsError REQUEST_INVALID */
export const readReply = (bytes: Uint8Array): { sign: true } | { made: MadeSound } | { failed: TtsError } =>
  read("reply", bytes, (file) => {
    if (file.has("sign")) return { sign: true };
    if (file.has("failed")) {
      const failed = file.object("failed");
      const code = failed.string("code");
      const wire = { code: isErrorCode(code) ? code : "INTERNAL", hint: shown(failed, "hint") } as const;
      return { failed: fromWire({ ...wire, message: shown(failed, "message") }) };
    }
    const made = file.object("made");
    return {
      made: {
        phrases: phrasesOf(made),
        seconds: made.number("seconds"),
        bytes: made.count("bytes"),
        loudness: finiteOrNull(made, "loudness"),
        model: shown(made, "model"),
      },
    };
  });

/** A text for people: it stays on one line, and moves no cursor. */
const shown = (file: JsonFile, key: string) =>
  file
    .string(key)
    .replace(/\p{Cc}+/gu, " ")
    .slice(0, MOST_SHOWN);

function matching(file: JsonFile, key: string, pattern: RegExp): string {
  const text = file.string(key);
  if (pattern.test(text)) return text;
  throw file.wrong(`${key} is ${JSON.stringify(text).slice(0, 80)}`);
}

function named(file: JsonFile, key: string): string {
  const name = file.string(key);
  if (isName(name)) return name;
  throw file.wrong(`${key} is ${JSON.stringify(name).slice(0, 80)}`);
}

function names(file: JsonFile, key: string): string[] {
  const all = file.strings(key);
  if (all.length > FLEET_LIMITS.rooms) throw file.wrong(`${key} has ${all.length} entries`);
  const wrong = all.find((name) => !isName(name));
  if (wrong !== undefined) throw file.wrong(`${key} has ${JSON.stringify(wrong).slice(0, 80)}`);
  return all;
}

function phrasesOf(file: JsonFile): string[] {
  const all = file.strings("phrases");
  if (all.length === 0 || all.length > FLEET_LIMITS.parts)
    throw file.wrong(`phrases has ${all.length} entries`);
  if (!all.every((phrase) => PHRASE.test(phrase))) throw file.wrong("phrases has what is no phrase");
  return all;
}

const finiteOrNull = (file: JsonFile, key: string) => (file.has(key) ? file.number(key) : null);
