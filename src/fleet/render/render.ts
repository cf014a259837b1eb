// A book as sound, in order, made by whichever boards are idle. Without a hub, without a board, or when all
// boards have gone, this machine makes it, sentence by sentence by the same code. What is finished waits on
// the shelf for its turn, and for a run that goes on where this one was ended.

import { monotonicMs } from "../../../ffi/libc.ts";
import { asTtsError } from "../../errors.ts";
import { RENDER_LIMITS, type RenderLimits } from "../../limits.ts";
import { SAMPLE_RATE_HZ, type Tell } from "../../types.ts";
import type { Hub } from "../hub.ts";
import { Boards, type Book } from "./boards.ts";
import { type Job, sectionText } from "./job.ts";
import { makeSentence, type Renderer } from "./make.ts";
import { Course, type Item, itemsOf } from "./progress.ts";
import type { SentenceSound } from "./sentence-file.ts";
import type { Shelf } from "./shelf.ts";

export interface RenderRequest {
  job: Job;
  /** The sentences of a section as an engine splits it; none where nothing of it can be spoken. */
  read(section: number): readonly string[];
  shelf: Shelf;
  /** This machine's. */
  engine: Renderer;
  lanes: number;
  /** null: there is no fleet. */
  hub: Hub | null;
  /** Boards that speak, but are of another kind. */
  strangers(): Promise<readonly string[]>;
  /** Aborting it ends the sound with its reason. */
  signal: AbortSignal;
  tell: Tell;
  limits?: RenderLimits;
}

/** What became of a book. */
export interface Rendered {
  sentences: number;
  frames: number;
  /** Sentences that were cut and said again, and that reached the limit of frames. */
  repairs: number;
  cut: number;
  /** How many were found on the shelf, and were made now: by board, "" for this machine. */
  found: number;
  made: Map<string, number>;
}

export class Render implements Book {
  readonly job: Job;
  readonly tell: Tell;
  readonly limits: RenderLimits;
  items: Item[] = [];
  readonly outcome: Rendered = { sentences: 0, frames: 0, repairs: 0, cut: 0, found: 0, made: new Map() };
  readonly course: Course;
  private readonly boards: Boards | null;
  /** Keys that the shelf had at the start. */
  private readonly found: Set<string>;
  /** Finished sentences that the disk had no room for. */
  private readonly held = new Map<string, SentenceSound>();
  private readonly ending = new AbortController();
  private sectionsRead = 0;
  /** Why this machine speaks as well, or "" while boards do. */
  private helping = "";
  private failure: unknown = null;
  private bell = Promise.withResolvers<void>();

  constructor(private readonly request: RenderRequest) {
    const { hub, job, shelf, tell } = request;
    this.job = job;
    this.tell = tell;
    this.limits = request.limits ?? RENDER_LIMITS;
    this.boards = hub === null ? null : new Boards(hub, this);
    this.found = shelf.keys();
    const bytes = job.sections.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
    this.course = new Course(bytes, monotonicMs);
  }

  /** How many sentences are finished now. */
  get finished(): number {
    const made = this.outcome.made.values().reduce((sum, count) => sum + count, 0);
    return this.found.size + made;
  }

  /** How many sentences were finished before. */
  get foundBefore(): number {
    return this.found.size;
  }

  now(): number {
    return monotonicMs();
  }

  news(): void {
    this.bell.resolve();
    this.bell = Promise.withResolvers();
  }

  /** The sound of the whole book in order, sentence by sentence. Leaving it ends the render. */
  async *sound(): AsyncGenerator<Float32Array> {
    await this.boards?.open();
    if (this.boards === null) this.helping = "there is no fleet";
    const hands = Array.from({ length: this.request.lanes + 1 }, () => this.make());
    const tending = this.tend().catch((error) => {
      this.failure ??= error;
    });
    const stop = () => this.news();
    this.request.signal.addEventListener("abort", stop);
    try {
      for (let section = 0; section < this.job.sections.length; section++) {
        while (this.sectionsRead <= section) this.readOn();
        const items = this.items.filter((item) => item.section === section);
        if (items.length > 0) yield this.gapBefore(section);
        for (const item of items) yield await this.soundOf(item);
        this.items = this.items.filter((item) => item.section !== section);
        this.boards?.dropText(section);
      }
    } finally {
      this.request.signal.removeEventListener("abort", stop);
      this.ending.abort();
      this.news();
      await Promise.all([...hands, tending, this.boards?.close()]);
    }
  }

  /** Keeps boards busy, and the next section read before they have nothing left. */
  private async tend(): Promise<void> {
    while (!this.ending.signal.aborted) {
      const waiting = this.items.reduce((sum, { state }) => sum + Number(state === "waiting"), 0);
      if (waiting < this.limits.ahead && this.sectionsRead < this.job.sections.length) this.readOn();
      this.judge();
      if (this.held.size < this.limits.heldInMemory) await this.boards?.tend();
      await this.waitForNews();
    }
  }

