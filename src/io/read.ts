// Reads files and standard input whole, up to a limit: every name may lead to something without an end, such
// as /dev/zero or a pipe that nobody writes to. A file that may be missing gives "" or null instead of an
// error.

import { closeSync, constants, fstatSync, open, openSync, read, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { TtsError } from "../errors.ts";

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
    if (error instanceof TtsError) throw error;
    throw new TtsError("INPUT_UNREADABLE", `cannot read ${name}: ${(error as Error).message}`, "", {
      cause: error,
    });
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
  const what = `${path === "-" ? "stdin" : path} has more than ${limit} bytes`;
  const tooLong = new TtsError("TEXT_TOO_LONG", what, `at most ${limit} are read at once`);
  const bytes = await readBytes(path, limit, tooLong);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const at = firstInvalidByte(bytes);
    const byte = `0x${bytes[at].toString(16).padStart(2, "0")}`;
    throw new TtsError(
      "TEXT_ENCODING",
      `${path === "-" ? "stdin" : path} is not UTF-8: byte ${byte} at offset ${at}`,
      "convert it first, for example with iconv -t UTF-8",
    );
  }
}

/** The offset where decoding stops, found by bisection over valid prefixes. */
function firstInvalidByte(bytes: Buffer): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (isValidPrefix(bytes.subarray(0, middle))) valid = middle;
    else invalid = middle;
  }
  return valid;
}

/** Whether the bytes are valid so far; a character may be cut at the end. */
function isValidPrefix(bytes: Buffer): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
