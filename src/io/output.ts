// A place for bytes: a file that appears only when it is whole, or a stream (pipe, device, stdout) that gets
// them as they come. Opening and writing wait off the main thread, so that a signal ends a wait for a reader.

import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  open,
  openSync,
  realpathSync,
  type Stats,
  statSync,
  write,
} from "node:fs";
import { basename, dirname } from "node:path";
import { promisify } from "node:util";
import { fileError, TtsError } from "../errors.ts";
import { Draft } from "./atomic.ts";
import { textOrEmpty } from "./read.ts";

const openAsync = promisify(open);
const writeAsync = promisify(write);
const STDOUT = 1;
/** O_CLOEXEC, which Node's constants lack; the same on x64 and arm64. */
const CLOSE_ON_EXEC = 0o2000000;
const RETRY_MS = 5;

/** Takes bytes in order until it is finished or abandoned. Abandoning it after that does nothing. */
export interface Output {
  /** Whether {@link rewrite} works. */
  readonly seekable: boolean;
  /** @throws TtsError OUTPUT_FAILED */
  write(bytes: Uint8Array): Promise<void>;
  /** Overwrites the first bytes. */
  rewrite(bytes: Uint8Array): Promise<void>;
  /** @throws TtsError OUTPUT_FAILED */
  finish(): Promise<void>;
  /** Leaves nothing half-made behind. Never throws: the failure that led here is the one to report. */
  abandon(): void;
}

/**
 * Opens an output before any work is done for it, so that a path that cannot be written fails at once. Waits
 * for the reader of a FIFO.
 * @param path "-" and every other name of stdout mean stdout
 * @throws TtsError OUTPUT_FAILED
 */
export async function openOutput(path: string): Promise<Output> {
  try {
    if (isStdout(path)) return new Stream("stdout", openStdout());
    // follows links: /dev/fd/3 is a pipe, not a name
    const there = statSync(path, { throwIfNoEntry: false });
    if (there?.isDirectory()) throw new TtsError("OUTPUT_FAILED", `${path} is a folder`, "name a file in it");
    if (there === undefined) return new WholeFile(path, path);
    const target = there.isFile() ? realName(path, there) : null;
    return target !== null ? new WholeFile(path, target) : new Stream(path, await openAsync(path, "w"));
  } catch (error) {
    throw outputError(path, error);
  }
}

/**
 * Whether bytes written to `path` arrive where standard output does. The null device keeps nothing, so it
 * never counts.
 */
export function isStdout(path: string): boolean {
  if (path === "-") return true;
  const there = statOf(path);
  const stdout = statOf(STDOUT);
  if (there === null || stdout === null || !isSame(there, stdout)) return false;
  return !there.isCharacterDevice() || there.rdev !== statOf("/dev/null")?.rdev;
}

/** Whether two paths name the same file, or would once it exists. */
export function isSameFile(a: string, b: string): boolean {
  const [left, right] = [statOf(a), statOf(b)];
  if (left !== null && right !== null) return isSame(left, right);
  const [leftFolder, rightFolder] = [statOf(dirname(a)), statOf(dirname(b))];
  if (left !== null || right !== null || leftFolder === null || rightFolder === null) return false;
  return basename(a) === basename(b) && isSame(leftFolder, rightFolder);
}

/** @throws TtsError OUTPUT_FAILED, READER_GONE */
export async function printText(text: string): Promise<void> {
  try {
    await writeAll(openStdout(), Buffer.from(text), null);
  } catch (error) {
    throw outputError("stdout", error);
  }
}

/**
 * Bun puts the null device in place of a closed standard output, so that writing to it would seem to work. It
 * can be told from one that was inherited: that is never closed on exec.
 */
function openStdout(): number {
  if ((infoOf(STDOUT).flags & CLOSE_ON_EXEC) !== 0)
    throw new TtsError("OUTPUT_FAILED", "cannot write stdout: it is closed", "give it a file or a pipe");
  return STDOUT;
}

/** What Linux tells of an open file: its flags, and where the next byte goes. */
function infoOf(file: number): { flags: number; position: number } {
  const info = textOrEmpty(`/proc/self/fdinfo/${file}`);
  const number = (name: string, base: number) =>
    Number.parseInt(new RegExp(`^${name}:\\s*(\\d+)$`, "m").exec(info)?.[1] ?? "0", base);
  return { flags: number("flags", 8), position: number("pos", 10) };
}

