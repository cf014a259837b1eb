// How often a sender may speak: some announcements at once, and then so many a minute.

import { FLEET_LIMITS, type FleetLimits } from "../config.ts";

type RateLimits = Pick<FleetLimits, "senderBurst" | "senderPerMinute" | "senders">;

/** One bucket of tokens a sender; it fills with time. */
export class SenderRates {
  private readonly buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(private readonly limits: RateLimits = FLEET_LIMITS) {}

  /**
   * Whether a sender might speak; then it counts.
   * @param sentMs when it did, by the hub's clock: what waited there for this board came at its own time
   */
  take(sender: string, sentMs: number): boolean {
    const { senderBurst, senderPerMinute, senders } = this.limits;
    const { atMs, tokens } = this.buckets.get(sender) ?? { atMs: sentMs, tokens: senderBurst };
    const passedMs = Math.max(0, sentMs - atMs); // other rooms may come a little later
    const filled = Math.min(senderBurst, tokens + (passedMs / 60_000) * senderPerMinute);
    this.buckets.delete(sender); // the last one in the map is the one that spoke last
    this.buckets.set(sender, { atMs: atMs + passedMs, tokens: filled >= 1 ? filled - 1 : filled });
    if (this.buckets.size > senders) this.buckets.delete(this.buckets.keys().next().value!);
    return filled >= 1;
  }
}
