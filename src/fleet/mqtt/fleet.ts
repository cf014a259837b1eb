// The fleet as a bridge sees it: who is there, whether the hub is, and what boards tell.

import type { Subscription } from "@nats-io/transport-node";
import { FLEET_LIMITS } from "../../limits.ts";
import type { FleetAnnouncement, FleetReport, Sender } from "../announcing.ts";
import type { HubClock } from "../clock.ts";
import { listBoards } from "../directory.ts";
import type { Hub } from "../hub.ts";
import { type BoardState, type FleetOutcome, readOutcome } from "../messages.ts";
import { outcomeSubject } from "../names.ts";
import type { BridgeFleet } from "./index.ts";

export class FleetOfHub implements BridgeFleet {
  private known: BoardState[] = [];
  private isThere = true;
  private timer: Timer | undefined;
  private outcomes: Subscription | null = null;

  constructor(
    private readonly hub: Hub,
    private readonly clock: HubClock,
    private readonly sender: Sender,
  ) {}

  /** Resolves once it is known who is there. @param onOutcome told what becomes of announcements */
  async watch(onOutcome: (outcome: FleetOutcome) => void): Promise<void> {
    this.outcomes = this.hub.connection.subscribe(outcomeSubject("*"));
    void this.listen(this.outcomes, onOutcome);
    void this.follow();
    await this.look();
    this.timer = setInterval(() => void this.look(), FLEET_LIMITS.beatMs);
  }

  boards(): readonly BoardState[] {
    return this.known;
  }

  isConnected(): boolean {
    return this.isThere;
  }

  nowMs(): number {
    return this.clock.nowMs();
  }

  monotonicMs(): number {
    return this.clock.monotonicMs();
  }

  announce(request: FleetAnnouncement, signal?: AbortSignal): Promise<FleetReport> {
    return this.sender.announce(request, signal);
  }

  close(): void {
    clearInterval(this.timer);
    this.outcomes?.unsubscribe();
  }

  private async look(): Promise<void> {
    try {
      const boards = await listBoards(this.hub, this.clock.nowMs());
      // after a pause of the hub, boards tell of themselves one by one
      if (boards.length > 0 || this.isThere) this.known = boards;
      this.isThere = true;
    } catch {
      this.isThere = false;
    }
  }

  private async follow(): Promise<void> {
    for await (const { type } of this.hub.connection.status())
      if (type === "disconnect") this.isThere = false;
  }

  private async listen(messages: Subscription, onOutcome: (outcome: FleetOutcome) => void): Promise<void> {
    for await (const { data } of messages) {
      try {
        onOutcome(readOutcome(data));
      } catch {
        // no board has written it
      }
    }
  }
}
