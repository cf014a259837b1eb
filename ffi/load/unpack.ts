// Unpacks what travels inside a compiled binary: once, whole or not at all, into a folder that nobody else
// can write. Every start looks only at the sizes of the files; a conversion wants every byte.

import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { meaningOf, systemCode, TtsError } from "../../src/errors.ts";
import { tryLockFile } from "../libc.ts";
import { type Contents, contentsOf, type Part, partOf, readArchive } from "./embedded.ts";

/** Number of other versions of a part that stay: going back to the last one needs no unpacking. */
const OTHERS_KEPT = 1;
const WAY_OUT = "set TTS_LIB_DIR to a folder of your own where programs may run";
/** How to wait while another start unpacks: it takes a second or two, longer on a slow card. */
const [POLL_MS, MOST_WAIT_MS] = [20, 60_000];
const OTHERS_MAY_WRITE = 0o022;
const ALL_MAY_WRITE = 0o002;
const STICKY = 0o1000;

/**
 * Makes sure that an embeddedFolder() holds its files; other folders are left alone.
 * @param everyByte compares every byte, and so finds damage that leaves the sizes right: for work that takes
 * long and is done once
 * @throws TtsError OUTPUT_FAILED when it cannot be written or is not safe, LIBRARY_MISMATCH when the binary
 * is damaged
 */
export function unpack(folder: string, everyByte = false): void {
  const part = partOf(folder);
  if (part === null) return;
  try {
    const isUsable = () =>
      isWhole(folder, contentsOf(part)) && (!everyByte || isTrue(folder, contentsOf(part)));
    if (isUsable()) return;
    const base = dirname(folder);
    mkdirSync(base, { recursive: true, mode: 0o700 });
    refuseShared(base);
    // one of several threads and processes unpacks, and the others wait
    const lock = openSync(join(base, ".unpack.lock"), "w", 0o600);
    try {
      waitFor(lock, base);
      if (!isUsable()) unpackLocked(part, folder);
    } finally {
      closeSync(lock);
    }
  } catch (cause) {
    if (cause instanceof TtsError) throw cause;
    const code = systemCode(cause);
    const hint =
      code === "ENOSPC" || code === "EDQUOT"
        ? "free some space, or set TTS_LIB_DIR to a folder that has it"
        : WAY_OUT;
    const megabytes = Math.ceil(sizeOf(contentsOf(part)) / 1e6);
    throw new TtsError(
      "OUTPUT_FAILED",
      `cannot unpack ${megabytes} MB to ${folder}: ${meaningOf(cause, "write").what}`,
      hint,
      {
        cause,
      },
    );
  }
}

/** Blocks the thread: nothing can be done without the files. @throws TtsError OUTPUT_FAILED */
function waitFor(lock: number, base: string): void {
  for (let waitedMs = 0; !tryLockFile(lock); waitedMs += POLL_MS) {
    if (waitedMs >= MOST_WAIT_MS) {
      const what = `another start has been unpacking to ${base} for ${MOST_WAIT_MS / 1000} s`;
      throw new TtsError("OUTPUT_FAILED", what, `end it, or ${WAY_OUT}`);
    }
    Bun.sleepSync(POLL_MS);
  }
}

const sizeOf = ({ files }: Contents) => files.reduce((sum, [, bytes]) => sum + bytes, 0);

/**
 * @throws TtsError OUTPUT_FAILED when somebody else could have put the files there: they would run in this
 * process
 */
function isWhole(folder: string, { files }: Contents): boolean {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (!isOurs(stat)) refuseOwner(folder, stat);
  if (!stat.isDirectory() || (stat.mode & OTHERS_MAY_WRITE) !== 0) {
    throw new TtsError(
      "OUTPUT_FAILED",
      `others may write to ${folder}: what is in it is not safe to run`,
      `remove it, or ${WAY_OUT}`,
    );
  }
  return files.every(
    ([path, bytes]) => statSync(join(folder, path), { throwIfNoEntry: false })?.size === bytes,
  );
}

const isTrue = (folder: string, { files, id }: Contents) =>
  identify(files, Buffer.concat(files.map(([path]) => readFileSync(join(folder, path))))) === id;

const isOurs = ({ uid }: Stats) => uid === process.getuid?.() || uid === 0;

function refuseOwner(folder: string, { uid }: Stats): never {
  throw new TtsError(
    "OUTPUT_FAILED",
    `${folder} belongs to another user (${uid}): what is in it is not safe to run`,
    WAY_OUT,
  );
}

function refuseShared(base: string): void {
  const stat = statSync(base);
  if (!isOurs(stat)) refuseOwner(base, stat);
  if ((stat.mode & ALL_MAY_WRITE) === 0 || (stat.mode & STICKY) !== 0) return;
  throw new TtsError("OUTPUT_FAILED", `others may write to ${base}: libraries are not safe there`, WAY_OUT);
}

/** Runs under the lock, so a process that died has left whatever is half made here. */
function unpackLocked(part: Part, folder: string): void {
  const base = dirname(folder);
  const made = join(base, `.${basename(folder)}.part`);
  const damaged = join(base, `.${basename(folder)}.old`);
  const remove = (path: string) => rmSync(path, { recursive: true, force: true });
  for (const litter of readdirSync(base).filter((name) =>
    /^\.(lib|starter)-[0-9a-f]+\.(part|old)$/.test(name),
  ))
    remove(join(base, litter));
  try {
    writeFiles(part, made);
    if (statSync(folder, { throwIfNoEntry: false }) !== undefined) renameSync(folder, damaged);
    renameSync(made, folder);
  } finally {
    remove(made);
    remove(damaged);
  }
  const others = readdirSync(base).filter(
    (name) => new RegExp(`^${part}-[0-9a-f]{16}$`).test(name) && name !== basename(folder),
  );
  const age = (name: string) => statSync(join(base, name)).mtimeMs;
  for (const name of others.sort((a, b) => age(b) - age(a)).slice(OTHERS_KEPT)) remove(join(base, name));
}

function writeFiles(part: Part, target: string): void {
  const { files, id } = contentsOf(part);
  const bytes = decompress(part);
  if (identify(files, bytes) !== id) throw damagedBinary();
  let at = 0;
  for (const [path, size] of files) {
    mkdirSync(dirname(join(target, path)), { recursive: true, mode: 0o700 });
    const file = openSync(join(target, path), "w", 0o600);
    try {
      for (let end = at + size; at < end; ) at += writeSync(file, bytes, at, end - at);
      fsyncSync(file); // power may fail at any time
    } finally {
      closeSync(file);
    }
  }
}

function decompress(part: Part): Uint8Array {
  try {
    return Bun.zstdDecompressSync(readArchive(part));
  } catch (cause) {
    throw damagedBinary(cause);
  }
}

const damagedBinary = (cause?: unknown) =>
  new TtsError(
    "LIBRARY_MISMATCH",
    `${process.execPath} is damaged: its contents cannot be unpacked`,
    "copy it here again",
    { cause },
  );

/** The id of these contents. */
export function identify(files: Contents["files"], bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256")
    .update(JSON.stringify(files))
    .update(bytes)
    .digest("hex")
    .slice(0, 16);
}
