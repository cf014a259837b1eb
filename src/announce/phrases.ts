// The phrase cache: sound that was made before, under a hash of everything that shapes it, so that no file
// tells what is said. A cache that is full, damaged or read-only costs time, never an announcement.

import { closeSync, mkdirSync, openSync, readdirSync, readSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fromS16le, toS16le } from "../audio/pcm.ts";
import { ANNOUNCE_LIMITS } from "../config.ts";
import { systemCode } from "../errors.ts";
import { removeAbandoned, removeLitter, replaceFile } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { readRegularFile } from "../io/read.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";
import type { Worded } from "./sound.ts";

/** Raised when the same settings give other sound than before. */
const SOUND_VERSION = 1;
/**
 * What a file begins with: these bytes, u32 samples, u32 words, u32 1 if it is fresh, SHA-256. Then for each
 * word u32 its first sample and u32 its end, and s16 samples.
 */
const MAGIC = "ttsphr02";
const SUM_AT = 20;
const HEADER_BYTES = 52;
const WORD_BYTES = 8;
const SUFFIX = ".phrase";
const KEEP_SUFFIX = ".keep";
const NAME = /^[0-9a-f]{64}\.phrase$/;
const keyIn = (name: string) => name.slice(0, -SUFFIX.length);
/** All drafts have one family, so that any write removes those of killed processes. */
const FAMILY = "phrase";

/** What is kept: f32 at 24 kHz, and when its words are said. */
export interface PhraseSound extends Worded {
  samples: Float32Array;
}

/** One that is kept, for a list. */
export interface Phrase {
  key: string;
  seconds: number;
  bytes: number;
  /** ISO 8601 */
  used: string;
  /** Whether a time or a date stands in it; such ones go first. */
  fresh: boolean;
  /** Whether it was exempted: it never goes by itself. */
  kept: boolean;
}

/** The name of a phrase. @param shape everything that shapes its sound, the text included */
export const phraseKey = (shape: object) =>
  newHash()
    .update(JSON.stringify([SOUND_VERSION, shape]))
    .digest("hex");

/** A seed that is the same for the same text. */
export const seedOf = (text: string) =>
  Number.parseInt(newHash().update(text).digest("hex").slice(0, 12), 16);

type PhraseLimits = {
  readonly [name in "phraseBytes" | "phraseFiles" | "phraseMs" | "freshPhraseMs"]: number;
};

export class PhraseCache {
  constructor(
    private readonly folder: string,
    private readonly limits: PhraseLimits = ANNOUNCE_LIMITS,
  ) {}

  /** A phrase, or null. A damaged one is removed. */
  get(key: string): PhraseSound | null {
    const bytes = this.file(key);
    return bytes === null ? null : soundOf(bytes);
  }

