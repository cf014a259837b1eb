// The machine that renders, as boards see it: it puts sentences into the hub's queue, a few at a time, hears
// what became of them and fetches their sound. Nothing that the hub does ends a render.

import type { Subscription } from "@nats-io/transport-node";
import { asTtsError } from "../../errors.ts";
import { FLEET_LIMITS, type RenderLimits } from "../../limits.ts";
import type { Tell } from "../../types.ts";
import { hasGone } from "../directory.ts";
import { asHubError, type Hub } from "../hub.ts";
import { inTime } from "../in-time.ts";
import { WORK_STREAM, workSubject } from "../names.ts";
import { dropParcel, fetchParcel, isLeft, leaveParcel } from "../parcels.ts";
import {
  type Job,
  keyOf,
  type Notice,
  noticeSubject,
  readNotice,
  sectionText,
  textKeyOf,
  writeSection,
  writeWork,
} from "./job.ts";
import type { Item } from "./progress.ts";
import { readSentence, type SentenceSound } from "./sentence-file.ts";

/** What they are asked for and told of. */
export interface Book {
  readonly job: Job;
  /** Of the sections that are known so far and not complete, in order. */
  readonly items: readonly Item[];
  take(item: Item, sound: SentenceSound): void;
  /** Something has changed. */
  news(): void;
  now(): number;
  tell: Tell;
  readonly limits: RenderLimits;
}

export class Boards {
  /** When a board last gave a sign, or was asked for nothing. */
  heardMs: number;
  /** All that have begun a sentence. */
  readonly names = new Set<string>();
  /** The hub does not let us hear what boards tell. */
  isBarred = false;
  private notices: Subscription | null = null;
  /** Sections whose text is at the hub. */
  private readonly stored = new Set<number>();
  /** The hub takes what another run has published for something else. */
  private readonly run = crypto.randomUUID();
  private readonly fetching = new Set<Item>();
  private fetches: Promise<void> = Promise.resolve();
  private drops: Promise<void> = Promise.resolve();
  private lookedMs = 0;
  private isFilling = false;
  private trouble = "";
  /** Nothing is asked of a hub that is away: each request would wait for its time-out. */
  private isAway = false;

  constructor(
    private readonly hub: Hub,
    private readonly book: Book,
  ) {
    this.heardMs = book.now();
  }

  /** What an earlier run has left in the queue would be made twice. */
  async open(): Promise<void> {
    this.notices = this.hub.connection.subscribe(noticeSubject(this.book.job.id));
    this.listen(this.notices).catch((error) => {
      const fault = asHubError(this.hub.url, error);
      this.book.tell.warn(fault.inOneLineWith(fault.markedHint));
      this.isBarred = true;
      this.book.news();
    });
    void this.follow();
    await this.emptyQueue();
  }

  private async follow(): Promise<void> {
    for await (const { type } of this.hub.connection.status()) {
      if (type === "disconnect" || type === "reconnect") this.isAway = type === "disconnect";
      this.book.news();
    }
  }

  /** Nobody makes more of this book. */
  async close(): Promise<void> {
    this.notices?.unsubscribe();
    if (this.isAway) return;
    await this.emptyQueue();
    for (const section of this.stored) this.dropText(section);
    await Promise.race([this.drops, Bun.sleep(FLEET_LIMITS.requestMs)]);
  }

  dropText(section: number): void {
    if (this.stored.delete(section)) this.drop(textKeyOf(this.book.job.id, section));
  }

  private drop(name: string): void {
    this.drops = this.drops.then(() => dropParcel(this.hub, name));
  }

  private get queue(): string {
    const { id, kind } = this.book.job;
    return workSubject(kind, id);
  }

  private async emptyQueue(): Promise<void> {
    await this.quietly("cannot empty the queue", () =>
      this.hub.manager.streams.purge(WORK_STREAM, { filter: this.queue }),
    );
  }

  /** Keeps enough sentences at the hub, so that no board waits, and looks for lost ones. */
  async tend(): Promise<void> {
    if (this.isFilling || this.isAway) return;
    this.isFilling = true;
    try {
      await this.fill();
      const { lookMs } = this.book.limits;
      if (this.book.now() - this.lookedMs > lookMs) await this.look();
    } finally {
      this.isFilling = false;
    }
  }

  private async fill(): Promise<void> {
    const { items } = this.book;
    const count = (state: Item["state"]) =>
      items.reduce((sum, item) => sum + Number(item.state === state), 0);
    let room = this.book.limits.ahead + this.book.limits.aheadOfEach * count("begun") - count("queued");
    for (const item of items) {
      if (room <= 0) return;
      if (item.state !== "waiting") continue;
      if (!(await this.publish(item))) return;
      room--;
    }
  }

  /** @returns false where the hub does not take it now, because it is full or away */
  private async publish(item: Item): Promise<boolean> {
    const { hub } = this;
    const { job, now } = this.book;
    return this.quietly("cannot give sentences to boards", async () => {
      if (!this.stored.has(item.section)) {
        await leaveParcel(hub, textKeyOf(job.id, item.section), writeSection(sectionText(job, item.section)));
        this.stored.add(item.section);
      }
      const msgID = `${this.run}-${item.key}-${++item.sent}`;
      const { seq } = await inTime(hub.streams.publish(this.queue, writeWork(job.id, item), { msgID }));
      item.seq = seq;
      if (item.state === "waiting") Object.assign(item, { state: "queued", sinceMs: now() });
      else if (item.state !== "begun") this.claim(item); // it was made here meanwhile
    });
  }

