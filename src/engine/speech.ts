// A text being spoken: its sentences go to the stages a little ahead of the sound, and one that goes wrong is
// cut and said again.

import { TtsError } from "../errors.ts";
import type { Sentence } from "../stages/sentence.ts";
import { SAMPLE_RATE_HZ, type StopReason } from "../types.ts";
import { type Cut, Guard, MOST_REPAIRS, REPAIR_PRIORITY, seedOfRepair } from "./guard.ts";
import type { AudioChunk, Job, JobOwner } from "./jobs.ts";
import type { SpeechSettings } from "./request.ts";
import { type SoundRequest, type SpeechHost, TimedSpeech } from "./sounding.ts";
import { type PlacedWord, type WordTime, WordTimes } from "./words.ts";

/** The next sentence waits in the talker, which then goes on at once. */
const SENTENCES_AHEAD = 2;
/** A lane that becomes free must find its next sentence waiting, however long the other lanes take. */
const SENTENCES_AHEAD_OF_LANES = 32;

/**
 * Which sentences of a text are spoken; `to` is not included. Ranges one after the other give every sample
 * and code of the whole: a pause belongs to the sentence behind it, the last one to the range that has the
 * end. The start is trimmed for the range from 0 alone.
 */
export interface SentenceRange {
  from: number;
  to: number;
}

export const ALL_SENTENCES: SentenceRange = { from: 0, to: Number.POSITIVE_INFINITY };

const URGENCY: Record<StopReason, number> = { eos: 0, length: 1, cancelled: 2 };

/** Where the prompts of a text come from. */
export interface PromptSource {
  /** The prompts so far; grows until {@link ended}. */
  readonly sentences: readonly string[];
  /** Of each prompt. */
  readonly words: readonly (readonly PlacedWord[])[];
  /** What the voice cannot read of the text so far. */
  readonly unread: readonly string[];
  /** Markup of it that is not obeyed. */
  readonly ignored: readonly string[];
  /** Milliseconds of silence before prompts; behind the last one at their number. */
  readonly pauses: ReadonlyMap<number, number>;
  readonly ended: boolean;
  /** Why no more will come, or null. */
  readonly failure: TtsError | null;
  /** Asks for about `ahead` prompts after the first `taken` ones. The main bell rings when some have come. */
  want(taken: number, ahead: number): void;
  /** Tells the source that no more is wanted. */
  leave(): void;
}

export class SpokenSpeech extends TimedSpeech implements JobOwner {
  failure: TtsError | null = null;
  private readonly isWatched: boolean;
  private readonly range: SentenceRange;
  private readonly open: Job[] = [];
  private readonly times = new WordTimes();
  /** Of the jobs that are watched. */
  private readonly guards = new Map<Job, Guard>();
  /** A repair that waits for a slot. */
  private repair: { sentence: Sentence; guard: Guard } | null = null;

  constructor(
    host: SpeechHost,
    private readonly source: PromptSource,
    readonly settings: SpeechSettings,
    private readonly message: Omit<Sentence, "text" | "stream">,
    readonly priority: number,
    readonly oneByOne: number,
    request: SoundRequest & { watch?: boolean; range: SentenceRange },
  ) {
    super(host, request);
    this.isWatched = request.watch ?? true;
    this.range = request.range;
  }

  protected get seed(): number {
    return this.settings.seed;
  }

  get sentences(): readonly string[] {
    return this.source.sentences;
  }

  get unread(): readonly string[] {
    return this.source.unread;
  }

  get words(): readonly WordTime[] {
    return this.times.words;
  }

  protected override follow(chunk: AudioChunk, before: number): void {
    this.times.take(chunk, this.source.words[chunk.sentence], before);
  }

  get ignored(): readonly string[] {
    return this.source.ignored;
  }

  get pauses(): ReadonlyMap<number, number> {
    return this.source.pauses;
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const { host, open, source } = this;
    const { jobs } = host;
    const ahead = host.lanes === 1 || this.oneByOne > 0 ? SENTENCES_AHEAD : SENTENCES_AHEAD_OF_LANES;
    const { from, to } = this.range;
    let [submitted, paused] = [from, from - 1];
    try {
      while (!this.cancelled) {
        source.want(submitted, ahead - open.length);
        const end = Math.min(to, source.sentences.length);
        const wanted = Math.min(ahead - open.length, Math.max(0, end - submitted));
        const next = source.sentences.slice(submitted, submitted + jobs.roomFor(this, wanted));
        const sentences = next.map((text, i): Sentence => ({ ...this.message, text, stream: submitted + i }));
        if (sentences.length > 0) open.push(...jobs.submit(this, sentences));
        submitted += next.length;
        this.submitRepair();
        const hasEnd = source.ended || source.sentences.length > to;
        const isOver = open.length === 0 && this.repair === null && submitted >= end && hasEnd;
        const failure = isOver ? this.lack() : (host.failure ?? this.failure);
        if (failure !== null) throw failure;
        const turn = submitted - open.length - (this.repair === null ? 0 : 1);
        // until then more silence may be asked for
        const isKnown = turn < submitted || source.ended;
        if (paused < turn && isKnown) {
          paused = turn;
          if (turn < end || end === source.sentences.length) yield* this.silence(turn);
        }
        if (isOver) return;
        const seen = host.signals.read("main");
        const [job] = open;
        if (this.repair === null && job !== undefined && job.early.length > 0) {
          const chunk = this.guarded(job, job.early.shift()!);
          if (chunk !== null) yield chunk;
        } else if (this.repair === null && job !== undefined && job.stop !== null && job.stop !== "failed") {
          const held = this.guards.get(job)?.release() ?? null;
          this.finish(open.shift()!, job.stop);
          if (held !== null) yield held;
        } else if (!jobs.drain()) await this.wait(seen, next.length < wanted || this.repair !== null);
      }
    } finally {
      source.leave();
      this.leaveOpen();
    }
  }

