// Where sound goes: a file that appears only when it is whole, or a stream (pipe, device, stdout) that gets samples as they come.

import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  write,
} from "node:fs";
import { promisify } from "node:util";
import { TtsError } from "../errors.ts";
import { partPath, removeAbandonedParts } from "../parts.ts";
import { toS16le } from "./pcm.ts";
import { WAV_HEADER_BYTES, wavHeader } from "./wav.ts";

export const FORMATS = ["wav", "pcm"] as const;
/** pcm is raw 16-bit little-endian, 24 kHz mono. */
export type Format = (typeof FORMATS)[number];

const writeAsync = promisify(write);
const STDOUT = 1;
const RETRY_MS = 5;

/** Takes samples in order. Exactly one of finish and abandon ends it. */
export interface Sink {
  /** @throws TtsError OUTPUT_FAILED */
  write(samples: Float32Array): Promise<void>;
  finish(): Promise<void>;
  /** Leaves nothing half-made behind. */
  abandon(): void;
}

/**
 * Opens an output before any work is done for it, so that a path that cannot be written fails at once.
 * @param path "-" is stdout
 * @throws TtsError OUTPUT_FAILED
 */
export function openSink(path: string, format: Format): Sink {
  try {
    if (path === "-") return new StreamSink("stdout", STDOUT, format);
    const target = existsSync(path) ? realpathSync(path) : path; // a link keeps pointing at the file
    if (!existsSync(target) || statSync(target).isFile()) return new FileSink(path, target, format);
    if (statSync(target).isDirectory()) throw new TtsError("OUTPUT_FAILED", `${path} is a folder`, "name a file in it");
    return new StreamSink(path, openSync(target, "w"), format);
  } catch (error) {
    throw outputError(path, error);
  }
}

/** One-line errors for what disks and pipes do. */
function outputError(path: string, error: unknown): TtsError {
  if (error instanceof TtsError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const known: Record<string, [what: string, hint: string]> = {
    EPIPE: ["its reader has gone", ""],
    ENOSPC: ["the disk is full", "free some space"],
    EDQUOT: ["your disk quota is used up", "free some space"],
    EACCES: ["no permission", "choose a place you may write to"],
    EROFS: ["the disk is read-only", "choose another place"],
    ENOENT: ["its folder does not exist", "make the folder first"],
  };
  const [what, hint] = known[code ?? ""] ?? [message, ""];
  return new TtsError("OUTPUT_FAILED", `cannot write ${path}: ${what}`, hint, { cause: error });
}

/** Writes everything; a pipe that is full for the moment is tried again. */
async function writeAll(file: number, bytes: Uint8Array, position: number | null): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += (await writeAsync(file, bytes, at, bytes.length - at, position === null ? null : position + at)).bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

class StreamSink implements Sink {
  private started = false;

  constructor(
    private readonly name: string,
    private readonly file: number,
    private readonly format: Format,
  ) {}

  private async start(): Promise<void> {
    if (this.format === "wav" && !this.started) await writeAll(this.file, wavHeader(null), null);
    this.started = true;
  }

  async write(samples: Float32Array): Promise<void> {
    try {
      await this.start();
      await writeAll(this.file, toS16le(samples), null);
    } catch (error) {
      throw outputError(this.name, error);
    }
  }

  async finish(): Promise<void> {
    try {
      await this.start();
      this.close();
    } catch (error) {
      throw outputError(this.name, error);
    }
  }

  abandon(): void {
    try {
      this.close();
    } catch {
      return; // the failure that led here is the one to report
    }
  }

  private close(): void {
    if (this.file !== STDOUT) closeSync(this.file);
  }
}

class FileSink implements Sink {
  private readonly part: string;
  private readonly file: number;
  private samples = 0;
  private readonly removePart = () => rmSync(this.part, { force: true });

  constructor(
    private readonly name: string,
    private readonly target: string,
    private readonly format: Format,
  ) {
    if (existsSync(target)) closeSync(openSync(target, constants.O_WRONLY)); // a file that may not be written is not replaced either
    removeAbandonedParts(target);
    this.part = partPath(target);
    this.file = openSync(this.part, "w");
    process.once("exit", this.removePart);
  }

  async write(samples: Float32Array): Promise<void> {
    try {
      await writeAll(this.file, toS16le(samples), this.offset);
      this.samples += samples.length;
    } catch (error) {
      throw outputError(this.name, error);
    }
  }

  private get offset(): number {
    return 2 * this.samples + (this.format === "wav" ? WAV_HEADER_BYTES : 0);
  }

  async finish(): Promise<void> {
    try {
      if (this.format === "wav") await writeAll(this.file, wavHeader(this.samples), 0);
      fsyncSync(this.file);
      closeSync(this.file);
      if (existsSync(this.target)) chmodSync(this.part, statSync(this.target).mode & 0o7777);
      renameSync(this.part, this.target);
      process.off("exit", this.removePart);
    } catch (error) {
      throw outputError(this.name, error);
    }
  }

  abandon(): void {
    closeSync(this.file);
    this.removePart();
    process.off("exit", this.removePart);
  }
}