  private readOn(): void {
    const section = this.sectionsRead++;
    const items = itemsOf(this.job, section, this.request.read(section), this.found);
    for (const { state, weight } of items) if (state === "done") this.course.take(weight, false);
    this.items.push(...items);
    this.outcome.sentences += items.length;
    this.news();
  }

  /** Whether this machine must speak as well. */
  private judge(): void {
    if (this.boards === null || this.helping !== "") return;
    const { boardMs } = this.limits;
    const isAsked = this.items.some(({ state }) => ["waiting", "queued", "begun"].includes(state));
    if (!isAsked) this.boards.heardMs = this.now();
    if (this.now() - this.boards.heardMs < boardMs && !this.boards.isBarred) return;
    const seconds = Math.round(boardMs / 1000);
    const was = this.boards.names.size === 0 ? "no board took a sentence" : "no board gave a sign";
    this.helping = this.boards.isBarred ? "boards cannot be heard" : `${was} in ${seconds} s`;
    this.tell.info(`${this.helping}: this machine speaks`);
    if (this.boards.names.size === 0)
      this.request.strangers().then(
        (names) => this.nameStrangers(names),
        () => {},
      );
    this.news();
  }

  private nameStrangers(names: readonly string[]): void {
    if (names.length === 0) return;
    const why = "of another kind, by program, model, pronunciations or processor";
    this.tell.info(`not asked: ${names.join(", ")} (${why})`);
  }

  /** Makes sentences here, one after the other. */
  private async make(): Promise<void> {
    const { signal } = this.ending;
    while (!signal.aborted && this.failure === null) {
      const item = this.next();
      if (item === undefined) {
        await this.waitForNews();
        continue;
      }
      this.boards?.claim(item);
      item.state = "here";
      try {
        this.course.begin();
        const text = sectionText(this.job, item.section);
        const made = await makeSentence(this.request.engine, text, item.sentence, signal);
        this.take(item, { ...made, key: item.key, board: "" });
      } catch (error) {
        if (!signal.aborted) this.failure = error;
        this.news();
      }
    }
  }

  /** The first sentence that this machine may make. */
  private next(): Item | undefined {
    const isFull = this.held.size >= this.limits.heldInMemory;
    const mayMake = ({ sinceMs, state }: Item) =>
      state === "refused" ||
      ((this.helping !== "" || isFull) &&
        (state === "waiting" ||
          state === "queued" ||
          (state === "begun" && this.now() - sinceMs > this.limits.staleMs)));
    if (!isFull) return this.items.find(mayMake);
    const head = this.items.find(({ state }) => state !== "done"); // the others wait for it
    return head !== undefined && mayMake(head) ? head : undefined;
  }

  take(item: Item, sound: SentenceSound): void {
    if (item.state === "done") return;
    const { made } = this.outcome;
    made.set(sound.board, (made.get(sound.board) ?? 0) + 1);
    if (!this.request.shelf.put(sound)) this.held.set(item.key, sound);
    item.state = "done";
    this.course.begin();
    this.course.take(item.weight, true);
    this.news();
  }

  /** A paragraph ends between sections, or else a sentence does. */
  private gapBefore(section: number): Float32Array {
    const before = this.job.sections[section - 1];
    const { paragraphMs = 0, sentenceMs = 0 } = this.job.options.pauses ?? {};
    const ms = before === undefined ? 0 : before.endsParagraph ? paragraphMs : sentenceMs;
    return new Float32Array(Math.round((ms * SAMPLE_RATE_HZ) / 1000));
  }

  private async soundOf(item: Item): Promise<Float32Array> {
    for (;;) {
      if (item.state === "done") {
        const sound = this.held.get(item.key) ?? this.request.shelf.get(item.key);
        if (sound !== null) return this.account(item, sound);
        this.course.take(-item.weight, false); // it was damaged, or somebody has removed it
        item.state = "waiting";
        this.found.delete(item.key);
        this.news();
      }
      if (this.failure !== null) throw asTtsError(this.failure);
      this.request.signal.throwIfAborted();
      await this.waitForNews();
    }
  }

  private account(item: Item, { frames, repairs, samples, stop }: SentenceSound): Float32Array {
    const { outcome } = this;
    this.held.delete(item.key);
    outcome.frames += frames;
    outcome.repairs += repairs;
    if (stop === "length") outcome.cut++;
    if (this.found.has(item.key)) outcome.found++;
    return samples;
  }

  /** Until something has changed, or for a moment. */
  private async waitForNews(): Promise<void> {
    const timer = Promise.withResolvers<void>();
    const id = setTimeout(timer.resolve, this.limits.pollMs);
    await Promise.race([this.bell.promise, timer.promise]);
    clearTimeout(id);
  }
}
