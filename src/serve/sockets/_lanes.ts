// The lanes of a stage, lent to its clients in the order of their requests. A client that holds one up while
// others wait loses it.

import { TtsError } from "../../errors.ts";
import type { Peer } from "./_peer.ts";

export class Lanes {
  private readonly free: number[];
  private readonly holders = new Map<number, Peer>();
  /** The start of the turn that was too long at the last look, or 0. */
  private lateSinceMs = 0;
  private queue: { peer: Peer; give: (lane: number) => void; drop: (why: TtsError) => void }[] = [];

  constructor(
    count: number,
    private readonly patienceMs: number,
    /** Whether a client that waits can never be served. */
    private readonly isHopeless: (peer: Peer) => boolean,
  ) {
    this.free = Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  get busy(): number {
    return this.holders.size;
  }

  /** A lane, as soon as one is free. @throws TtsError CANCELLED if the client goes before */
  take(peer: Peer): Promise<number> {
    const { promise, reject, resolve } = Promise.withResolvers<number>();
    this.queue.push({ peer, give: resolve, drop: reject });
    this.hand();
    return promise;
  }

  release(lane: number): void {
    this.holders.delete(lane);
    this.free.push(lane);
    this.hand();
  }

  private hand(): void {
    while (this.free.length > 0 && this.queue.length > 0) {
      const { give, peer } = this.queue.shift()!;
      const lane = this.free.pop()!;
      this.holders.set(lane, peer);
      give(lane);
    }
  }

  /**
   * Call it now and then. It drops waiting clients that have gone, and cuts the client that has kept others
   * waiting for too long. It cuts only at the second look: a long call may have held up this process itself,
   * and between two looks the process reads what a quick client has sent.
   */
  look(): void {
    const gone = this.queue.filter(({ peer }) => this.isHopeless(peer));
    this.queue = this.queue.filter((waiting) => !gone.includes(waiting));
    for (const { drop } of gone) drop(new TtsError("CANCELLED", "the client has gone"));
    const slowest = this.queue.length === 0 ? undefined : slowestOf(this.holders.values());
    const isLate = slowest !== undefined && slowest.waitedMs >= this.patienceMs;
    const wasLate = isLate && slowest.turnSinceMs === this.lateSinceMs;
    this.lateSinceMs = isLate ? slowest.turnSinceMs : 0;
    if (!wasLate) return;
    const seconds = Math.round(slowest.waitedMs / 1000);
    slowest.cut(
      new TtsError(
        "REQUEST_INVALID",
        `it has not done its part for ${seconds} s while others waited for its lane`,
      ),
    );
  }
}

/** The client whose turn has lasted longest. */
export function slowestOf(peers: Iterable<Peer>): Peer | undefined {
  return [...peers].toSorted((a, b) => b.waitedMs - a.waitedMs)[0];
}
