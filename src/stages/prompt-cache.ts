// Keeps the talker's state after a prompt on disk, for prompts that come again. Only the user can read the
// files; their number and bytes are bounded, and the least recently used go first. Nothing here is ever an
// error: a damaged, foreign or missing file counts as none, and so does a full or read-only disk. Many
// processes may use the folder at once.

import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { PREFIX_LIMITS } from "../config.ts";
import { type Bundle, bundlePath } from "../formats/bundle.ts";
import { replaceFile } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { textOrEmpty } from "../io/read.ts";

/** The talker after a prompt or the start of one. */
export interface PromptState {
  positions: number;
  /** The time that computing it took. */
  computedMs: number;
  /** f32 [hidden + codec vocabulary]: the last position's results */
  results: Float32Array;
  /** All that the talker keeps of the positions. */
  bytes: Uint8Array<ArrayBuffer>;
}

/** Raised whenever older files must not be used any more. */
const FORMAT = 2;
const MAGIC = "TTS-KV\r\n";
/**
 * u8 [8] magic; u32 format, positions, floats of results; f32 milliseconds; u64 bytes; u8 [32] key; u8 [32]
 * SHA-256 of all the rest.
 */
const HEADER = {
  format: 8,
  positions: 12,
  results: 16,
  computedMs: 20,
  bytes: 24,
  key: 32,
  sum: 64,
  size: 96,
} as const;
const FILE_NAME = /^[0-9a-f]{64}\.kv$/;
/** Hex digits by which a key is recognised; a mistake would only write a file too early. */
const SEEN_DIGITS = 16;

/**
 * Names the weights and the processor: a state is worth nothing with others. Call it before the files are
 * opened, so that the opened weights are never older than their name. The file's change date shows even a
 * replacement of the same size and modification date.
 */
export function modelIdentity(bundle: Bundle): string {
  const { source, version, weights } = bundle.manifest;
  const file = [bundlePath(bundle, "talker"), `${bundlePath(bundle, "talkerOnnx")}.data`].flatMap((path) => {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return [stat?.size, stat?.mtimeNs, stat?.ctimeNs].map(String);
  });
  return JSON.stringify([version, weights.talker, source, file, process.arch, cpus()[0]?.model]);
}

/**
 * Keys of a prompt's first `prefixRows` rows and of the whole prompt, `rows` f32 [count, hidden]. The second
 * key includes the place of the cut, because the talker's rounding depends on it.
 */
export function promptKeys(
  identity: string,
  rows: Float32Array,
  prefixRows: number,
  hidden: number,
): { prefix: string; whole: string } {
  const hash = newHash().update(JSON.stringify([FORMAT, identity, prefixRows, hidden]));
  hash.update(rows.subarray(0, prefixRows * hidden));
  const prefix = hash.copy().digest("hex");
  return { prefix, whole: hash.update(rows.subarray(prefixRows * hidden)).digest("hex") };
}

export class PrefixStore {
  private readonly folder: string;
  /** Keys asked for since the last {@link tidy}, and how often. */
  private readonly asked = new Map<string, number>();
  /** Keys that have been asked for twice and are still to be written. */
  private readonly due = new Set<string>();

  constructor(cacheDir: string) {
    this.folder = join(cacheDir, "prefixes");
  }

  /** The state of a key, or null. Reads and checks a file; everything else waits for {@link tidy}. */
  read(key: string): PromptState | null {
    if (!this.isPrivate()) return null;
    const path = this.pathOf(key);
    try {
      const stat = lstatSync(path, { throwIfNoEntry: false });
      if (stat === undefined) return null;
      // larger files are never written here
      const mayBe = stat.isFile() && stat.size <= 2 * PREFIX_LIMITS.memoryBytes;
      const state = mayBe ? fromFile(readFileSync(path), key) : null;
      if (state === null) this.drop(key);
      return state;
    } catch {
      return null; // gone since, or not readable
    }
  }

  drop(key: string): void {
    quietly(() => rmSync(this.pathOf(key), { recursive: true, force: true }));
  }

  /**
   * Counts a use. @param lasting it will come again, so it is written at once; other keys must be asked for
   * twice
   */
  ask(key: string, lasting: boolean): void {
    const times = (this.asked.get(key) ?? 0) + (lasting ? 2 : 1);
    this.asked.delete(key);
    this.asked.set(key, times);
    if (this.asked.size > PREFIX_LIMITS.seenKeys) this.asked.delete(this.asked.keys().next().value!);
  }

  /**
   * Does one piece of the work left for a quiet moment: notes what was asked for, or writes one file.
   * @param stateOf gives a key's state if it is still in memory
   * @returns false when there is nothing to do
   */
  tidy(stateOf: (key: string) => PromptState | null): boolean {
    if (this.asked.size > 0) {
      quietly(() => this.note());
      this.asked.clear();
      return true;
    }
    const [key] = this.due;
    if (key === undefined) return false;
    this.due.delete(key);
    const state = stateOf(key);
    if (state !== null) quietly(() => this.write(key, state));
    return true;
  }

