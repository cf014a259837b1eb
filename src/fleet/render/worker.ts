// A board's side of renders: it takes sentences from the hub while nothing more urgent is to be done, makes
// them, and puts their sound there.

import { setTimeout as sleep } from "node:timers/promises";
import { AckPolicy, type Consumer, JetStreamApiError, type JsMsg } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { asTtsError, type TtsError } from "../../errors.ts";
import { FLEET_LIMITS, RENDER_LIMITS, type RenderLimits } from "../../limits.ts";
import type { Tell } from "../../types.ts";
import type { Hub } from "../hub.ts";
import { WORK_STREAM, workSubject } from "../names.ts";
import { fetchParcel, isLeft, leaveParcel } from "../parcels.ts";
import {
  keyOf,
  type Notice,
  noticeSubject,
  type Place,
  readSection,
  readWork,
  type SectionText,
  textKeyOf,
  writeNotice,
} from "./job.ts";
import { makeSentence, type Renderer } from "./make.ts";
import { writeSentence } from "./sentence-file.ts";

/** What a board gives to renders. */
export interface WorkPlace {
  /** Its name, and the kind of its sound. */
  board: string;
  kind: string;
  /** Sentences that it makes side by side. */
  lanes: number;
  /** Its model, opened again where it has failed. */
  engine(): Promise<Renderer>;
  /** Whether something is to be done that somebody listens to. */
  isUrgent(): boolean;
  /** Told how many sentences are under way, and what of the board's own has failed. */
  count(rendering: number): void;
  fault(error: TtsError): void;
  tell: Tell;
}

/** Sections that are known from their last sentence: those of two books, and the next ones. */
const KNOWN_SECTIONS = 4;

/** Of the board, and not of the sentence: another board may do better. */
const OWN_FAULTS = /^(STAGE_|NPU_|LIBRARY_|MODEL_NOT|BUNDLE_)/;

type Order = Place & { job: string };

export class RenderWorker {
  /** Sentences under way. */
  private rendering = 0;
  private readonly ending = new AbortController();
  private readonly sections = new Map<string, Promise<SectionText | null>>();
  private hands: Promise<void>[] = [];

  constructor(
    private readonly hub: Hub,
    private readonly place: WorkPlace,
    private readonly limits: RenderLimits = RENDER_LIMITS,
  ) {}

  /** One sentence more than lanes: the next one begins at once, while the last one is still being sent. */
  start(): void {
    this.hands = Array.from({ length: this.place.lanes + 1 }, () => this.work());
  }

  /** What is under way goes to other boards at once. */
  async stop(): Promise<void> {
    this.ending.abort();
    await Promise.all(this.hands);
  }

  private get isEnding(): boolean {
    return this.ending.signal.aborted;
  }

  private async work(): Promise<void> {
    let consumer: Consumer | null = null;
    while (!this.isEnding) {
      try {
        if (this.place.isUrgent()) {
          await this.rest(this.limits.restMs);
          continue;
        }
        consumer ??= await this.queue();
        const message = await this.next(consumer);
        if (message !== null) await this.take(message);
      } catch (error) {
        consumer = null; // the hub has gone, or has lost what it kept
        this.place.tell.debug(`no sentences to render: ${asTtsError(error).message}`);
        await this.rest(FLEET_LIMITS.reconnectMs);
      }
    }
  }

  /** All boards of a kind share one queue. */
  private async queue(): Promise<Consumer> {
    const { manager, streams } = this.hub;
    const { kind } = this.place;
    try {
      await manager.consumers.info(WORK_STREAM, kind);
    } catch (error) {
      if (!(error instanceof JetStreamApiError)) throw error;
      await this.hub.prepare();
      await manager.consumers.add(WORK_STREAM, {
        durable_name: kind,
        filter_subject: workSubject(kind, "*"),
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(this.limits.ackMs),
        max_deliver: this.limits.deliveries,
        inactive_threshold: nanos(FLEET_LIMITS.idleConsumerMs),
      });
    }
    return streams.consumers.get(WORK_STREAM, kind);
  }

