// An engine in another process, as the protocols use it.

import {
  type ModelFacts,
  type SpeakOptions,
  type SpeechSettings,
  type Summary,
  TtsError,
  type WordTime,
} from "../../engine.ts";
import { fromWire, toWire } from "../../errors.ts";
import { cancelledWhenLeft } from "../../io/iteration.ts";
import type { EngineSpeech, ServedEngine } from "../service.ts";
import type { EngineReady, FromEngine, News, ToEngine } from "./_wire.ts";

/** What a speech that was left is waited for, so that its figures are complete; it needs a millisecond. */
const LEAVE_MS = 100;

type Encoded = Awaited<ReturnType<ServedEngine["encode"]>>;

/** Where answers go. */
interface Call {
  hear(message: FromEngine): void;
  /** The other process is gone, or the engine was closed. */
  fail(error: TtsError): void;
}

/** The calls under way, and the way to the other process. */
class Link {
  readonly calls = new Map<number, Call>();
  private calledSoFar = 0;

  constructor(
    readonly facts: EngineReady,
    readonly send: (message: ToEngine) => void,
  ) {}

  enter(call: Call): number {
    this.calls.set(++this.calledSoFar, call);
    return this.calledSoFar;
  }
}

export class RemoteEngine implements ServedEngine {
  private readonly link: Link;
  private failure: TtsError | null = null;

  /** @param end ends the other process for good */
  constructor(
    facts: EngineReady,
    send: (message: ToEngine) => void,
    private readonly end: () => void,
  ) {
    this.link = new Link(facts, send);
  }

  get manifest(): ModelFacts {
    return this.link.facts.manifest;
  }

  speak(text: string | AsyncIterable<string>, options: SpeakOptions): EngineSpeech {
    if (this.failure !== null) throw this.failure;
    return new RemoteSpeech(this.link, text, options);
  }

  encode(
    samples: Float32Array,
    tailSilenceSeconds: number,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Encoded> {
    const { promise, resolve, reject } = Promise.withResolvers<Encoded>();
    const { link } = this;
    if (this.failure !== null) reject(this.failure);
    else if (signal?.aborted) reject(signal.reason);
    else {
      const id = link.enter({
        hear: (message) => {
          if ("encoded" in message) resolve(message.encoded);
          else if ("ended" in message && message.ended.error) reject(fromWire(message.ended.error));
          leave();
        },
        fail: reject,
      });
      const abort = () => {
        link.send({ cancel: id });
        reject(signal?.reason);
        leave();
      };
      const leave = () => {
        link.calls.delete(id);
        signal?.removeEventListener("abort", abort);
      };
      signal?.addEventListener("abort", abort, { once: true });
      link.send({ encode: { id, samples, tailSilenceSeconds } });
    }
    return promise;
  }

  /** @param message of a call */
  hear(message: FromEngine): void {
    const [body] = Object.values(message) as [number | { id: number }];
    this.link.calls.get(typeof body === "number" ? body : body.id)?.hear(message);
  }

  /** Ends all that is under way. */
  fail(error: TtsError): void {
    this.failure ??= error;
    for (const call of this.link.calls.values()) call.fail(this.failure);
    this.link.calls.clear();
  }

  async close(): Promise<void> {
    this.fail(new TtsError("CANCELLED", "the engine was closed"));
    this.end();
  }
}

/** The figures of a speech that has not begun. */
const noFigures = ({ backends, manifest }: EngineReady, seed: number): Summary => ({
  ...{ audioSeconds: 0, wallSeconds: 0, rtf: 0, firstAudioMs: 0, firstHeardMs: 0, frames: 0 },
  msPerFrame: { talker: 0, predictor: 0, vocoder: 0 },
  speculation: { callsPerFrame: 0, rightDrafts: [] },
  prompt: { rows: 0, cachedRows: 0, savedMs: 0 },
  repairs: [],
  stop: "eos",
  model: manifest.name,
  backends: { ...backends },
  seed,
});

class RemoteSpeech implements EngineSpeech, Call {
  readonly words: WordTime[] = [];
  readonly unread: string[] = [];
  readonly ignored: string[] = [];
  private id = 0;
  private figures: Summary;
  private known: SpeechSettings | null = null;
  /** At most CHUNKS_AHEAD. */
  private readonly chunks: { samples: Float32Array; news: News }[] = [];
  /** What the other process said last. */
  private ended: { news?: News; error?: TtsError } | null = null;
  private isStarted = false;
  private isCancelled = false;
  /** Nobody listens any more. */
  private isOver = false;
  private wake = () => {};
  private pieces: AsyncIterator<string> | null = null;
  private readonly abort = () => this.cancel();