  /** Gives used files today's date. Keys without a file become due if they were asked for before. */
  private note(): void {
    if (!this.isPrivate(true)) return;
    const path = join(this.folder, "seen");
    const seen = new Set(textOrEmpty(path).split("\n").slice(0, -1));
    const fresh: string[] = [];
    for (const [key, times] of this.asked) {
      const short = key.slice(0, SEEN_DIGITS);
      if (!seen.has(short)) fresh.push(short);
      if (existsSync(this.pathOf(key))) quietly(() => utimesSync(this.pathOf(key), new Date(), new Date()));
      else if (times > 1 || seen.has(short)) this.due.add(key);
    }
    const text = (keys: string[]) => keys.map((key) => `${key}\n`).join("");
    if (seen.size + fresh.length <= PREFIX_LIMITS.seenKeys)
      appendFileSync(path, text(fresh), { mode: 0o600 });
    else this.replace(path, text([...seen, ...fresh].slice(-PREFIX_LIMITS.seenKeys / 2)));
  }

  private write(key: string, state: PromptState): void {
    if (!this.isPrivate(true)) return;
    const content = toFile(key, state);
    this.makeRoom(content.length);
    this.replace(this.pathOf(key), content);
  }

  /** Does not flush, since a talker waits meanwhile. The sum shows what a power cut has damaged. */
  private replace(path: string, content: string | Uint8Array): void {
    replaceFile(path, content, { mode: 0o600, flush: false, family: join(this.folder, "file") });
  }

  private makeRoom(bytes: number): void {
    const files = readdirSync(this.folder)
      .filter((name) => FILE_NAME.test(name))
      .map((name) => ({
        path: join(this.folder, name),
        stat: lstatSync(join(this.folder, name), { throwIfNoEntry: false }),
      }))
      .toSorted((a, b) => (a.stat?.mtimeMs ?? 0) - (b.stat?.mtimeMs ?? 0));
    let left = files.length;
    let total = files.reduce((sum, { stat }) => sum + (stat?.size ?? 0), 0);
    for (const { path, stat } of files) {
      if (left < PREFIX_LIMITS.diskFiles && total + bytes <= PREFIX_LIMITS.diskBytes) return;
      rmSync(path, { recursive: true, force: true });
      left--;
      total -= stat?.size ?? 0;
    }
  }

  private pathOf(key: string): string {
    return join(this.folder, `${key}.kv`);
  }

  /**
   * Whether only this user can read and write here: sentences are private, and libllama trusts a state's
   * bytes.
   */
  private isPrivate(make = false): boolean {
    return quietly(() => {
      if (make) mkdirSync(this.folder, { recursive: true, mode: 0o700 });
      const stat = lstatSync(this.folder);
      if (!stat.isDirectory() || stat.uid !== process.getuid?.()) throw new Error("not our folder");
      if ((stat.mode & 0o077) !== 0) chmodSync(this.folder, 0o700);
    });
  }
}

/** @returns whether the work succeeded */
function quietly(work: () => void): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}

function toFile(key: string, { bytes, computedMs, positions, results }: PromptState): Uint8Array {
  const file = new Uint8Array(HEADER.size + results.byteLength + bytes.length);
  const header = new DataView(file.buffer);
  file.set(Buffer.from(MAGIC));
  header.setUint32(HEADER.format, FORMAT, true);
  header.setUint32(HEADER.positions, positions, true);
  header.setUint32(HEADER.results, results.length, true);
  header.setFloat32(HEADER.computedMs, computedMs, true);
  header.setBigUint64(HEADER.bytes, BigInt(bytes.length), true);
  file.set(Buffer.from(key, "hex"), HEADER.key);
  new Float32Array(file.buffer, HEADER.size, results.length).set(results);
  file.set(bytes, HEADER.size + results.byteLength);
  file.set(sumOf(file), HEADER.sum);
  return file;
}

/** null unless {@link toFile} has made the file for this key and it is unchanged. */
function fromFile(file: Buffer<ArrayBuffer>, key: string): PromptState | null {
  if (
    file.length < HEADER.size ||
    file.toString("latin1", 0, MAGIC.length) !== MAGIC ||
    file.readUInt32LE(HEADER.format) !== FORMAT
  )
    return null;
  const floats = file.readUInt32LE(HEADER.results);
  const at = HEADER.size + 4 * floats;
  if (BigInt(file.length) !== BigInt(at) + file.readBigUInt64LE(HEADER.bytes)) return null;
  if (
    file.toString("hex", HEADER.key, HEADER.sum) !== key ||
    !sumOf(file).equals(file.subarray(HEADER.sum, HEADER.size))
  )
    return null;
  const results = new Float32Array(file.buffer.slice(file.byteOffset + HEADER.size, file.byteOffset + at));
  const [positions, computedMs] = [file.readUInt32LE(HEADER.positions), file.readFloatLE(HEADER.computedMs)];
  return { positions, computedMs, results, bytes: file.subarray(at) };
}

const sumOf = (file: Uint8Array) =>
  newHash().update(file.subarray(0, HEADER.sum)).update(file.subarray(HEADER.size)).digest();