  /** A phrase as its file has it, for another machine; or null. A damaged one is removed. */
  file(key: string): Buffer | null {
    const path = this.pathOf(key);
    let bytes: Buffer;
    try {
      bytes = readRegularFile(path, this.limits.phraseBytes);
    } catch {
      return null;
    }
    if (!isWhole(bytes, key)) {
      removeLitter(path);
      return null;
    }
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // read-only: then nothing is evicted either
    }
    return bytes;
  }

  /** Keeps a phrase, and makes room for it. Throws the file system's errors, and leaves nothing then. */
  put(key: string, sound: PhraseSound, fresh: boolean): void {
    this.putFile(key, phraseFile(key, sound, fresh));
  }

  /** The same for a file of another machine, which {@link readPhraseFile} has found whole. */
  putFile(key: string, bytes: Buffer): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    this.evict(bytes.length);
    const family = join(this.folder, FAMILY);
    replaceFile(this.pathOf(key), bytes, { mode: 0o600, flush: false, family });
  }

  /**
   * What is there, the last used first. Nothing is read but the beginnings of files. Throws the file system's
   * errors.
   */
  list(): Phrase[] {
    const names = this.names();
    const kept = new Set(names.filter((name) => name.endsWith(KEEP_SUFFIX)));
    return names
      .filter((name) => NAME.test(name))
      .flatMap((name) => {
        const key = keyIn(name);
        const phrase = this.look(key, kept.has(`${key}${KEEP_SUFFIX}`));
        return phrase === null ? [] : [phrase];
      })
      .toSorted((a, b) => (a.used < b.used ? 1 : -1));
  }

  /** Exempts a phrase from eviction. @returns false if there is none of this key */
  keep(key: string): boolean {
    if (this.get(key) === null) return false;
    replaceFile(join(this.folder, `${key}${KEEP_SUFFIX}`), "", { mode: 0o600 });
    return true;
  }

  /**
   * Removes all phrases, or all that are not kept, and damaged ones. Throws the file system's errors.
   * @returns those that were removed
   */
  clear(keptToo: boolean): Phrase[] {
    const all = this.list();
    removeAbandoned(this.folder);
    const going = all.filter(({ kept }) => keptToo || !kept);
    for (const key of [...this.damaged(all), ...going.map(({ key }) => key)]) this.remove(key);
    return going;
  }

  /**
   * Makes room for `bytes`: what was not used for long goes, then what was used longest ago, fresh ones
   * first.
   */
  private evict(bytes: number): void {
    const now = Date.now();
    const all = this.list();
    for (const key of this.damaged(all)) this.remove(key);
    const evictable = all.filter(({ kept }) => !kept);
    const ageOf = ({ used }: Phrase) => now - Date.parse(used);
    const old = evictable.filter(
      (phrase) => ageOf(phrase) > (phrase.fresh ? this.limits.freshPhraseMs : this.limits.phraseMs),
    );
    const rest = evictable
      .filter((phrase) => !old.includes(phrase))
      .toSorted((a, b) => Number(b.fresh) - Number(a.fresh) || ageOf(b) - ageOf(a));
    let files = all.length - old.length + 1;
    let total = bytes + all.reduce((sum, phrase) => sum + phrase.bytes, 0);
    for (const phrase of old) total -= phrase.bytes;
    for (const phrase of rest) {
      if (files <= this.limits.phraseFiles && total <= this.limits.phraseBytes) break;
      files--;
      total -= phrase.bytes;
      old.push(phrase);
    }
    for (const { key } of old) this.remove(key);
  }

  private look(key: string, kept: boolean): Phrase | null {
    try {
      const path = this.pathOf(key);
      const { mtime, size } = statSync(path);
      const head = readHead(path);
      const fresh = head.readUInt32LE(16) === 1;
      const seconds = head.readUInt32LE(8) / SAMPLE_RATE_HZ;
      if (size !== bytesIn(head)) return null; // damaged, or of another version
      return { key, seconds, bytes: size, used: mtime.toISOString(), fresh, kept };
    } catch {
      return null; // another process has removed it
    }
  }

  /** Keys of files that are no phrases, or those of another version. */
  private damaged(all: readonly Phrase[]): string[] {
    const keys = this.names().filter((name) => NAME.test(name));
    return keys.map(keyIn).filter((key) => all.every((phrase) => phrase.key !== key));
  }

  private names(): string[] {
    try {
      return readdirSync(this.folder);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  private remove(key: string): void {
    removeLitter(this.pathOf(key));
    removeLitter(join(this.folder, `${key}${KEEP_SUFFIX}`));
  }

  private readonly pathOf = (key: string) => join(this.folder, `${key}${SUFFIX}`);
}

/** The sum covers the key as well: a file of another name is another phrase. */
const sumOf = (bytes: Buffer, key: string) =>
  newHash().update(key).update(bytes.subarray(0, SUM_AT)).update(bytes.subarray(HEADER_BYTES)).digest();

/** How long a file is that begins so; 0: it is no phrase. */
const bytesIn = (head: Buffer) =>
  head.length >= HEADER_BYTES && head.toString("latin1", 0, MAGIC.length) === MAGIC
    ? HEADER_BYTES + WORD_BYTES * head.readUInt32LE(12) + 2 * head.readUInt32LE(8)
    : 0;

const isWhole = (bytes: Buffer, key: string) =>
  bytes.length > 0 &&
  bytes.length === bytesIn(bytes) &&
  sumOf(bytes, key).equals(bytes.subarray(SUM_AT, HEADER_BYTES));

/** The file of a phrase. */
export function phraseFile(key: string, { samples, words }: PhraseSound, fresh: boolean): Buffer {
  const head = Buffer.alloc(HEADER_BYTES + WORD_BYTES * words.length);
  head.write(MAGIC, 0, "latin1");
  for (const [i, number] of [samples.length, words.length, fresh ? 1 : 0].entries())
    head.writeUInt32LE(number, MAGIC.length + 4 * i);
  const ends = words.flatMap(({ end, start }) => [start, end]);
  for (const [i, seconds] of ends.entries())
    head.writeUInt32LE(Math.round(seconds * SAMPLE_RATE_HZ), HEADER_BYTES + 4 * i);
  const bytes = Buffer.concat([head, toS16le(samples)]);
  sumOf(bytes, key).copy(bytes, SUM_AT);
  return bytes;
}

/** The sum of the file of a phrase, as hex digits. */
export const sumOfFile = (bytes: Buffer) => bytes.toString("hex", SUM_AT, HEADER_BYTES);

/** The sound in the file of a phrase; null: it is damaged, or another phrase. */
export const readPhraseFile = (key: string, bytes: Buffer): PhraseSound | null =>
  isWhole(bytes, key) ? soundOf(bytes) : null;

function soundOf(bytes: Buffer): PhraseSound {
  const secondsAt = (at: number) => bytes.readUInt32LE(at) / SAMPLE_RATE_HZ;
  const words = Array.from({ length: bytes.readUInt32LE(12) }, (_, i) => {
    const at = HEADER_BYTES + WORD_BYTES * i;
    return { start: secondsAt(at), end: secondsAt(at + 4) };
  });
  return { samples: fromS16le(bytes.subarray(HEADER_BYTES + WORD_BYTES * words.length)), words };
}

function readHead(path: string): Buffer {
  const file = openSync(path, "r");
  try {
    const head = Buffer.alloc(HEADER_BYTES);
    readSync(file, head);
    return head;
  } finally {
    closeSync(file);
  }
}
