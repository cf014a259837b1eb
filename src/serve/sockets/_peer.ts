// One client of a stage: reads and writes bytes in the sizes that the layout asks for, one write at a time,
// and knows since when the client keeps the server waiting. Holds no more than the bytes of one read. Knows
// no layout, and never blocks.

import type { Socket } from "node:net";
import { TtsError } from "../../errors.ts";

/** How long a client may take to read the last words that were sent to it. */
const FAREWELL_MS = 1_000;

/** The connection is over, so no error can be sent to the client. */
export const isGone = (error: unknown) => error instanceof TtsError && error.code === "CANCELLED";

export class Peer {
  /** Read and not yet taken: one piece, or what had been read when the socket was paused. */
  private readonly pending: Uint8Array[] = [];
  /** Bytes of the first piece that are taken. */
  private taken = 0;
  private ended = false;
  private leaving = false;
  private failure: TtsError | null = null;
  private wake = () => {};
  private turnMs = 0;

  constructor(
    private readonly socket: Socket,
    /** Counts from 1; messages name the client by it. */
    readonly number: number,
  ) {
    const gone = () => {
      this.failure ??= new TtsError("CANCELLED", "the client has gone");
      this.wake();
    };
    socket.on("data", (bytes: Uint8Array) => this.arrived(bytes));
    socket.on("end", () => {
      this.ended = true;
      this.wake();
    });
    socket.on("error", gone);
    socket.on("close", gone);
  }

  private arrived(bytes: Uint8Array): void {
    if (this.leaving) return;
    this.pending.push(bytes);
    this.socket.pause();
    this.wake();
  }

  /** Whether it can no longer be written to. */
  get hasGone(): boolean {
    return this.failure !== null;
  }

  /** Whether nothing more will come from it. It may still read. */
  get isSilent(): boolean {
    return this.failure !== null || (this.ended && this.pending.length === 0);
  }

  /**
   * The start of the client's turn; 0 while it is the server's turn. A turn lasts until the whole read or
   * write is done, so a client gains no time by sending a byte now and then.
   */
  get turnSinceMs(): number {
    return this.turnMs;
  }

  get waitedMs(): number {
    return this.turnMs === 0 ? 0 : performance.now() - this.turnMs;
  }

  /**
   * Fills `target`.
   * @param what names what is read, for messages
   * @returns false when the client ended the connection before the first byte
   * @throws TtsError REQUEST_INVALID when it ended later; CANCELLED when it has gone; or the reason it was
   * cut
   */
  async read(target: Uint8Array, what: string): Promise<boolean> {
    let filled = 0;
    const advance = () => {
      while (filled < target.length && this.pending.length > 0) filled += this.take(target, filled);
      return filled === target.length || this.ended;
    };
    await this.until(advance);
    if (filled === target.length) return true;
    if (filled === 0) return false;
    throw new TtsError(
      "REQUEST_INVALID",
      `the connection ended after ${filled} of the ${target.length} bytes of ${what}`,
    );
  }

  private take(target: Uint8Array, at: number): number {
    const piece = this.pending[0];
    const count = Math.min(piece.length - this.taken, target.length - at);
    target.set(piece.subarray(this.taken, this.taken + count), at);
    this.taken += count;
    if (this.taken === piece.length) {
      this.pending.shift();
      this.taken = 0;
      if (this.pending.length === 0) this.socket.resume();
    }
    return count;
  }

  /**
   * Resolves when the system has taken all of it, so nothing piles up for a client that does not read. Then
   * `bytes` may be used again.
   */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.failure !== null) throw this.failure;
    let done = false;
    this.socket.write(bytes, () => {
      done = true;
      this.wake();
    });
    await this.until(() => done);
  }

  /** Waits for the client, if need be: calls `advance` after every change until it returns true. */
  private async until(advance: () => boolean): Promise<void> {
    try {
      for (;;) {
        if (this.failure !== null) throw this.failure;
        if (advance()) return;
        if (this.turnMs === 0) this.turnMs = performance.now();
        const { promise, resolve } = Promise.withResolvers<void>();
        this.wake = resolve;
        await promise;
      }
    } finally {
      this.turnMs = 0;
    }
  }

  /** Reads and writes, also those under way, throw this failure. */
  cut(failure: TtsError): void {
    this.failure ??= failure;
    this.wake();
  }

  /**
   * Ends the connection, after `lastWords` if there are any. Reads and drops what still comes: closing
   * without reading it would lose them.
   */
  leave(lastWords?: Uint8Array): void {
    if (this.leaving) return;
    this.leaving = true;
    this.pending.length = 0;
    if (this.socket.destroyed) return;
    const timer = setTimeout(() => this.socket.destroy(), FAREWELL_MS);
    this.socket.once("close", () => clearTimeout(timer));
    this.socket.resume();
    this.socket.end(lastWords ?? "");
  }
}
