// Downloads one file from a hub: into FILE.part in pieces that survive a kill, then checks and renames it.
// Knows nothing of models.

import {
  closeSync,
  createReadStream,
  existsSync,
  ftruncateSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { TtsError } from "../errors.ts";
import { renameIntoPlace } from "../io/atomic.ts";
import { newHash } from "../io/hash.ts";
import { jsonOrNull } from "../io/read.ts";
import type { HubFile } from "./catalog.ts";
import { type Hub, Interrupted, Watchdog } from "./hub.ts";

/** A file to fetch and what it must be. */
export interface WantedFile extends HubFile {
  /** Leading digits of its SHA-256, known beforehand. */
  sha256Prefix?: string;
}

/**
 * The content of FILE.part.state. It is rewritten in place after every write, so that it is right after a
 * kill.
 */
interface PartState {
  /** Size and sum: a part of another file is of no use. */
  identity: string;
  pieceBytes: number;
  etag: string | null;
  /** Bytes that are here, per piece. */
  done: number[];
}

const HASH_BLOCK_BYTES = 4 * 2 ** 20;
/** Room in the state file for one number with its comma, and for all the rest. */
const [DIGITS, STATE_BYTES] = [12, 512];
const identityOf = ({ bytes, sha256, gitOid }: WantedFile) => `${bytes} ${sha256 ?? gitOid ?? ""}`;

/** Bytes of a file that an earlier attempt left. */
export function bytesKept(path: string, file: WantedFile): number {
  return readState(`${path}.part`, file)?.done.reduce((sum, bytes) => sum + bytes, 0) ?? 0;
}

function readState(part: string, file: WantedFile): PartState | null {
  const state = jsonOrNull(`${part}.state`) as PartState | null;
  const isWhole =
    Array.isArray(state?.done) &&
    state.pieceBytes > 0 &&
    statSync(part, { throwIfNoEntry: false })?.size === file.bytes;
  return isWhole && state.identity === identityOf(file) ? state : null;
}

/** A file under construction and its state. */
class Part {
  private constructor(
    readonly file: WantedFile,
    private readonly data: FileHandle,
    private readonly stateFd: number,
    private readonly state: PartState,
  ) {}

  static async open(path: string, file: WantedFile, pieceBytes: number): Promise<Part> {
    const kept = readState(path, file);
    const pieces = Math.max(1, Math.ceil(file.bytes / pieceBytes));
    const state = kept ?? { identity: identityOf(file), pieceBytes, etag: null, done: Array(pieces).fill(0) };
    const data = await open(path, kept === null ? "w" : "r+");
    const stateFd = openSync(`${path}.state`, kept === null ? "w" : "r+");
    const part = new Part(file, data, stateFd, state);
    if (kept === null) {
      await data.truncate(file.bytes);
      part.save();
    }
    return part;
  }

  get pieces(): number {
    return this.state.done.length;
  }
  get etag(): string | null {
    return this.state.etag;
  }
  get doneBytes(): number {
    return this.state.done.reduce((sum, bytes) => sum + bytes, 0);
  }
  done(piece: number): number {
    return this.state.done[piece];
  }
  start(piece: number): number {
    return piece * this.state.pieceBytes;
  }
  length(piece: number): number {
    return Math.min(this.state.pieceBytes, this.file.bytes - this.start(piece));
  }
  isDone(piece: number): boolean {
    return this.done(piece) === this.length(piece);
  }

  /** Remembers what the server calls this content. Only a strong tag promises equal bytes. */
  setEtag(etag: string | null): void {
    if (etag !== null && !etag.startsWith("W/")) this.state.etag = etag;
  }

  async append(piece: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await this.data.write(
        bytes,
        at,
        bytes.length - at,
        this.start(piece) + this.state.done[piece],
      );
      at += bytesWritten;
      this.state.done[piece] += bytesWritten;
    }
    this.save();
  }

  /** Starts from the beginning, as one piece. */
  restart(): void {
    Object.assign(this.state, { pieceBytes: Math.max(1, this.file.bytes), etag: null, done: [0] });
    ftruncateSync(this.stateFd, 0);
    this.save();
  }

  async close(): Promise<void> {
    await this.data.sync();
    await this.data.close();
    closeSync(this.stateFd);
  }

  /** Always the same length and one write: a kill leaves the old or the new text, never half of it. */
  private save(): void {
    const text = JSON.stringify(this.state);
    writeSync(this.stateFd, text.padEnd(STATE_BYTES + DIGITS * this.pieces), 0);
  }
}

