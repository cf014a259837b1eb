// Sentences on their way through the stages: gives them slots and numbers, and sorts the sound in the rings
// by job.

import { RING_FRAMES, VOCODER_CHUNK_FRAMES } from "../config.ts";
import type { TtsError } from "../errors.ts";
import { newHash } from "../io/hash.ts";
import { Figures, type JobFigures } from "../pipeline/figures.ts";
import type { SharedMemory, SpeakJob, ToTalker, ToVocoder } from "../pipeline/messages.ts";
import { type EndReason, KIND, Ring } from "../pipeline/ring.ts";
import { MAX_JOBS, type Signals } from "../pipeline/signals.ts";
import type { Sentence } from "../stages/sentence.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../types.ts";

/** A piece of sound, given out as soon as it is made. */
export interface AudioChunk {
  /** f32, 1920 per frame */
  samples: Float32Array;
  /** i32 [frames, 16] */
  codes: Int32Array;
  /** i32 [frames]: offset in the sentence of the token that a frame says, or -1. */
  textAt: Int32Array;
  /** Index of the sentence in the text, from 0. */
  sentence: number;
  /** 0, or the number of the repair that this is from. */
  attempt: number;
}

/** A speech whose sentences are spoken. */
export interface JobOwner {
  /** Set when one of its sentences has failed. */
  failure: TtsError | null;
  /** If true, its sound is thrown away. */
  readonly cancelled: boolean;
  readonly priority: number;
  /** As SpeakJob has it. */
  readonly oneByOne: number;
}

/** A sentence under way. */
export interface Job {
  id: number;
  owner: JobOwner;
  sentence: number;
  /** Sound that came before its turn. */
  early: AudioChunk[];
  stop: EndReason | null;
}

/** The lane for known codes, while one speech holds it. */
export interface DecodeLane {
  job: number;
  codes: Ring;
  samples: Ring;
  release: () => void;
}

export interface Outbox {
  talker(message: ToTalker): void;
  vocoder(message: ToVocoder): void;
}

export class Jobs {
  private readonly codes: Ring[];
  private readonly samples: Ring[];
  /** The sample rings of the lanes that speak. */
  private readonly spoken: Ring[];
  private readonly figures: Figures;
  private readonly jobs = new Map<number, Job>();
  /** Slots whose cancel words are free; slot 0 belongs to the decode lane. */
  private readonly freeSlots = Array.from({ length: MAX_JOBS - 1 }, (_, i) => MAX_JOBS - 1 - i);
  /** Owners that wait for a slot now. */
  private readonly hungry = new Set<JobOwner>();
  private generation = 0;
  private decodeTurn: Promise<void> = Promise.resolve();

  constructor(
    memory: SharedMemory,
    private readonly signals: Signals,
    private readonly outbox: Outbox,
  ) {
    this.codes = memory.codes.map((ring) => new Ring(ring));
    this.samples = memory.samples.map((ring) => new Ring(ring));
    this.spoken = this.samples.slice(0, -1);
    this.figures = new Figures(memory.figures);
  }

  /**
   * How many of `wanted` more sentences may be submitted: none while a more urgent owner waits for a slot.
   */
  roomFor({ priority }: JobOwner, wanted: number): number {
    for (const other of this.hungry) if (other.priority > priority) return 0;
    return Math.min(wanted, this.freeSlots.length);
  }

  /** Call it before and after a wait for a slot. */
  setHungry(owner: JobOwner, isHungry: boolean): void {
    if (isHungry) this.hungry.add(owner);
    else this.hungry.delete(owner);
  }

  /**
   * Sends sentences to the talker in one message, so that they start together; `stream` is a sentence's index
   * in the text.
   * @param sooner what is added to the owner's priority
   */
  submit(owner: JobOwner, sentences: readonly Sentence[], sooner = 0): Job[] {
    const jobs = sentences.map((sentence) => this.admit(owner, sentence));
    const speak = sentences.map(
      (sentence, i): SpeakJob => ({
        ...sentence,
        job: jobs[i].id,
        priority: owner.priority + sooner,
        oneByOne: owner.oneByOne,
      }),
    );
    this.outbox.talker({ speak });
    this.signals.ring("talker"); // the talker may sleep because a ring is full
    return jobs;
  }

