// The process that holds the engine: opens it, and speaks and encodes as the server says over its channel.

import { endWithParent } from "../../../ffi/libc.ts";
import { type Engine, open, type Speech, type WordTime } from "../../engine.ts";
import { fromWire, toWire } from "../../errors.ts";
import { beKept, type KeptHost } from "../keeper.ts";
import { CHUNKS_AHEAD, type EngineStart, type FromEngine, type News, type ToEngine } from "./_wire.ts";

type Send = (message: FromEngine) => void;

/** Runs the engine until the server is gone. */
export const runEngineProcess = () =>
  beKept<EngineStart>((start, send, fail) => new EngineProcess(start, send, fail));

class EngineProcess implements KeptHost {
  private engine: Engine | null = null;
  private readonly speeches = new Map<number, Outgoing>();
  private readonly recordings = new Map<number, AbortController>();

  constructor(
    private readonly start: EngineStart,
    private readonly send: Send,
    private readonly fail: (error: unknown) => void,
  ) {}

  /** @throws TtsError as the door's open does */
  async open(): Promise<void> {
    const { beatMs, options } = this.start;
    setInterval(() => this.look(), beatMs);
    const engine = await open({ ...options, onProgress: (progress) => this.send({ progress }) });
    endWithParent(); // not before: a half-made bundle is removed at an exit
    this.engine = engine;
    process.on("message", (message) => this.hear(engine, message as ToEngine));
    const { backends, manifest, warnings } = engine;
    this.send({ ready: { manifest, backends: { ...backends }, warnings } });
  }

  private look(): void {
    this.send({ beat: true });
    this.judge();
  }

  /** An engine that has failed never speaks again, and may hang in a native call. */
  private judge(): void {
    const failure = this.engine?.failure ?? null;
    if (failure !== null) this.fail(failure);
  }

  private hear(engine: Engine, message: ToEngine): void {
    if ("speak" in message) void this.speak(engine, message.speak);
    else if ("encode" in message) void this.encode(engine, message.encode);
    else if ("more" in message) this.speeches.get(message.more)?.more();
    else if ("piece" in message) this.speeches.get(message.piece.id)?.text.take(message.piece.text);
    else if ("textEnd" in message) this.speeches.get(message.textEnd.id)?.text.end(message.textEnd.error);
    else {
      this.speeches.get(message.cancel)?.cancel();
      this.recordings.get(message.cancel)?.abort();
    }
  }

  private async speak(engine: Engine, { id, options, text }: SpeakMessage): Promise<void> {
    const outgoing = new Outgoing(id, this.send);
    this.speeches.set(id, outgoing);
    try {
      const news = await outgoing.pour(engine.speak(text ?? outgoing.text, options));
      this.send({ ended: { id, news } });
    } catch (error) {
      this.send({ ended: { id, news: outgoing.news(), error: toWire(error) } });
      this.judge();
    } finally {
      this.speeches.delete(id);
    }
  }

  private async encode(engine: Engine, { id, samples, tailSilenceSeconds }: EncodeMessage): Promise<void> {
    const abort = new AbortController();
    this.recordings.set(id, abort);
    try {
      const encoded = await engine.encode(samples, tailSilenceSeconds, { signal: abort.signal });
      this.send({ encoded: { id, ...encoded } });
    } catch (error) {
      this.send({ ended: { id, error: toWire(error) } });
    } finally {
      this.recordings.delete(id);
    }
  }

  /** Ends the process at once: a native call may hang, and a library may do what it likes at an exit. */
  close(): void {
    if (this.engine !== null) process.kill(process.pid, "SIGKILL");
  }
}

type SpeakMessage = Extract<ToEngine, { speak: unknown }>["speak"];
type EncodeMessage = Extract<ToEngine, { encode: unknown }>["encode"];

/** A speech on its way to the server. */
class Outgoing {
  readonly text: PiecesOnTheWire;
  private speech: Speech | null = null;
  /** Chunks that may be sent. */
  private credit = CHUNKS_AHEAD;
  private wake = () => {};
  private isCancelled = false;
  private hasSettings = false;
  /** As they were sent. */
  private readonly words: WordTime[] = [];
  private readonly listed = { unread: 0, ignored: 0 };

  constructor(
    private readonly id: number,
    private readonly send: Send,
  ) {
    this.text = new PiecesOnTheWire(id, send);
  }

  /** @returns the last news */
  async pour(speech: Speech): Promise<News | undefined> {
    this.speech = speech;
    if (this.isCancelled) speech.cancel();
    for await (const { samples } of speech) {
      while (this.credit === 0 && !this.isCancelled)
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      if (this.isCancelled) continue;
      this.credit--;
      this.send({ chunk: { id: this.id, samples, news: this.news()! } });
    }
    return this.news();
  }

  more(): void {
    this.credit++;
    this.wake();
  }

  cancel(): void {
    this.isCancelled = true;
    this.speech?.cancel();
    this.text.end();
    this.wake();
  }

  /** What has changed since the last time; nothing where no speech has begun. */
  news(): News | undefined {
    const { speech } = this;
    if (speech === null) return undefined;
    const news: News = { summary: speech.summary() };
    if (!this.hasSettings) news.settings = speech.settings;
    this.hasSettings = true;
    const from = this.firstChanged(speech.words);
    if (from < speech.words.length) {
      const words = speech.words.slice(from).map((word) => ({ ...word }));
      this.words.splice(from, this.words.length - from, ...words);
      news.words = { from, words };
    }
    for (const list of ["unread", "ignored"] as const) {
      if (speech[list].length > this.listed[list]) news[list] = speech[list].slice(this.listed[list]);
      this.listed[list] = speech[list].length;
    }
    return news;
  }

  /** The times of words may still move while their sentence is said. */
  private firstChanged(words: readonly WordTime[]): number {
    let first = this.words.length;
    for (let i = first - 1; i >= 0 && this.words[i].sentence === this.words.at(-1)!.sentence; i--)
      if (words[i].start !== this.words[i].start || words[i].end !== this.words[i].end) first = i;
    return first;
  }
}

/** A text that comes in pieces, each when the engine asks for it. */
class PiecesOnTheWire implements AsyncIterableIterator<string> {
  private answer: PromiseWithResolvers<IteratorResult<string>> | null = null;
  private ended = false;

  constructor(
    private readonly id: number,
    private readonly send: Send,
  ) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<string>> {
    if (this.ended) return Promise.resolve({ done: true, value: undefined });
    this.answer = Promise.withResolvers();
    this.send({ wants: this.id });
    return this.answer.promise;
  }

  return(): Promise<IteratorResult<string>> {
    if (!this.ended) this.send({ left: this.id });
    this.end();
    return this.next();
  }

  take(value: string): void {
    this.answer?.resolve({ value });
  }

  end(error?: Parameters<typeof fromWire>[0]): void {
    this.ended = true;
    if (error === undefined) this.answer?.resolve({ done: true, value: undefined });
    else this.answer?.reject(fromWire(error));
  }
}
