// Reads files and standard input whole, up to a limit: every name may lead to something without an end, such
// as /dev/zero or a pipe that nobody writes to. A file that may be missing gives "" or null instead of an
// error.

import { isUtf8 } from "node:buffer";
import { closeSync, constants, fstatSync, open, openSync, read, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { fileError, TtsError } from "../errors.ts";

const openAsync = promisify(open);
const readAsync = promisify(read);
const STDIN = 0;
const RETRY_MS = 10;
const BLOCK_BYTES = 65_536;
/** The largest text or JSON file that a model or the system has is a tokenizer of some 20 MB. */
const TEXT_BYTES = 128 * 2 ** 20;

/**
 * The bytes of a regular file. Never waits: a pipe, a device or a socket is refused before it is read. Throws
 * the system's error, or one that says what is wrong with the file.
 * @param tooLarge what is thrown where there are more bytes
 */
export function readRegularFile(
  path: string,
  limit = TEXT_BYTES,
  tooLarge = new Error(`it has more than ${limit} bytes`),
): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // a FIFO would wait for its writer
  try {
    const there = fstatSync(file);
    if (!there.isFile() && !there.isDirectory()) throw new Error("it is no regular file");
    if (there.isFile() && there.size > limit) throw tooLarge;
    return readFileSync(file); // the system's own error for a folder
  } finally {
    closeSync(file);
  }
}

/** A text file, or null where none can be read. */
export function textOrNull(path: string): string | null {
  try {
    return readRegularFile(path).toString();
  } catch {
    return null;
  }
}

/**
 * A text file, or "" where none can be read. For files of /proc and /sys that a system may lack, and settings
 * that nobody wrote.
 */
export const textOrEmpty = (path: string) => textOrNull(path) ?? "";

/** The value in a JSON file, or null where it cannot be read or is no JSON. The caller checks the value. */
export function jsonOrNull(path: string): unknown {
  try {
    return JSON.parse(readRegularFile(path).toString());
  } catch {
    return null;
  }
}

/**
 * The bytes of a file, pipe or device, or of stdin for "-", up to `limit`. Waits off the main thread, so that
 * a signal ends a wait for input.
 * @param tooLarge what is thrown where there are more bytes
 * @throws TtsError INPUT_UNREADABLE
 */
export async function readBytes(path: string, limit: number, tooLarge: TtsError): Promise<Buffer> {
  const name = path === "-" ? "stdin" : path;
  const chunks: Buffer[] = [];
  let total = 0;
  let file = STDIN;
  try {
    file = path === "-" ? STDIN : await openAsync(path, "r");
    for (;;) {
      const block = Buffer.alloc(BLOCK_BYTES);
      const count = await readBlock(file, block);
      if (count === 0) return Buffer.concat(chunks);
      total += count;
      if (total > limit) throw tooLarge;
      chunks.push(block.subarray(0, count));
    }
  } catch (error) {
    throw fileError("INPUT_UNREADABLE", name, error, { use: "read" });
  } finally {
    if (file !== STDIN) closeSync(file);
  }
}

/** Reads a block; asks again while a terminal or pipe that does not block has nothing yet. */
async function readBlock(file: number, block: Buffer): Promise<number> {
  for (;;) {
    try {
      return (await readAsync(file, block, 0, block.length, null)).bytesRead;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EOF") return 0;
      if (code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/**
 * A UTF-8 file as text, without a byte order mark.
 * @throws TtsError INPUT_UNREADABLE, TEXT_TOO_LONG, TEXT_ENCODING naming the first bad byte
 */
export async function readTextFile(path: string, limit: number): Promise<string> {
  const name = path === "-" ? "stdin" : path;
  const hint = `at most ${limit} are read at once`;
  const tooLong = new TtsError("TEXT_TOO_LONG", `${name} has more than ${limit} bytes`, hint);
  const bytes = await readBytes(path, limit, tooLong);
  const at = firstInvalidByte(bytes);
  if (at === bytes.length) return new TextDecoder().decode(bytes);
  const byte = `0x${bytes[at].toString(16).padStart(2, "0")}`;
  const [what, advice] = encodingOf(bytes, at);
  throw new TtsError("TEXT_ENCODING", `${name} is not UTF-8: byte ${byte} at offset ${at}${what}`, advice);
}

/**
 * The offset of the first byte that begins no character, or the length if there is none. Plain English in
 * UTF-16 is valid UTF-8, with a zero for every second character, which counts as the first such byte.
 */
function firstInvalidByte(bytes: Buffer): number {
  if (!isUtf8(bytes)) {
    let at = 0;
    while (beginsCharacter(bytes, at)) at += charactersBytes(bytes[at]);
    return at;
  }
  return isZeroPadded(bytes) ? bytes.indexOf(0) : bytes.length;
}

/** How many bytes the character has that begins with this one; 0 for a byte that begins none. */
function charactersBytes(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

function beginsCharacter(bytes: Buffer, at: number): boolean {
  const end = at + charactersBytes(bytes[at]);
  return end > at && end <= bytes.length && isUtf8(bytes.subarray(at, end));
}

const isZeroPadded = (bytes: Buffer) =>
  bytes.reduce((zeros, byte) => zeros + (byte === 0 ? 1 : 0), 0) > bytes.length / 4;
const isContinuation = (byte: number | undefined) => byte !== undefined && byte >> 6 === 0b10;
const iconv = (from: string) => `convert it first: iconv -f ${from} -t UTF-8`;

/** What bytes probably are that stop being UTF-8 at `at`, to put behind the offset; and what to do. */
function encodingOf(bytes: Buffer, at: number): [what: string, hint: string] {
  const mark = bytes.toString("hex", 0, 4);
  if (mark === "fffe0000" || mark === "0000feff") return [" (it is UTF-32)", iconv("UTF-32")];
  if (/^(fffe|feff)/.test(mark)) return [" (it is UTF-16)", iconv("UTF-16")];
  if (isZeroPadded(bytes)) {
    const encoding = bytes[0] === 0 ? "UTF-16BE" : "UTF-16LE";
    return [` (it looks like ${encoding})`, iconv(encoding)];
  }
  if (bytes.includes(0)) return [" (it is no text)", "give a text file"];
  const tail = bytes.subarray(at + 1);
  const isCut = tail.length < charactersBytes(bytes[at]) - 1 && tail.every(isContinuation);
  // a single odd letter at the end of a plain text may as well be Latin-1
  if (isCut)
    return [
      " (it ends inside a character)",
      `get the whole of it; if it is Latin-1, ${iconv("WINDOWS-1252")}`,
    ];
  const isDamaged = bytes[at] >= 0xc0 && isContinuation(tail[0]);
  const before = bytes.subarray(0, at);
  if (isDamaged || before.some((byte) => byte >= 0x80))
    return [" (the text is damaged there)", "mend it, or leave the byte out: iconv -c -f UTF-8 -t UTF-8"];
  return [" (it may be Latin-1)", iconv("WINDOWS-1252")];
}