  /** Takes a sentence out of the queue, to be made here. */
  claim({ seq }: Item): void {
    if (seq === 0) return;
    // a failure means that a board has just taken it, or that the hub is away
    this.hub.manager.streams.deleteMessage(WORK_STREAM, seq, false).catch(() => {});
  }

  private async listen(notices: Subscription): Promise<void> {
    for await (const { data } of notices) {
      try {
        this.hear(readNotice(data));
      } catch (error) {
        this.book.tell.debug(`not heard: ${asTtsError(error).message}`);
      }
    }
  }

  private hear({ board, reason, section, sentence, state }: Notice): void {
    const { book } = this;
    this.heardMs = book.now();
    this.names.add(board);
    const item = book.items.find((one) => one.section === section && one.sentence === sentence);
    if (item === undefined || item.state === "done") {
      if (state === "done") this.drop(keyOf(book.job.id, { section, sentence }));
      return;
    }
    if (state === "done") this.fetch(item);
    else if (state === "failed") {
      book.tell.debug(`${board} cannot make sentence ${sentence}: ${reason}`);
      if (item.state !== "here") item.state = "refused";
    } else if (state === "lost") this.forget(item);
    else if (item.state !== "here") Object.assign(item, { state: "begun", board, sinceMs: book.now() });
    book.news();
  }

  /** One after the other: sound is large. */
  private fetch(item: Item): void {
    if (this.fetching.has(item)) return;
    this.fetching.add(item);
    this.fetches = this.fetches.then(async () => {
      await this.quietly("cannot fetch a sentence", () => this.fetchNow(item));
      this.fetching.delete(item);
      this.book.news();
    });
  }

  private async fetchNow(item: Item): Promise<void> {
    const { hub } = this;
    const bytes =
      item.state === "done" ? null : await fetchParcel(hub, item.key, this.book.limits.soundBytes);
    if (bytes !== null && (item.state as Item["state"]) !== "done") {
      const sound = readSentence(bytes, item.key);
      this.heardMs = this.book.now();
      if (sound !== null && this.isWhole(sound)) this.book.take(item, sound);
      else if (item.state !== "here") item.state = "refused";
    }
    this.drop(item.key);
  }

  /** One that ended before the limit of frames may have had less room on its board than here. */
  private isWhole({ frames, stop }: SentenceSound): boolean {
    return stop === "eos" || frames >= (this.book.job.options.maxFrames ?? Number.POSITIVE_INFINITY);
  }

  /**
   * Sentences that nothing was heard of for a while: done without a notice, begun by a board that has gone,
   * or lost with the hub's disk.
   */
  private async look(): Promise<void> {
    const { items, now } = this.book;
    const { lookMs, looks, lostMs, staleMs } = this.book.limits;
    this.lookedMs = now();
    const silent = items
      .filter(({ sinceMs, state }) => (state === "queued" || state === "begun") && now() - sinceMs > lookMs)
      .slice(0, looks);
    await this.quietly("cannot look for sentences", async () => {
      const gone = await this.goneAmong(silent);
      for (const item of silent) {
        const silentMs = now() - item.sinceMs;
        if (await isLeft(this.hub, item.key)) this.fetch(item);
        else if (item.state === "begun" && gone.has(item.board)) this.askAgain(item);
        // boards were killed by it so often that the hub gives it no more
        else if (item.state === "begun" && silentMs > lostMs) item.state = "refused";
        else if (silentMs > staleMs && !(await this.isQueued(item))) this.forget(item);
      }
    });
  }

  private async goneAmong(silent: readonly Item[]): Promise<Set<string>> {
    const names = new Set(silent.flatMap(({ board, state }) => (state === "begun" ? board : [])));
    const gone = await Promise.all([...names].map((name) => hasGone(this.hub, name)));
    return new Set([...names].filter((_, i) => gone[i]));
  }

  /** The hub would wait for the board's time to pass. What has cost several boards is made here. */
  private askAgain(item: Item): void {
    this.claim(item);
    item.state = item.sent < this.book.limits.failures ? "waiting" : "refused";
  }

  /** The hub has lost it, and the text with it. */
  private forget(item: Item): void {
    this.stored.delete(item.section);
    if (item.state === "queued" || item.state === "begun") item.state = "waiting";
  }

  private async isQueued({ seq }: Item): Promise<boolean> {
    return (await inTime(this.hub.manager.streams.getMessage(WORK_STREAM, { seq }))) !== null;
  }

  /** @returns whether it worked; what keeps failing is told once */
  private async quietly(what: string, work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      this.trouble = "";
      return true;
    } catch (error) {
      const line = `${what}: ${error instanceof Error ? error.message : String(error)}`;
      if (line !== this.trouble) this.book.tell.debug(line);
      this.trouble = line;
      if (/stream not found|not found/i.test(line)) {
        this.stored.clear();
        await this.hub.prepare().catch(() => {});
      }
      return false;
    }
  }
}
