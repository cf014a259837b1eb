// What is larger than a message and soon taken away, such as the sound of a sentence: pieces at the hub, and
// a label that names them. Not an object store: nats-server 2.9 counts what is deleted from one as used until
// it starts again, and takes nothing more at its limit.

import { FLEET_LIMITS } from "../config.ts";
import { JsonFile } from "../formats/json.ts";
import type { Hub } from "./hub.ts";
import { inTime } from "./in-time.ts";
import { labelSubject, PIECES_SUBJECT, SOUND_STREAM } from "./names.ts";

type Place = Pick<Hub, "streams" | "manager">;

/** Below what a message may have, with its headers. */
const PIECE_BYTES = 512 * 1_024;
const FAULT = { code: "REQUEST_INVALID", hint: "", unreadable: "" } as const;

interface Label {
  bytes: number;
  /** Numbers of messages, in order. */
  pieces: number[];
  /** Of the label itself. */
  seq: number;
}

/** Leaves bytes under a name; the last ones of a name count. Throws what the hub does. */
export async function leaveParcel({ streams }: Place, name: string, bytes: Uint8Array): Promise<void> {
  const pieces: number[] = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const { seq } = await inTime(streams.publish(PIECES_SUBJECT, bytes.subarray(at, at + PIECE_BYTES)));
    pieces.push(seq);
  }
  await inTime(streams.publish(labelSubject(name), JSON.stringify({ bytes: bytes.length, pieces })));
}

/** The bytes of a name; null where they are not there, or more than `mostBytes`. Throws what the hub does. */
export async function fetchParcel(place: Place, name: string, mostBytes: number): Promise<Uint8Array | null> {
  const label = await labelOf(place, name);
  if (label === null || label.bytes > mostBytes) return null;
  const pieces: Uint8Array[] = [];
  for (const seq of label.pieces) {
    const piece = await inTime(place.manager.direct.getMessage(SOUND_STREAM, { seq }));
    if (piece === null || piece.subject !== PIECES_SUBJECT) return null;
    pieces.push(piece.data);
  }
  const bytes = Buffer.concat(pieces);
  return bytes.length === label.bytes ? bytes : null;
}

/** Throws what the hub does. */
export const isLeft = async (place: Place, name: string): Promise<boolean> =>
  (await labelOf(place, name)) !== null;

/** Takes it away. Never throws: it goes by itself later. */
export async function dropParcel(place: Place, name: string): Promise<void> {
  try {
    const label = await labelOf(place, name);
    for (const seq of label === null ? [] : [label.seq, ...label.pieces])
      await inTime(place.manager.streams.deleteMessage(SOUND_STREAM, seq, false));
  } catch {
    // the hub is away
  }
}

async function labelOf({ manager }: Place, name: string): Promise<Label | null> {
  const stored = await inTime(manager.direct.getMessage(SOUND_STREAM, { last_by_subj: labelSubject(name) }));
  if (stored === null) return null;
  try {
    const file = JsonFile.of("label", stored.json<Record<string, unknown>>(), FAULT);
    const pieces = file.counts("pieces");
    if (pieces.length > FLEET_LIMITS.pieces) return null;
    return { bytes: file.count("bytes"), pieces, seq: stored.seq };
  } catch {
    return null; // another program has written it
  }
}
