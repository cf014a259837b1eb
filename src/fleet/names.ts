// What rooms, boards and senders may be called, and where their messages go on the hub. Pure.

import { TtsError } from "../errors.ts";

/** Names stand in subjects, topics and file names: letters, digits, - and _. */
const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;
/** Every room, and the boards without one. */
export const ALL_ROOMS = "all";

/** Streams hold what must not be lost, buckets what is looked up. */
export const SAY_STREAM = "TTS_SAY";
export const CLOCK_STREAM = "TTS_CLOCK";
export const WORK_STREAM = "TTS_WORK";
export const BOARD_BUCKET = "tts_boards";
export const PHRASE_BUCKET = "tts_phrases";
export const SOUND_STREAM = "TTS_SOUND";

/** The hub's administrator can bind a sender to its own name, by permissions on the last part. */
export const saySubject = (room: string, sender: string) => `tts.say.${room}.${sender}`;
export const clockSubject = (name: string) => `tts.clock.${name}`;
export const boardSubject = (board: string) => `tts.board.${board}`;
/** Where boards say whether they take an announcement. */
export const answerSubject = (id: string) => `tts.answer.${id}`;
export const outcomeSubject = (board: string) => `tts.outcome.${board}`;
export const PIECES_SUBJECT = "tts.sound.pieces";
export const labelSubject = (name: string) => `tts.sound.label.${name}`;
export const workSubject = (kind: string, job: string) => `tts.work.${kind}.${job}`;

export const isName = (text: string): boolean => NAME.test(text);

/** @param what the thing that is named, for the message @throws TtsError USAGE */
export function asName(what: string, text: string): string {
  const name = text.trim().toLowerCase();
  if (isName(name)) return name;
  const hint = "give up to 63 letters of a to z, digits, - and _, such as ground-floor";
  throw new TtsError("USAGE", `${what} is ${JSON.stringify(text)}`, hint);
}

/** Rooms with commas between them, each once. @throws TtsError USAGE */
export function roomsOf(what: string, text: string): string[] {
  return [...new Set(text.split(",").map((room) => asName(what, room)))];
}

/** A name made of a host's, which may hold dots and capitals. */
export function nameOfHost(host: string): string {
  const name = host.toLowerCase().replace(/[^a-z0-9_-]+/g, "-");
  return isName(name) ? name : `board-${name}`.replace(/[^a-z0-9]+$/, "").slice(0, 63);
}
