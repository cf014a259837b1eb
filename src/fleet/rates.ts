// How often a sender may speak: some announcements at once, and then so many a minute.

import { FLEET_LIMITS, type FleetLimits } from "../config.ts";

type RateLimits = Pick<FleetLimits, "senderBurst" | "senderPerMinute" | "senders">;

/** One bucket of tokens a sender; it fills with time. */
export class SenderRates {
  private readonly buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(
    private readonly monotonicMs: () => number,
    private readonly limits: RateLimits = FLEET_LIMITS,
  ) {}

  /** Whether a sender may speak now; then it counts. */
  take(sender: string): boolean {
    const { senderBurst, senderPerMinute, senders } = this.limits;
    const now = this.monotonicMs();
    const { atMs, tokens } = this.buckets.get(sender) ?? { atMs: now, tokens: senderBurst };
    const filled = Math.min(senderBurst, tokens + ((now - atMs) / 60_000) * senderPerMinute);
    this.buckets.delete(sender); // the last one in the map is the one that spoke last
    this.buckets.set(sender, { atMs: now, tokens: Math.max(0, filled - 1) });
    if (this.buckets.size > senders) this.buckets.delete(this.buckets.keys().next().value!);
    return filled >= 1;
  }
}