  /** Why a text that is over has not what was asked for, or null. */
  private lack(): TtsError | null {
    const { failure, sentences } = this.source;
    const { from } = this.range;
    if (failure !== null || from < sentences.length) return failure;
    const what = `sentences are to be spoken from number ${from} on, and the text has ${sentences.length}`;
    return new TtsError("USAGE", what, "the first one is number 0");
  }

  /** @returns what of a job's next sound may be given out; a sentence that went wrong is cut here */
  private guarded(job: Job, chunk: AudioChunk): AudioChunk | null {
    if (!this.isWatched) return chunk;
    const { sentence } = job;
    const known = this.guards.get(job);
    const guard = known ?? new Guard(this.sentences[sentence], this.source.words[sentence], 0, 0);
    if (known === undefined) this.guards.set(job, guard);
    const good = guard.take(chunk);
    if (guard.cut !== null) this.mend(job, guard.attempt, guard.cut);
    return good;
  }

  /** Ends a job that went wrong, and has the rest of its sentence said with another draw. */
  private mend(job: Job, attempt: number, { again, fault, tooLate }: Cut): void {
    const { host, message } = this;
    const { sentence } = job;
    const text = this.sentences[sentence];
    const draw =
      again !== null && attempt < MOST_REPAIRS && !message.sampling.talker.greedy ? attempt + 1 : 0;
    this.repairs.push({ sentence, fault: fault.kind, tooLate, draw });
    if (again !== null && draw === 0 && this.stop === "eos") this.stop = "length";
    if (again !== null && draw > 0) {
      const seed = seedOfRepair(message.seed, draw);
      this.repair = {
        sentence: { ...message, text: text.slice(again), stream: sentence, seed },
        guard: new Guard(text, this.source.words[sentence], again, draw),
      };
    }
    this.open.shift();
    this.guards.delete(job);
    this.submitRepair(); // first: the lane takes it as soon as it is free
    host.signals.cancel(job.id);
    host.jobs.addFigures(this.figures, job.id);
    void this.discard([job]);
  }

  private submitRepair(): void {
    if (this.repair === null || this.host.jobs.roomFor(this, 1) === 0) return;
    const { guard, sentence } = this.repair;
    const [job] = this.host.jobs.submit(this, [sentence], REPAIR_PRIORITY);
    this.open.unshift(job);
    this.guards.set(job, guard);
    this.repair = null;
  }

  /** The pause before a sentence, in pieces: it may be long. */
  private *silence(sentence: number): Generator<AudioChunk> {
    let left = Math.round(((this.pauses.get(sentence) ?? 0) * SAMPLE_RATE_HZ) / 1000);
    for (; left > 0; left -= SAMPLE_RATE_HZ) {
      const samples = new Float32Array(Math.min(left, SAMPLE_RATE_HZ));
      const none = new Int32Array(0);
      const at = Math.min(sentence, this.sentences.length - 1);
      yield { samples, codes: none, textAt: none, sentence: at, attempt: 0 };
    }
  }

  private async wait(seen: number, isHungry: boolean): Promise<void> {
    const { host } = this;
    if (this.cancelled) return;
    host.jobs.setHungry(this, isHungry);
    await host.wait(seen);
    host.jobs.setHungry(this, false);
  }

  private finish(job: Job, stop: StopReason): void {
    if (URGENCY[stop] > URGENCY[this.stop]) this.stop = stop;
    this.guards.delete(job);
    this.host.jobs.addFigures(this.figures, job.id);
    this.host.jobs.forget(job);
  }

  protected abandon(): void {
    for (const job of this.open) this.host.signals.cancel(job.id);
  }

  /**
   * Stops the open sentences and throws their sound away, after a break out of the loop or a failed sentence.
   */
  private leaveOpen(): void {
    const { host, open } = this;
    this.cancelled = true;
    this.abandon();
    for (const job of open) host.jobs.addFigures(this.figures, job.id);
    void this.discard(open.splice(0));
  }

  /** Runs in the background: the stages may be busy for a moment, and the caller need not wait. */
  private async discard(open: readonly Job[]): Promise<void> {
    const { host } = this;
    while (open.some((job) => job.stop === null) && host.failure === null) {
      const seen = host.signals.read("main");
      if (!host.jobs.drain()) await host.wait(seen);
    }
    for (const job of open) host.jobs.forget(job);
  }
}
