// What all protocols of the server stand on: one engine, a bounded number of speeches that clients share
// fairly, the voices, and counts. Knows no protocol.

import type { Engine, Filter, SpeakOptions, Speech, SpeechSettings, Summary, WordTime } from "../engine.ts";
import { speedFilter } from "../engine.ts";
import { asTtsError, TtsError } from "../errors.ts";
import { resumed } from "../io/iteration.ts";
import { LIMITS, SERVE_LIMITS } from "../limits.ts";
import { Counts } from "./counts.ts";
import { Turns } from "./turns.ts";
import { ServedVoices } from "./voices.ts";

/** What the service needs of a speech; that of the door fits, and so does one in another process. */
export interface EngineSpeech
  extends AsyncIterable<{ samples: Float32Array }>,
    Pick<Speech, "cancel" | "summary" | "words" | "unread" | "ignored"> {
  /** Known at the latest with the first chunk. */
  readonly settings: SpeechSettings;
}

/** What the service needs of an engine. Options that cannot be used may also fail in the iteration. */
export interface ServedEngine extends Pick<Engine, "manifest" | "encode" | "close"> {
  speak(text: string | AsyncIterable<string>, options: SpeakOptions): EngineSpeech;
}

/** Where the engine comes from, and who opens another one when it fails. */
export interface EngineSource {
  /** The engine that is open; null while one is opened. */
  readonly engine: ServedEngine | null;
  /** Ends it for good. */
  close(): Promise<void>;
}

/** Why a speech was not taken on. */
export type RefusalReason = "opening" | "busy" | "share" | "ending";

/** The server is well, but cannot take this on now. */
export class Refusal extends Error {
  constructor(
    readonly reason: RefusalReason,
    message: string,
    readonly retryAfterSeconds: number,
  ) {
    super(message);
  }
}

export interface SpeechRequest {
  /** A whole text, or one that comes in pieces. */
  text: string | AsyncIterable<string>;
  /** Who asks, such as an address: clients share the places fairly. */
  client: string;
  /** Name of a speaker or of a cloned voice. Default: the model's first speaker, else the first voice. */
  voice?: string;
  /** 0.7 to 1.4. Default: 1, the voice's own, which leaves the sound as it is. */
  speed?: number;
  /** Aborting it ends the speech within a frame, also while it waits. */
  signal?: AbortSignal;
  options?: Pick<SpeakOptions, "language" | "instruct" | "seed" | "sampling" | "greedy" | "maxFrames">;
}

/** A speech that has begun to sound. It holds its place until it has ended or was cancelled. */
export interface ServedSpeech extends AsyncIterable<Float32Array> {
  readonly settings: SpeechSettings;
  /** Words that have begun in the sound that was given out, with its times. */
  readonly words: readonly WordTime[];
  readonly unread: readonly string[];
  readonly ignored: readonly string[];
  cancel(): void;
  /** Complete once the iteration has ended. */
  summary(): Summary;
}

export class Service {
  readonly counts = new Counts();
  readonly voices: ServedVoices;
  private readonly under = new Set<Place>();
  private readonly turns = new Turns();
  private ending = false;

  constructor(
    private readonly source: EngineSource,
    { voicesDir, places = SERVE_LIMITS.places }: { voicesDir: string; places?: number },
  ) {
    this.places = places;
    this.voices = new ServedVoices(voicesDir, () => this.engine.manifest);
  }

  /** The most speeches at once, those that wait included. */
  readonly places: number;

  /** Whether a speech would be begun now. */
  get state(): "opening" | "ready" | "ending" {
    if (this.ending) return "ending";
    return this.source.engine === null ? "opening" : "ready";
  }

  /** @throws Refusal while there is none */
  get engine(): ServedEngine {
    if (this.ending) throw new Refusal("ending", "the server is ending", SERVE_LIMITS.openingSeconds);
    const { engine } = this.source;
    if (engine === null)
      throw new Refusal("opening", "the model is being opened", SERVE_LIMITS.openingSeconds);
    return engine;
  }

  /** Speeches that sound, and those that wait for their first sound. */
  get load(): { sounding: number; waiting: number } {
    const sounding = [...this.under].filter(({ sounds }) => sounds).length;
    return { sounding, waiting: this.under.size - sounding };
  }

  /**
   * Begins a speech; it is there with its first sound.
   * @throws Refusal if there is no place for it now; TtsError as the door's speak does, and TEXT_EMPTY where
   * a text has no sound
   */
  async speak(request: SpeechRequest): Promise<ServedSpeech> {
    let place: Place | null = null;
    try {
      const { engine } = this;
      place = this.takePlace(request.client);
      const speech = this.begin(engine, request, place.priorityFor(request.text));
      return await place.await(speech, speedFilter(request.speed ?? 1));
    } catch (thrown) {
      place?.leave();
      const error = thrown instanceof Refusal ? thrown : asTtsError(thrown);
      this.counts.refused(error instanceof Refusal ? error.reason : error.code);
      throw error;
    }
  }

