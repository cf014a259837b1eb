// One board listening to one room: a durable consumer of the hub, which is made again where the hub has lost
// it. What the hub gets while nobody listens comes later, and may then be too late.

import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerMessages,
  DeliverPolicy,
  JetStreamApiCodes,
  type JsMsg,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { FLEET_LIMITS, type FleetLimits } from "../config.ts";
import type { Tell } from "../types.ts";
import { type Hub, unlessThere } from "./hub.ts";
import { SAY_STREAM, saySubject } from "./names.ts";

/**
 * nats-server 2.9 loses a request for messages that comes while an earlier one expires, and gives nothing
 * until heartbeats have been missed: so they expire as good as never, and heartbeats come often.
 */
const LISTENING = {
  max_messages: 8,
  expires: FLEET_LIMITS.pullMs,
  idle_heartbeat: FLEET_LIMITS.pullBeatMs,
  bind: true, // after a loss the client would ask for the consumer first, and wait as long where that fails
} as const;

const SHORT_PAUSE_MS = 100;
/** What the client tells where the consumer, or the whole hub, has gone. */
const LOSSES = ["heartbeats_missed", "no_responders", "consumer_deleted"];

export interface EarOptions {
  board: string;
  room: string;
  /** Gets each message. */
  take(message: JsMsg): void;
  tell: Tell;
  limits: FleetLimits;
}

export class Ear {
  private messages: ConsumerMessages | null = null;
  private closed = false;
  private readonly durable: string;

  constructor(
    private readonly hub: Hub,
    private readonly options: EarOptions,
  ) {
    this.durable = `${options.board}__${options.room}`;
  }

  /**
   * Makes the consumer where there is none. What a killed process of this board has taken and not done comes
   * at once: the hub would wait for its time to pass.
   * @param isNew what was sent before does not concern this board
   * @throws what the hub throws
   */
  async open(isNew: boolean): Promise<void> {
    const { durable, hub } = this;
    const { limits, room } = this.options;
    const { consumers } = hub.manager;
    const look = async () => {
      const { ack_floor, num_ack_pending } = await consumers.info(SAY_STREAM, durable);
      if (!isNew || num_ack_pending === 0) return;
      await consumers.delete(SAY_STREAM, durable);
      await add({ deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: ack_floor.stream_seq + 1 });
    };
    const add = (from: Partial<ConsumerConfig>) =>
      consumers.add(SAY_STREAM, {
        ...from,
        durable_name: durable,
        filter_subject: saySubject(room, "*"),
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(limits.ackMs),
        max_ack_pending: 2 * limits.held, // or one for now would wait behind those for later
        inactive_threshold: nanos(limits.idleConsumerMs),
      });
    await unlessThere(JetStreamApiCodes.ConsumerNotFound, look, () =>
      add({ deliver_policy: isNew ? DeliverPolicy.New : DeliverPolicy.All }),
    );
  }

  /** Hears until it is closed. Never throws. */
  async listen(): Promise<void> {
    while (!this.closed) {
      let pauseMs = SHORT_PAUSE_MS;
      try {
        await this.open(false);
        const consumer = await this.hub.streams.consumers.get(SAY_STREAM, this.durable);
        this.messages = await consumer.consume(LISTENING);
        if (this.closed) await this.messages.close();
        void this.watch(this.messages);
        for await (const message of this.messages) this.options.take(message);
      } catch (error) {
        this.options.tell.debug(`${this.options.room}: ${error instanceof Error ? error.message : error}`);
        await this.hub.prepare().catch(() => {}); // the hub may have lost its disk
        pauseMs = this.options.limits.reconnectMs;
      }
      if (!this.closed) await Bun.sleep(pauseMs);
    }
  }

  /** Ends it where the hub gives nothing any more; then all is looked for again. */
  private async watch(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status()) if (LOSSES.includes(type)) messages.stop();
  }

  /** The hub has come back, and may have lost the consumer: that is looked for again. */
  again(): void {
    this.messages?.stop();
  }

  /** Never throws. */
  async close(): Promise<void> {
    this.closed = true;
    await this.messages?.close().catch(() => {});
  }
}