/** Where bytes can be changed. */
interface Place {
  file: number;
  at: number;
}

/**
 * The place of the last bytes in a plain file, such as a redirected stdout, which need not begin with them;
 * null where it cannot be written again.
 */
function placeOf(file: number, bytes: number): Place | null {
  if (!statOf(file)?.isFile()) return null;
  const { flags, position } = infoOf(file);
  const at = position - bytes;
  if ((flags & constants.O_APPEND) === 0) return at < 0 ? null : { file, at };
  try {
    return { file: openSync(`/proc/self/fd/${file}`, constants.O_WRONLY), at }; // or all would be appended
  } catch {
    return null; // whoever gave the file may open it, and this user may not
  }
}

const isSame = (a: Stats, b: Stats) => a.dev === b.dev && a.ino === b.ino;

function statOf(file: string | number): Stats | null {
  try {
    return typeof file === "string" ? statSync(file) : fstatSync(file);
  } catch {
    return null; // it is not there; opening it shows any other fault
  }
}

/**
 * The path behind a link, which then keeps pointing at its file. null where the file has no name any more.
 */
function realName(path: string, there: Stats): string | null {
  try {
    const name = realpathSync(path);
    return isSame(statSync(name), there) ? name : null;
  } catch {
    return null;
  }
}

/** The failure of a disk or pipe as an error of one line. */
function outputError(path: string, error: unknown): TtsError {
  if ((error as NodeJS.ErrnoException).code === "EPIPE")
    return new TtsError("READER_GONE", `cannot write ${path}: its reader has gone`, "", { cause: error });
  return fileError("OUTPUT_FAILED", path, error, { use: "write" });
}

/** Writes everything; tries again while a pipe is full. */
async function writeAll(file: number, bytes: Uint8Array, position: number | null): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += (await writeAsync(file, bytes, at, bytes.length - at, position === null ? null : position + at))
        .bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** What all outputs share: errors carry the output's name, and the end comes once. */
abstract class OpenFile implements Output {
  abstract readonly seekable: boolean;
  private ended = false;
  private closed = false;

  constructor(
    private readonly name: string,
    protected readonly file: number,
  ) {}

  /** Closes once: afterwards the number may belong to another file, even where closing failed. */
  protected close(): void {
    if (this.closed || this.file === STDOUT) return;
    this.closed = true;
    closeSync(this.file);
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.named(() => writeAll(this.file, bytes, null));
  }

  rewrite(bytes: Uint8Array): Promise<void> {
    const { at, file } = this.start;
    return this.named(() => writeAll(file, bytes, at));
  }

  finish(): Promise<void> {
    return this.named(() => {
      this.complete();
      this.ended = true;
    });
  }

  abandon(): void {
    if (this.ended) return;
    this.ended = true;
    try {
      this.discard();
    } catch {
      return; // only an unfinished file is left
    }
  }

  /** Only asked for where it is seekable. */
  protected abstract get start(): Place;
  /** @throws the system's error */
  protected abstract complete(): void;
  protected abstract discard(): void;

  private async named(action: () => void | Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      throw outputError(this.name, error);
    }
  }
}

class Stream extends OpenFile {
  /** Of what was written first; null on a pipe, undefined before. */
  private first: Place | null | undefined;

  get seekable(): boolean {
    return this.first != null;
  }

  override async write(bytes: Uint8Array): Promise<void> {
    await super.write(bytes);
    if (this.first === undefined) this.first = placeOf(this.file, bytes.length);
  }

  protected get start(): Place {
    return this.first!;
  }

  protected complete(): void {
    this.close();
  }

  protected discard(): void {
    this.close();
  }
}

class WholeFile extends OpenFile {
  readonly seekable = true;
  private readonly draft: Draft;

  constructor(name: string, target: string) {
    // a file that may not be written is not replaced either
    if (existsSync(target)) closeSync(openSync(target, constants.O_WRONLY));
    const draft = new Draft(target);
    super(name, draft.open());
    this.draft = draft;
  }

  protected get start(): Place {
    return { file: this.file, at: 0 };
  }

  protected complete(): void {
    fsyncSync(this.file);
    this.close();
    const { path, target } = this.draft;
    if (existsSync(target)) chmodSync(path, statSync(target).mode & 0o7777);
    this.draft.moveIntoPlace();
  }

  protected discard(): void {
    try {
      this.close();
    } finally {
      this.draft.discard();
    }
  }
}