  private begin(engine: ServedEngine, request: SpeechRequest, priority: number): EngineSpeech {
    const { options, signal, text, voice } = request;
    const spoken = this.voices.named(voice);
    return engine.speak(text, { ...options, ...spoken, signal, priority, sideBySide: false });
  }

  private takePlace(client: string): Place {
    const own = [...this.under].filter((place) => place.client === client).length;
    if (this.under.size >= this.places)
      throw new Refusal(
        "busy",
        `${this.under.size} speeches are under way, the most at once`,
        this.retryAfter,
      );
    // the last places are for others
    if (own >= Math.ceil(this.places * SERVE_LIMITS.share))
      throw new Refusal(
        "share",
        `${own} speeches are under way for ${client}, the most for one`,
        this.retryAfter,
      );
    const place = new Place(client, this.turns.next(client), this.counts, {
      begun: () => this.turns.begin(place.turn),
      ended: () => this.leave(place),
    });
    this.under.add(place);
    return place;
  }

  private leave(place: Place): void {
    this.under.delete(place);
    if (this.under.size === 0) this.turns.reset();
  }

  /** About when a place will be free: half of what speeches take. */
  private get retryAfter(): number {
    return Math.min(SERVE_LIMITS.retryMostSeconds, Math.max(1, Math.round(this.counts.meanWallSeconds / 2)));
  }

  /**
   * Takes nothing more on. What sounds may finish for `graceMs`; what waits is cancelled at once.
   */
  async end(graceMs: number = SERVE_LIMITS.endMs): Promise<void> {
    this.ending = true;
    for (const place of this.under) if (!place.sounds) place.cancel();
    const deadline = performance.now() + graceMs;
    while (this.under.size > 0 && performance.now() < deadline) await Bun.sleep(SERVE_LIMITS.endPollMs);
    for (const place of this.under) place.cancel();
    await this.source.close();
  }
}

/** One of the bounded number of speeches. */
class Place {
  sounds = false;
  private speech: EngineSpeech | null = null;

  constructor(
    readonly client: string,
    readonly turn: number,
    private readonly counts: Counts,
    private readonly on: { begun: () => void; ended: () => void },
  ) {}

  /**
   * Short texts, and those that somebody is writing, come before long reads, by their turns. Reads go on
   * side by side, sentence by sentence.
   */
  priorityFor(text: SpeechRequest["text"]): number {
    const isLong = typeof text === "string" && text.length > SERVE_LIMITS.shortChars;
    return isLong ? 0 : Math.max(1, LIMITS.priority - this.turn);
  }

  /** Waits for the first sound. */
  async await(speech: EngineSpeech, filter: Filter): Promise<ServedSpeech> {
    this.speech = speech;
    const sound = this.counted(speech, filter);
    const first = await sound.next();
    if (first.done === true) {
      const { stop } = speech.summary();
      if (stop === "cancelled") throw new TtsError("CANCELLED", "the speech was cancelled");
      throw new TtsError("TEXT_EMPTY", "the model ended without a sound", "try another text or seed");
    }
    this.sounds = true;
    this.on.begun();
    return {
      settings: speech.settings,
      unread: speech.unread,
      ignored: speech.ignored,
      get words() {
        const moved = (word: WordTime) => ({
          ...word,
          start: filter.moved?.(word.start) ?? word.start,
          end: filter.moved?.(word.end) ?? word.end,
        });
        return filter.moved === undefined ? speech.words : speech.words.map(moved);
      },
      cancel: () => this.cancel(),
      summary: () => speech.summary(),
      [Symbol.asyncIterator]: () => resumed({ first, rest: sound }),
    };
  }

  private async *counted(speech: EngineSpeech, filter: Filter): AsyncGenerator<Float32Array> {
    let failure: TtsError | null = null;
    try {
      for await (const { samples } of speech) {
        const ready = filter.push(samples);
        if (ready.length > 0) yield ready;
      }
      const rest = filter.end();
      if (rest.length > 0) yield rest;
    } catch (thrown) {
      failure = asTtsError(thrown);
      throw failure;
    } finally {
      if (this.sounds) this.counts.spoken(speech.summary(), failure?.code);
      this.leave();
    }
  }

  cancel(): void {
    this.speech?.cancel();
    this.leave();
  }

  leave(): void {
    this.on.ended();
  }
}
