// Sentences on their way through the stages: slots, numbers, and the rings' sound put to the jobs that it
// belongs to.

import { createHash } from "node:crypto";
import { RING_FRAMES, VOCODER_CHUNK_FRAMES } from "../config.ts";
import type { TtsError } from "../errors.ts";
import { Figures, type JobFigures } from "../pipeline/figures.ts";
import type { SharedMemory, SpeakJob, ToTalker, ToVocoder } from "../pipeline/messages.ts";
import { type EndReason, KIND, Ring } from "../pipeline/ring.ts";
import { MAX_JOBS, type Signals } from "../pipeline/signals.ts";
import type { Sentence } from "../stages/sentence.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../types.ts";

/** Some sound, as soon as it is there. */
export interface AudioChunk {
  /** f32, 1920 per frame */
  samples: Float32Array;
  /** i32 [frames, 16] */
  codes: Int32Array;
  /** Which sentence of the text, from 0. */
  sentence: number;
}

/** Who has sentences spoken. */
export interface JobOwner {
  /** Set when a sentence of it has failed. */
  failure: TtsError | null;
  /** Its sound is thrown away. */
  readonly cancelled: boolean;
  readonly priority: number;
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

/** The lane of codes that are known already, while one speech has it. */
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
  /** Those of the lanes that speak. */
  private readonly spoken: Ring[];
  private readonly figures: Figures;
  private readonly jobs = new Map<number, Job>();
  /** Slots whose cancel words are free; slot 0 belongs to the decode lane. */
  private readonly freeSlots = Array.from({ length: MAX_JOBS - 1 }, (_, i) => MAX_JOBS - 1 - i);
  /** Who waits for a slot now. */
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
   * How many of `wanted` more sentences may be submitted: none while somebody more urgent waits for a slot.
   */
  roomFor({ priority }: JobOwner, wanted: number): number {
    for (const other of this.hungry) if (other.priority > priority) return 0;
    return Math.min(wanted, this.freeSlots.length);
  }

  /** To be said around a wait for a slot. */
  setHungry(owner: JobOwner, isHungry: boolean): void {
    if (isHungry) this.hungry.add(owner);
    else this.hungry.delete(owner);
  }

  /**
   * Sends sentences to the talker, together, so that they start together; their `stream` is their place in
   * the text.
   */
  submit(owner: JobOwner, sentences: readonly Sentence[]): Job[] {
    const jobs = sentences.map((sentence) => this.admit(owner, sentence));
    const speak = sentences.map(
      (sentence, i): SpeakJob => ({ ...sentence, job: jobs[i].id, priority: owner.priority }),
    );
    this.outbox.talker({ speak });
    this.signals.ring("talker"); // it may sleep because a ring is full
    return jobs;
  }

  /** A job of its own for a sentence; the vocoder gets what it needs of it. */
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
      this.outbox.vocoder({ job: job.id, key: createHash("sha256").update(codes).digest("hex"), codes });
    return job;
  }

  /**
   * A number no other job has, in a slot that is free: a cancel word and figures are shared by all numbers of
   * its slot.
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
   * Moves everything that has arrived from the lanes' rings to its jobs, also to those of others: sound that
   * nobody fetches must not stand in the way of the next sentence in its lane. Bounded by the frames of the
   * jobs under way.
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
   * The last lane is for codes that are known already: the engine is its producer. One text at a time; the
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

  /** Whether some sentence has not ended. */
  get isSpeaking(): boolean {
    return this.jobs.values().some(({ stop }) => stop === null);
  }

  /** Whether codes wait that need no more of the talker, and there is room for their sound. */
  get vocoderOwes(): boolean {
    return this.codes.some(
      (codes, lane) => hasVocoderWork(codes) && this.samples[lane].free >= VOCODER_CHUNK_FRAMES,
    );
  }

  /** Whether the talker's lanes hold codes that wait for nothing but the vocoder. */
  get vocoderHoldsUpTalker(): boolean {
    return this.codes.slice(0, -1).some(hasVocoderWork);
  }
}

/** Whether these codes need no more of the talker: a whole chunk, a sentence's last frames, or its start. */
function hasVocoderWork(codes: Ring): boolean {
  const { filled } = codes;
  if (filled === 0 || filled >= VOCODER_CHUNK_FRAMES) return filled > 0;
  return codes.kind() !== KIND.frame || codes.kind(filled - 1) === KIND.end;
}

/** All frames of one job that stand at the front of a ring. */
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
  for (let frame = 0; frame < frames; frame++) {
    ring.copySamples(frame, samples, frame * SAMPLES_PER_FRAME);
    ring.copyCodes(frame, codes, frame * CODES_PER_FRAME);
  }
  ring.release(frames);
  return { samples, codes, sentence };
}