  /** Makes a job for a sentence; the vocoder gets the codes of its reference. */
  private admit(owner: JobOwner, sentence: Sentence): Job {
    const job: Job = {
      id: this.numberOf(this.freeSlots.pop()!),
      owner,
      sentence: sentence.stream,
      early: [],
      stop: null,
    };
    this.jobs.set(job.id, job);
    const codes = sentence.reference?.codes ?? null;
    if (codes !== null)
      this.outbox.vocoder({ job: job.id, key: newHash().update(codes).digest("hex"), codes });
    return job;
  }

  /**
   * A number that no other job has, in a free slot. All numbers of a slot share a cancel word and figures.
   */
  private numberOf(slot: number): number {
    this.generation++;
    const job = this.generation * MAX_JOBS + slot;
    this.figures.reset(job);
    return job;
  }

  addFigures(sums: JobFigures, job: number): void {
    this.figures.addTo(sums, job);
  }

  fail(id: number, error: TtsError): void {
    const job = this.jobs.get(id);
    if (job !== undefined) job.owner.failure = error;
    this.signals.ring("main");
  }

  forget(job: Job): void {
    this.jobs.delete(job.id);
    this.freeSlots.push(job.id % MAX_JOBS);
    this.signals.ring("main"); // others may wait for a slot
  }

  /**
   * Moves all sound from the lanes' rings to its jobs, whoever owns them: sound that nobody fetches must not
   * block the next sentence of its lane. Bounded by the frames of the jobs under way.
   * @returns whether anything had arrived
   */
  drain(): boolean {
    let moved = false;
    for (const ring of this.spoken) {
      while (ring.filled > 0) {
        moved = true;
        const job = this.jobs.get(ring.job());
        if (ring.kind() === KIND.end) {
          if (job !== undefined) job.stop = ring.endReason();
          ring.release(1);
        } else {
          const chunk = takeFrames(ring, job?.sentence ?? 0);
          if (job !== undefined && !job.owner.cancelled) job.early.push(chunk);
        }
        this.signals.ring("vocoder");
      }
    }
    if (moved) this.signals.ring("main"); // others may have got something
    return moved;
  }

  /**
   * The last lane is for known codes, which the engine itself sends. One speech holds it at a time; the
   * others wait here.
   */
  async takeDecodeLane(): Promise<DecodeLane> {
    const before = this.decodeTurn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.decodeTurn = promise;
    await before;
    return {
      job: this.numberOf(0),
      codes: this.codes.at(-1)!,
      samples: this.samples.at(-1)!,
      release: resolve,
    };
  }

  /** Whether any sentence has not ended yet. */
  get isSpeaking(): boolean {
    return this.jobs.values().some(({ stop }) => stop === null);
  }

  /**
   * Whether the vocoder can work: some codes need nothing more from the talker, and there is room for their
   * sound.
   */
  get vocoderOwes(): boolean {
    return this.codes.some(
      (codes, lane) => hasVocoderWork(codes) && this.samples[lane].free >= VOCODER_CHUNK_FRAMES,
    );
  }

  /** Whether the talker's lanes hold codes that wait only for the vocoder. */
  get vocoderHoldsUpTalker(): boolean {
    return this.codes.slice(0, -1).some(hasVocoderWork);
  }
}

/**
 * Whether these codes need nothing more from the talker: a whole chunk, a sentence's last frames, or its
 * start.
 */
function hasVocoderWork(codes: Ring): boolean {
  const { filled } = codes;
  if (filled === 0 || filled >= VOCODER_CHUNK_FRAMES) return filled > 0;
  return codes.kind() !== KIND.frame || codes.kind(filled - 1) === KIND.end;
}

/** Takes all frames of one job from the front of a ring. */
export function takeFrames(ring: Ring, sentence: number): AudioChunk {
  const job = ring.job();
  let frames = 0;
  while (
    frames < Math.min(ring.filled, RING_FRAMES) &&
    ring.kind(frames) === KIND.frame &&
    ring.job(frames) === job
  )
    frames++;
  const samples = new Float32Array(frames * SAMPLES_PER_FRAME);
  const codes = new Int32Array(frames * CODES_PER_FRAME);
  const textAt = Int32Array.from({ length: frames }, (_, frame) => ring.textAt(frame));
  for (let frame = 0; frame < frames; frame++) {
    ring.copySamples(frame, samples, frame * SAMPLES_PER_FRAME);
    ring.copyCodes(frame, codes, frame * CODES_PER_FRAME);
  }
  ring.release(frames);
  return { samples, codes, textAt, sentence, attempt: 0 };
}