/** The server sends whole files only, or has another file by now: everything starts anew. */
class RangesRefused extends Error {}

/** One run over one file. */
class Download {
  private plain = false;
  /** Aborted by the first connection that fails for good, with its error as the reason. */
  private readonly failed = new AbortController();
  private readonly taken = new Set<number>();

  constructor(
    private readonly hub: Hub,
    private readonly url: string,
    private readonly part: Part,
    private readonly onBytes: (bytes: number) => void,
  ) {}

  /** @throws RangesRefused, TtsError HUB_* */
  async run(): Promise<void> {
    const first = Promise.withResolvers<void>();
    const lanes = [this.fetchPieces(first.resolve)];
    // Whether the server can send parts is known from its first answer.
    await Promise.race([first.promise, lanes[0].catch(() => {})]);
    for (let i = 1; i < this.hub.limits.connections && !this.failed.signal.aborted; i++)
      lanes.push(this.fetchPieces(() => {}));
    await Promise.allSettled(lanes);
    if (this.failed.signal.aborted) throw this.failed.signal.reason;
  }

  /** Fetches from the beginning over one connection, without asking for parts. */
  async runPlain(): Promise<void> {
    this.plain = true;
    let furthest = 0;
    const progress = () => {
      furthest = Math.max(furthest, this.part.doneBytes);
      return furthest;
    };
    await this.hub.withRetries(async () => {
      this.onBytes(-this.part.doneBytes);
      this.part.restart();
      await this.fetch(0, () => {});
    }, progress);
  }

  private async fetchPieces(onAnswer: () => void): Promise<void> {
    const { part } = this;
    try {
      for (let piece = 0; piece < part.pieces; piece++) {
        if (this.taken.has(piece) || part.isDone(piece)) continue;
        this.taken.add(piece);
        await this.hub.withRetries(
          () => this.fetch(piece, onAnswer),
          () => part.done(piece),
          this.failed.signal,
        );
      }
    } catch (error) {
      this.failed.abort(error);
      throw error;
    }
  }

  /** Fetches what is missing of a piece. @throws Interrupted where another attempt can go on */
  private async fetch(piece: number, onAnswer: () => void): Promise<void> {
    const { part } = this;
    const from = part.start(piece) + part.done(piece);
    const ranged = !this.plain && (part.pieces > 1 || from > 0);
    const headers: Record<string, string> = {};
    if (ranged) headers.range = `bytes=${from}-${part.start(piece) + part.length(piece) - 1}`;
    if (ranged && part.etag !== null) headers["if-range"] = part.etag;
    const watchdog = new Watchdog(this.hub.limits.stallMs, this.failed.signal);
    try {
      const response = await this.hub.get(this.url, headers, watchdog.signal);
      await this.check(response, ranged, from);
      onAnswer();
      for await (const chunk of response.body ?? []) {
        watchdog.touch();
        if (part.done(piece) + chunk.length > part.length(piece)) throw wrongSize(part.file, "more");
        await part.append(piece, chunk);
        this.onBytes(chunk.length);
      }
      if (!part.isDone(piece))
        throw new Interrupted(
          `the connection was cut after ${part.done(piece)} of ${part.length(piece)} bytes`,
        );
    } catch (error) {
      throw error instanceof RangesRefused || isDiskError(error) ? error : watchdog.explain(error);
    } finally {
      watchdog.stop();
    }
  }