  private async take(message: JsMsg): Promise<void> {
    let order: Order;
    try {
      order = readWork(message.data);
      if (message.subject !== workSubject(this.place.kind, order.job)) throw new Error("another job's");
    } catch (error) {
      this.place.tell.debug(`thrown away: ${asTtsError(error).message}`);
      return message.term("it cannot be read");
    }
    if (this.isEnding) return message.nak();
    this.place.count(++this.rendering);
    const sign = () => {
      message.working();
      this.notify(order, "begun");
    };
    const signs = setInterval(sign, this.limits.signMs);
    try {
      sign();
      const isMade = await this.make(order);
      this.notify(order, isMade ? "done" : "lost");
      if (isMade) message.ack();
      else message.term("there is no text for it");
    } catch (error) {
      await this.giveBack(message, order, asTtsError(error));
    } finally {
      clearInterval(signs);
      this.place.count(--this.rendering);
    }
  }

  /** @returns false where the hub has no text for it */
  private async make(order: Order): Promise<boolean> {
    const { board, engine } = this.place;
    const key = keyOf(order.job, order);
    if (await isLeft(this.hub, key)) return true; // another board was ended between storing it and saying so
    const section = await this.section(order);
    if (section === null) return false;
    const made = await makeSentence(await engine(), section, order.sentence, this.ending.signal);
    await this.store(key, writeSentence({ key, board, ...made }));
    return true;
  }

  /** A hub that was started again is soon back; what was made is not thrown away for that. */
  private async store(key: string, bytes: Uint8Array): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await leaveParcel(this.hub, key, bytes);
      } catch (error) {
        if (attempt === this.limits.stores || this.isEnding) throw error;
        await this.rest(FLEET_LIMITS.reconnectMs);
      }
    }
  }

  /** The text of a section, fetched once. */
  private async section({ job, section }: Order): Promise<SectionText | null> {
    const key = textKeyOf(job, section);
    let text = this.sections.get(key);
    if (text === undefined) {
      text = fetchParcel(this.hub, key, this.limits.textBytes).then((bytes) => bytes && readSection(bytes));
      this.sections.set(key, text);
      for (const old of [...this.sections.keys()].slice(0, -KNOWN_SECTIONS)) this.sections.delete(old);
      text.catch(() => this.sections.delete(key));
    }
    const known = await text;
    if (known === null) this.sections.delete(key);
    return known;
  }

  /** The sentence goes to another board; one that failed before is made by who renders. */
  private async giveBack(message: JsMsg, order: Order, error: TtsError): Promise<void> {
    const { tell } = this.place;
    if (this.isEnding) return message.nak();
    tell.debug(`sentence ${order.sentence} of ${order.job} failed: ${error.inOneLine}`);
    if (message.info.deliveryCount >= this.limits.failures) {
      this.notify(order, "failed", error.inOneLine);
      message.term(error.code);
    } else message.nak(this.limits.restMs);
    if (!OWN_FAULTS.test(error.code)) return;
    this.place.fault(error);
    await this.rest(this.limits.troubleMs);
  }

  private notify({ job, section, sentence }: Order, state: Notice["state"], reason = ""): void {
    const { board } = this.place;
    const { connection } = this.hub;
    if (connection.isClosed()) return;
    connection.publish(noticeSubject(job), writeNotice({ section, sentence, board, state, reason }));
  }

  private async rest(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.ending.signal }).catch(() => {});
  }

  /** Waits for a sentence; null where none comes for a while, or the board leaves. */
  private async next(consumer: Consumer): Promise<JsMsg | null> {
    const messages = await consumer.fetch({ max_messages: 1, expires: this.limits.pullMs });
    const stop = () => messages.stop();
    const { signal } = this.ending;
    signal.addEventListener("abort", stop);
    if (this.isEnding) stop();
    try {
      for await (const message of messages) return message;
      return null;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }
}
