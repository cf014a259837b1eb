// A finished sentence as bytes, which check themselves: on the shelf of a render, and at the hub on its way
// there.

import { TtsError } from "../../errors.ts";
import { JsonFile } from "../../formats/json.ts";
import { newHash } from "../../io/hash.ts";
import type { StopReason } from "../../types.ts";
import { isName } from "../names.ts";

/** These bytes, SHA-256 of all that follows, u32 bytes of JSON, the JSON, zeros to a multiple of 4, f32. */
const MAGIC = "ttssen01";
const HASH_BYTES = 32;
const [HASH_AT, LENGTH_AT, JSON_AT] = [
  MAGIC.length,
  MAGIC.length + HASH_BYTES,
  MAGIC.length + HASH_BYTES + 4,
];
const STOPS = ["eos", "length"] as const;
const FAULT = { code: "REQUEST_INVALID", hint: "", unreadable: "" } as const;

export interface SentenceSound {
  /** Of the sentence: job, section and number. */
  key: string;
  /** f32 at 24 kHz, with the pause before it. */
  samples: Float32Array;
  frames: number;
  stop: Exclude<StopReason, "cancelled">;
  /** How often it was cut and said again. */
  repairs: number;
  /** The board that made it, or "" for the machine that renders. */
  board: string;
}

export function writeSentence({ samples, ...facts }: SentenceSound): Buffer {
  const json = Buffer.from(JSON.stringify(facts));
  const bytes = Buffer.alloc(startOf(json.length) + samples.byteLength);
  bytes.write(MAGIC, 0, "latin1");
  bytes.writeUInt32LE(json.length, LENGTH_AT);
  json.copy(bytes, JSON_AT);
  Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength).copy(bytes, startOf(json.length));
  hashOf(bytes).copy(bytes, HASH_AT);
  return bytes;
}

/** The sentence in these bytes; null where they are damaged, or another one's. */
export function readSentence(given: Uint8Array, key: string): SentenceSound | null {
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.byteLength);
  if (bytes.length < JSON_AT || bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return null;
  if (!hashOf(bytes).equals(bytes.subarray(HASH_AT, LENGTH_AT))) return null;
  const length = bytes.readUInt32LE(LENGTH_AT);
  const start = startOf(length);
  if (start > bytes.length || (bytes.length - start) % 4 !== 0) return null;
  try {
    const value = JSON.parse(bytes.toString("utf8", JSON_AT, JSON_AT + length)) as Record<string, unknown>;
    const file = JsonFile.of("sentence", { ...value }, FAULT);
    const board = file.string("board");
    if (file.string("key") !== key || (board !== "" && !isName(board))) return null;
    return {
      ...{ key, board },
      // a copy: f32 must lie at a multiple of 4
      samples: new Float32Array(new Uint8Array(bytes.subarray(start)).buffer),
      frames: file.count("frames"),
      stop: file.choice("stop", STOPS),
      repairs: file.count("repairs"),
    };
  } catch (error) {
    if (error instanceof TtsError || error instanceof SyntaxError) return null;
    throw error;
  }
}

const startOf = (jsonBytes: number) => JSON_AT + Math.ceil(jsonBytes / 4) * 4;
const hashOf = (bytes: Buffer) => newHash().update(bytes.subarray(LENGTH_AT)).digest();