  private async check(response: Response, ranged: boolean, from: number): Promise<void> {
    const { headers, status } = response;
    const { part } = this;
    const etag = headers.get("etag");
    const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "");
    const total = status === 206 ? range?.[2] : status === 200 ? headers.get("content-length") : null;
    const isOther =
      ranged && (status !== 206 || Number(range?.[1]) !== from || (part.etag !== null && etag !== part.etag));
    const hasWrongSize = typeof total === "string" && Number(total) !== part.file.bytes;
    if (isOther || hasWrongSize) await response.body?.cancel();
    if (hasWrongSize) throw wrongSize(part.file, total);
    if (isOther) throw new RangesRefused();
    part.setEtag(etag);
  }
}

const wrongSize = ({ path, bytes }: WantedFile, came: string) =>
  new TtsError(
    "HUB_MISMATCH",
    `${path} has ${came} bytes at the hub, not the ${bytes} it should have`,
    "pull again, or check HF_ENDPOINT",
  );

const isDiskError = (error: unknown) =>
  ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EFBIG"].includes((error as NodeJS.ErrnoException).code ?? "");

/**
 * Fetches a file to `path`, going on where an earlier attempt stopped. It appears there only when size and
 * sum are right.
 * @param onBytes bytes that came; negative when they have to come again
 * @returns its SHA-256
 * @throws TtsError HUB_UNREACHABLE, HUB_REFUSED, MODEL_UNKNOWN, HUB_MISMATCH (what came is deleted); the file
 * system's errors
 */
export async function download(
  hub: Hub,
  url: string,
  path: string,
  file: WantedFile,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const partPath = `${path}.part`;
  const part = await Part.open(partPath, file, hub.limits.pieceBytes);
  try {
    await new Download(hub, url, part, onBytes).run().catch((error: unknown) => {
      if (!(error instanceof RangesRefused)) throw error;
      return new Download(hub, url, part, onBytes).runPlain();
    });
  } catch (error) {
    if (error instanceof TtsError && error.code === "HUB_MISMATCH") removePart(path);
    throw error;
  } finally {
    await part.close();
  }
  const { sha256, fault } = await inspect(partPath, file);
  if (fault !== null) {
    removePart(path);
    throw new TtsError("HUB_MISMATCH", `${file.path} came damaged: ${fault}`, "it was deleted; pull again");
  }
  renameIntoPlace(partPath, path);
  rmSync(`${partPath}.state`, { force: true });
  return sha256;
}

function removePart(path: string): void {
  rmSync(`${path}.part`, { force: true });
  rmSync(`${path}.part.state`, { force: true });
}

/** Reads a file and says what is wrong with it; null when it is the wanted one. */
export async function inspect(
  path: string,
  file: WantedFile,
): Promise<{ sha256: string; fault: string | null }> {
  const fault = (what: string) => ({ sha256: "", fault: what });
  if (!existsSync(path)) return fault("it is missing");
  const { size } = statSync(path);
  if (size !== file.bytes) return fault(`it has ${size} bytes, not ${file.bytes}`);
  const [sha256, git] = [newHash(), new Bun.CryptoHasher("sha1").update(`blob ${size}\0`)];
  for await (const block of createReadStream(path, { highWaterMark: HASH_BLOCK_BYTES })) {
    sha256.update(block);
    if (file.gitOid !== null) git.update(block);
  }
  const [sum, oid] = [sha256.digest("hex"), git.digest("hex")];
  const expected = file.sha256 ?? file.sha256Prefix ?? "";
  if (!sum.startsWith(expected) || !sum.startsWith(file.sha256Prefix ?? ""))
    return fault(`its SHA-256 is ${sum}, not ${expected}`);
  if (file.gitOid !== null && oid !== file.gitOid)
    return fault(`its git SHA-1 is ${oid}, not ${file.gitOid}`);
  return { sha256: sum, fault: null };
}