  constructor(
    private readonly link: Link,
    private readonly text: string | AsyncIterable<string>,
    private readonly options: SpeakOptions,
  ) {
    this.figures = noFigures(link.facts, options.seed ?? 0);
  }

  get settings(): SpeechSettings {
    if (this.known === null) throw new TypeError("the settings are known with the first chunk");
    return this.known;
  }

  summary(): Summary {
    return this.isCancelled ? { ...this.figures, stop: "cancelled" } : this.figures;
  }

  [Symbol.asyncIterator](): AsyncGenerator<{ samples: Float32Array }> {
    if (this.isStarted) throw new TypeError("a speech can be listened to once: speak the text again");
    this.isStarted = true;
    return cancelledWhenLeft(this.sound(), () => this.cancel());
  }

  private async *sound(): AsyncGenerator<{ samples: Float32Array }> {
    if (this.options.signal?.aborted) this.cancel();
    if (this.isCancelled) return;
    this.begin();
    try {
      while (!this.isCancelled) {
        const chunk = this.chunks.shift();
        if (chunk !== undefined) {
          this.follow(chunk.news);
          this.link.send({ more: this.id });
          yield chunk;
        } else if (this.ended === null) await this.event();
        else {
          this.isOver = true;
          if (this.ended.news !== undefined) this.follow(this.ended.news);
          if (this.ended.error !== undefined) throw this.ended.error;
        }
        if (this.isOver) return;
      }
    } finally {
      this.cancel();
      if (this.ended === null) await Promise.race([this.event(), Bun.sleep(LEAVE_MS)]);
      this.isOver = true;
    }
  }

  private begin(): void {
    const { signal, ...options } = this.options;
    signal?.addEventListener("abort", this.abort, { once: true });
    this.id = this.link.enter(this);
    const text = typeof this.text === "string" ? this.text : null;
    this.link.send({ speak: { id: this.id, text, options } });
  }

  private event(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  cancel(): void {
    if (this.isCancelled || this.isOver) return;
    this.isCancelled = true;
    this.chunks.length = 0;
    this.leaveText();
    if (this.id > 0 && this.ended === null) this.link.send({ cancel: this.id });
    this.wake();
  }

  hear(message: FromEngine): void {
    if ("chunk" in message) {
      if (this.isCancelled) return;
      this.chunks.push(message.chunk);
      this.wake();
    } else if ("wants" in message) void this.sendPiece();
    else if ("left" in message) this.leaveText();
    else if ("ended" in message) {
      const { error, news } = message.ended;
      this.end({ news, error: error === undefined ? undefined : fromWire(error) });
    }
  }

  private end(ended: { news?: News; error?: TtsError }): void {
    this.ended = ended;
    if (this.isCancelled && ended.news !== undefined) this.figures = ended.news.summary;
    this.link.calls.delete(this.id);
    this.options.signal?.removeEventListener("abort", this.abort);
    this.leaveText();
    this.wake();
  }

  fail(error: TtsError): void {
    this.end({ error });
  }

  private follow({ ignored = [], settings, summary, unread = [], words }: News): void {
    this.figures = summary;
    if (settings !== undefined) this.known = settings;
    if (words !== undefined) this.words.splice(words.from, this.words.length, ...words.words);
    this.unread.push(...unread);
    this.ignored.push(...ignored);
  }

  private async sendPiece(): Promise<void> {
    const { id, link, text } = this;
    if (this.isCancelled || this.ended !== null) return;
    try {
      this.pieces ??= (text as AsyncIterable<string>)[Symbol.asyncIterator]();
      const { done, value } = await this.pieces.next();
      if (this.isCancelled || this.ended !== null) return;
      if (done === true) link.send({ textEnd: { id } });
      else if (typeof value === "string") link.send({ piece: { id, text: value } });
      else throw new TtsError("USAGE", `a piece of the text is ${typeof value}`, "give strings");
    } catch (error) {
      link.send({ textEnd: { id, error: toWire(error) } });
    }
  }

  /** Tells the writer that nobody reads on. */
  private leaveText(): void {
    void Promise.resolve(this.pieces?.return?.()).catch(() => {});
  }
}
