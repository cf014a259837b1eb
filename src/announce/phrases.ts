// The phrase cache: sound that was made before, under a hash of everything that shapes it, so that no file
// tells what is said. A cache that is full, damaged or read-only costs time, never an announcement.

import { closeSync, mkdirSync, openSync, readdirSync, readSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { toS16le } from "../audio/pcm.ts";
import { ANNOUNCE_LIMITS } from "../config.ts";
import { removeAbandoned, removeLitter, replaceFile } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { readRegularFile } from "../io/read.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";

/** Raised when the same settings give other sound than before. */
const SOUND_VERSION = 1;
/** What a file begins with: these bytes, u32 samples, u32 1 if it is fresh, SHA-256. Then s16 samples. */
const MAGIC = "ttsphr01";
const SUM_AT = 16;
const HEADER_BYTES = 48;
const SUFFIX = ".phrase";
const KEEP_SUFFIX = ".keep";
const NAME = /^[0-9a-f]{64}\.phrase$/;
/** All drafts have one family, so that any write removes those of killed processes. */
const FAMILY = "phrase";

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

  /** The samples, f32 at 24 kHz, or null. A damaged phrase is removed. */
  get(key: string): Float32Array | null {
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
    const samples = new Float32Array((bytes.length - HEADER_BYTES) / 2);
    for (let i = 0; i < samples.length; i++) samples[i] = bytes.readInt16LE(HEADER_BYTES + 2 * i) / 32767;
    return samples;
  }

  /** Keeps a phrase, and makes room for it. Throws the file system's errors, and leaves nothing then. */
  put(key: string, samples: Float32Array, fresh: boolean): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const bytes = Buffer.concat([Buffer.alloc(HEADER_BYTES), toS16le(samples)]);
    bytes.write(MAGIC, 0, "latin1");
    bytes.writeUInt32LE(samples.length, 8);
    bytes.writeUInt32LE(fresh ? 1 : 0, 12);
    sumOf(bytes, key).copy(bytes, SUM_AT);
    this.evict(bytes.length);
    const family = join(this.folder, FAMILY);
    replaceFile(this.pathOf(key), bytes, { mode: 0o600, flush: false, family });
  }

  /** What is there, the last used first. Nothing is read but the beginnings of files. */
  list(): Phrase[] {
    const names = this.names();
    const kept = new Set(names.filter((name) => name.endsWith(KEEP_SUFFIX)));
    return names
      .filter((name) => NAME.test(name))
      .flatMap((name) => {
        const key = name.slice(0, -SUFFIX.length);
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

  /** Removes all phrases, or all that are not kept. @returns those that were removed */
  clear(keptToo: boolean): Phrase[] {
    removeAbandoned(this.folder);
    const phrases = this.list().filter(({ kept }) => keptToo || !kept);
    for (const { key } of phrases) this.remove(key);
    return phrases;
  }

  /**
   * Makes room for `bytes`: what was not used for long goes, then what was used longest ago, fresh ones
   * first.
   */
  private evict(bytes: number): void {
    const now = Date.now();
    const all = this.list();
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
      const fresh = readHead(path).readUInt32LE(12) === 1;
      const seconds = Math.max(0, size - HEADER_BYTES) / 2 / SAMPLE_RATE_HZ;
      return { key, seconds, bytes: size, used: mtime.toISOString(), fresh, kept };
    } catch {
      return null; // another process has removed it
    }
  }

  private names(): string[] {
    try {
      return readdirSync(this.folder);
    } catch {
      return [];
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

const isWhole = (bytes: Buffer, key: string) =>
  bytes.length >= HEADER_BYTES &&
  bytes.toString("latin1", 0, MAGIC.length) === MAGIC &&
  bytes.readUInt32LE(8) * 2 === bytes.length - HEADER_BYTES &&
  sumOf(bytes, key).equals(bytes.subarray(SUM_AT, HEADER_BYTES));

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
