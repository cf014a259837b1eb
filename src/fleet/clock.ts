// The hub's clock, by which all boards of a fleet begin together, whatever their own clocks show. The hub
// stamps a message while it is asked for one: its time lies between asking and hearing.

import { monotonicMs } from "../../ffi/libc.ts";
import type { Clock } from "../announce/speaker.ts";
import { FLEET_LIMITS } from "../config.ts";
import type { Hub } from "./hub.ts";
import { CLOCK_STREAM, clockSubject } from "./names.ts";

/** How a machine's own clock stands to the hub's. */
export interface ClockOffset {
  /** Milliseconds that it is ahead of the hub's. */
  offsetMs: number;
  /** By how much that may be wrong: half of what the way there and back took. */
  errorMs: number;
}

/** A clock of a machine drifts by less than a ten-thousandth. */
const DRIFT = 1e-4;

/** Goes on by itself between looks: setting this machine's own clock moves it by nothing. */
export class HubClock implements Clock {
  /** What the hub's clock is ahead of the monotonic one. */
  private aheadMs: number;
  private errorMs = Number.POSITIVE_INFINITY;
  private lookedMs = 0;

  /** @param wallMs this machine's own clock, which counts until the hub's is known */
  constructor(private readonly wallMs: () => number = Date.now) {
    this.aheadMs = wallMs() - monotonicMs();
  }

  /** Looks at the hub's clock. @param name of this connection @throws what the hub throws */
  async look({ manager, streams }: Pick<Hub, "manager" | "streams">, name: string): Promise<void> {
    let best = { aheadMs: 0, errorMs: Number.POSITIVE_INFINITY };
    for (let i = 0; i < FLEET_LIMITS.clockLooks; i++) {
      const askedMs = monotonicMs();
      const { seq } = await streams.publish(clockSubject(name), "");
      const heardMs = monotonicMs();
      const stored = await manager.streams.getMessage(CLOCK_STREAM, { seq });
      const errorMs = (heardMs - askedMs) / 2;
      if (stored === null || errorMs >= best.errorMs) continue;
      best = { aheadMs: stored.time.getTime() - (askedMs + heardMs) / 2, errorMs };
    }
    if (best.errorMs === Number.POSITIVE_INFINITY) throw new Error("its clock cannot be read");
    const grownMs = this.errorMs + DRIFT * (monotonicMs() - this.lookedMs);
    const wasSet = Math.abs(best.aheadMs - this.aheadMs) > grownMs + best.errorMs + 1;
    if (best.errorMs > grownMs && !wasSet) return; // what is known is better
    this.aheadMs = best.aheadMs;
    this.errorMs = best.errorMs;
    this.lookedMs = monotonicMs();
  }

  now(): Date {
    return new Date(this.nowMs());
  }

  /** Milliseconds since 1970. */
  nowMs(): number {
    return monotonicMs() + this.aheadMs;
  }

  monotonicMs(): number {
    return monotonicMs();
  }

  sleep(ms: number): Promise<void> {
    return Bun.sleep(ms);
  }

  get offset(): ClockOffset {
    return { offsetMs: this.wallMs() - this.nowMs(), errorMs: this.errorMs };
  }
}
