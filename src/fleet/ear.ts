// One board listening to one room: a durable consumer of the hub, which is made again where the hub has lost
// it. What the hub gives while nobody listens comes later, and may then be too late.

import { AckPolicy, type ConsumerMessages, DeliverPolicy } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { FLEET_LIMITS } from "../config.ts";
import type { Tell } from "../types.ts";
import type { Hub } from "./hub.ts";
import { SAY_STREAM, saySubject } from "./names.ts";
import type { Spokesman } from "./spokesman.ts";

export class Ear {
  private messages: ConsumerMessages | null = null;
  private closed = false;
  private readonly durable: string;

  constructor(
    private readonly hub: Hub,
    board: string,
    private readonly room: string,
    private readonly spokesman: Spokesman,
    private readonly tell: Tell,
  ) {
    this.durable = `${board}__${room}`; // neither name ends so: the pair is one name
  }

  /** Makes the consumer where there is none. @throws what the hub throws */
  async open(): Promise<void> {
    const { durable, hub, room } = this;
    const { consumers } = hub.manager;
    const there = await consumers.info(SAY_STREAM, durable).catch(() => null);
    if (there !== null) return;
    await consumers.add(SAY_STREAM, {
      durable_name: durable,
      filter_subject: saySubject(room, "*"),
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.New,
      ack_wait: nanos(FLEET_LIMITS.ackMs),
      max_ack_pending: FLEET_LIMITS.held,
      inactive_threshold: nanos(FLEET_LIMITS.idleConsumerMs),
    });
  }

  /** Hears until it is closed. Never throws. */
  async listen(): Promise<void> {
    while (!this.closed) {
      try {
        await this.open();
        const consumer = await this.hub.streams.consumers.get(SAY_STREAM, this.durable);
        this.messages = await consumer.consume({ max_messages: 8, abort_on_missing_resource: true });
        if (this.closed) await this.messages.close();
        for await (const message of this.messages) void this.spokesman.take(message);
      } catch (error) {
        this.tell.debug(`${this.room}: ${error instanceof Error ? error.message : error}`);
      }
      if (this.closed) return;
      await Bun.sleep(FLEET_LIMITS.reconnectMs);
      await this.hub.prepare().catch(() => {}); // the hub may have lost its disk
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.messages?.close();
  }
}
