// The one door for programs: open a model, speak text, decode codes. Starts the stage workers, hands sentences out and puts sound together.

import { createHash } from "node:crypto";
import type { Worker } from "node:worker_threads";
import type { Opening } from "./backends/stage.ts";
import { type Config, type ConfigFlags, LIMITS, lanesFor, loadConfig, threadsFor, VOCODER_CHUNK_FRAMES } from "./config.ts";
import { prepareSpeech, readerOf, type Sampling, type SpeakOptions, withSampling } from "./engine/request.ts";
import { DecodedSpeech, type Job, type Speech, type SpeechHost, SpokenSpeech, takeFrames } from "./engine/speech.ts";
import { asTtsError, fromWire, TtsError } from "./errors.ts";
import type { Bundle, Manifest } from "./formats/bundle.ts";
import { assertNpuFolder } from "./formats/npu-folder.ts";
import { type ModelOptions, resolveModel } from "./models/resolve.ts";
import { runErrand } from "./pipeline/errand.ts";
import { PREDICTOR_HAS_IT } from "./pipeline/mailbox.ts";
import {
  createSharedMemory,
  type EncodeJob,
  type FromStage,
  type SharedMemory,
  type StageJob,
  type ToVocoder,
} from "./pipeline/messages.ts";
import { countDown, lateStage, patienceWith, type StageState, Watch } from "./pipeline/patience.ts";
import { KIND, Ring } from "./pipeline/ring.ts";
import { MAX_JOBS, Signals } from "./pipeline/signals.ts";
import { assertDrawable } from "./sampler.ts";
import type { Sentence } from "./stages/sentence.ts";
import { Timeline } from "./stages/timeline.ts";
import type { Reader } from "./text/reading.ts";
import { CODES_PER_FRAME, type DrawLimits, SAMPLE_RATE_HZ, STAGES, type StageName } from "./types.ts";
import { startWorker } from "./worker.ts";

export type { ClonedVoice, SpeakOptions } from "./engine/request.ts";
export type { AudioChunk, Speech, Summary } from "./engine/speech.ts";
export { TtsError } from "./errors.ts";
export type { Manifest } from "./formats/bundle.ts";
export type { Slice } from "./stages/timeline.ts";
export type { StageName } from "./types.ts";
export { SAMPLE_RATE_HZ, SAMPLES_PER_FRAME } from "./types.ts";

export interface OpenOptions extends ConfigFlags, Omit<ModelOptions, "config">, Sampling {
  /** What it is opened for: decoding needs no talker, encoding no stage at all. Default: speak, which can do everything. */
  use?: "speak" | "decode" | "encode";
  /** About how many sentences will be spoken without anybody listening meanwhile: with many, several lanes may be opened. Default: 1. */
  sentences?: number;
}

export interface Engine {
  readonly manifest: Manifest;
  /** Stage -> backend that runs it. */
  readonly backends: Readonly<Record<string, string>>;
  /** What could not be had as it was prepared or asked for, a line each. */
  readonly warnings: readonly string[];
  /** The cores of each stage; none means any. */
  readonly config: Pick<Config, "cpus" | "threads">;
  /** What the stages did, slice by slice. */
  readonly timeline: Timeline;
  /** @throws TtsError at once when text or options are unusable; later failures come out of the iteration */
  speak(text: string, options?: SpeakOptions): Speech;
  /** Codes, i32 [frames, 16], back to sound. */
  decode(codes: Int32Array): Speech;
  /**
   * A recording, f32 mono 24 kHz, to what a cloned voice is made of. Base models only.
   * @param tailSilenceSeconds silence put behind the recording before its codes are taken
   * @throws TtsError REFERENCE_UNUSABLE, MODEL_UNSUITABLE
   */
  encode(samples: Float32Array, tailSilenceSeconds: number): Promise<{ codes: Int32Array; xVector: Float32Array }>;
  close(): Promise<void>;
}

const STAGES_FOR: Record<NonNullable<OpenOptions["use"]>, readonly StageName[]> = {
  speak: STAGES,
  decode: ["vocoder"],
  encode: [],
};

/**
 * Opens a model: a name, a checkpoint directory (converted at first use) or a bundle.
 * @throws TtsError MODEL_UNKNOWN, CHECKPOINT_INVALID, BUNDLE_INVALID, NPU_*, LIBRARY_*
 */
export async function open(options: OpenOptions = {}): Promise<Engine> {
  const general = loadConfig(options);
  assertNpuFolder(general);
  const bundle = withSampling(await resolveModel({ ...options, config: general }), options);
  const { shape, weights } = bundle.manifest;
  const config = Object.freeze({
    ...general,
    ...(options.threads === undefined ? threadsFor(shape.hidden, general) : {}),
    lanes: options.lanes ?? lanesFor(weights, options.sentences ?? 1),
  });
  const engine = new WorkerEngine(bundle, config);
  try {
    await engine.start(STAGES_FOR[options.use ?? "speak"]);
  } catch (error) {
    await engine.close();
    throw error;
  }
  return engine;
}

class WorkerEngine implements Engine, SpeechHost {
  readonly manifest: Manifest;
  readonly backends: Record<string, string> = {};
  private readonly refusals: string[] = [];
  /** Of a code predictor that draws inside of its model. */
  private drawLimits: DrawLimits | null = null;
  /** What each stage opens, or has opened. */
  private readonly openings = new Map<StageName, Opening>();
  /** Why an NPU is not used -> by which stages. */
  private readonly unused = new Map<string, StageName[]>();
  readonly timeline: Timeline;
  readonly signals: Signals;
  private readonly memory: SharedMemory;
  private readonly workers = new Map<StageName, { worker: Worker; exited: Promise<unknown> }>();
  private readonly codes: Ring[];
  private readonly samples: Ring[];
  private readonly jobs = new Map<number, Job>();
  /** Slots whose cancel words are free; slot 0 belongs to the decode lane. */
  private readonly freeSlots = Array.from({ length: MAX_JOBS - 1 }, (_, i) => MAX_JOBS - 1 - i);
  private generation = 0;
  private closed: Promise<void> | null = null;
  private readonly reader: () => Reader;
  private decodeTurn: Promise<void> = Promise.resolve();
  failure: TtsError | null = null;
  private readonly watch: Watch;

  constructor(
    readonly bundle: Bundle,
    readonly config: Config,
  ) {
    this.manifest = bundle.manifest;
    this.reader = readerOf(bundle);
    this.memory = createSharedMemory(config.lanes, bundle.manifest.shape.hidden);
    this.signals = new Signals(this.memory.signals);
    this.codes = this.memory.codes.map((ring) => new Ring(ring));
    this.samples = this.memory.samples.map((ring) => new Ring(ring));
    this.timeline = new Timeline(this.memory.timeline);
    this.watch = new Watch(this.timeline, (stage) => this.owes(stage), config.stageTimeoutMs);
  }

  get warnings(): string[] {
    const unused = [...this.unused].map(([reason, stages]) => `no NPU for the ${stages.toSorted().join(" and the ")}: ${reason}`);
    return [...this.refusals, ...unused];
  }

  async start(stages: readonly StageName[]): Promise<void> {
    await Promise.all(stages.map((stage) => this.startStage(stage)));
  }

  private startStage(stage: StageName): Promise<void> {
    const job: StageJob = { bundle: this.bundle, config: this.config, memory: this.memory };
    const worker = startWorker(stage, job);
    this.workers.set(stage, { worker, exited: new Promise((resolve) => worker.once("exit", resolve)) });
    return new Promise((resolve, reject) => {
      let stopTimer = () => {};
      const fail = (error: TtsError) => {
        stopTimer();
        this.fail(error);
        reject(error);
      };
      const waitAnew = () => {
        stopTimer();
        const state = this.stateOf(stage, false);
        const patienceMs = patienceWith(state, this.config);
        stopTimer = countDown(patienceMs, () => fail(lateStage(state, patienceMs)));
      };
      waitAnew();
      worker.on("error", (error) => fail(asTtsError(error)));
      worker.on("exit", () => {
        if (this.closed === null && this.failure === null)
          fail(new TtsError("STAGE_DIED", `the ${stage} worker ended by itself`, "please report this"));
      });
      worker.on("message", (message: FromStage) => {
        if ("failed" in message) fail(fromWire(message.failed));
        else if ("job" in message) this.failJob(message.job, fromWire(message.error));
        else if ("opening" in message) {
          this.openings.set(stage, message.opening);
          waitAnew();
        } else {
          stopTimer();
          this.backends[stage] = message.ready.backend;
          this.drawLimits ??= message.ready.drawLimits;
          this.refusals.push(...message.ready.warnings);
          for (const reason of message.ready.unused) this.unused.set(reason, [...(this.unused.get(reason) ?? []), stage]);
          resolve();
        }
      });
    });
  }

  async wait(seen: number): Promise<void> {
    await this.signals.waitAsync("main", seen);
    const late = this.watch.look(performance.now());
    if (late !== null) this.fail(lateStage(this.stateOf(late, true), this.config.stageTimeoutMs));
  }

  private stateOf(stage: StageName, isReady: boolean): StageState {
    return { stage, opening: this.openings.get(stage) ?? null, isReady };
  }

  /** Whether something is to be done that waits for nobody else. */
  private owes(stage: StageName): boolean {
    if (!this.workers.has(stage)) return false;
    const predictorHasIt = this.workers.has("predictor") && this.signals.turn === PREDICTOR_HAS_IT;
    if (stage === "predictor") return predictorHasIt;
    const waiting = (codes: Ring, lane: number) => hasVocoderWork(codes) && this.samples[lane].free >= VOCODER_CHUNK_FRAMES;
    if (stage === "vocoder") return this.codes.some(waiting);
    // Frames that are too few for a chunk wait for the talker, not for the vocoder.
    const isSpeaking = this.jobs.values().some(({ stop }) => stop === null);
    return isSpeaking && !predictorHasIt && !this.codes.some((codes, lane) => lane < this.config.lanes && hasVocoderWork(codes));
  }

  /** One stage down means all down: they wait for each other. */
  private fail(error: TtsError): void {
    this.failure ??= error;
    this.signals.stop();
  }

  private failJob(id: number, error: TtsError): void {
    const job = this.jobs.get(id);
    if (job !== undefined) job.speech.failure = error;
    this.signals.ring("main");
  }

  speak(text: string, options: SpeakOptions = {}): Speech {
    this.assertUsable("talker");
    const prepared = prepareSpeech(this.bundle, text, options, this.reader);
    if (this.drawLimits !== null) assertDrawable(prepared.message.sampling.predictor, this.drawLimits, this.manifest.shape.codes);
    return new SpokenSpeech(this, prepared);
  }

  decode(codes: Int32Array): Speech {
    this.assertUsable("vocoder");
    assertCodes(codes, this.manifest.shape.codes);
    return new DecodedSpeech(this, codes);
  }

  async encode(samples: Float32Array, tailSilenceSeconds: number): Promise<{ codes: Int32Array; xVector: Float32Array }> {
    const { name, prompt } = this.manifest;
    if (prompt.modelType !== "base")
      throw new TtsError("MODEL_UNSUITABLE", `${name} cannot take a voice from a recording`, "use a Base model");
    const forCodes = new Float32Array(samples.length + Math.round(tailSilenceSeconds * SAMPLE_RATE_HZ));
    forCodes.set(samples);
    const job: EncodeJob = { bundle: this.bundle, config: this.config, forCodes, forVector: samples };
    return runErrand("encoder", job, { title: "the encoder" });
  }

  private assertUsable(stage: StageName): void {
    if (this.failure !== null) throw this.failure;
    if (this.closed !== null || !this.workers.has(stage))
      throw new TypeError(`this engine has no ${stage}: it is closed, or was opened for something else`);
  }

  submit(speech: SpokenSpeech, messages: readonly Sentence[]): Job[] {
    const jobs = messages.map((message) => this.admit(speech, message));
    this.workers.get("talker")!.worker.postMessage({ speak: messages.map((message, i) => ({ ...message, priority: 0, job: jobs[i].id })) });
    this.signals.ring("talker"); // it may sleep because a ring is full
    return jobs;
  }

  /** A job of its own for a sentence; the vocoder gets what it needs of it. */
  private admit(speech: SpokenSpeech, message: Sentence): Job {
    const job: Job = { id: this.numberOf(this.freeSlots.pop()!), speech, sentence: message.stream, early: [], stop: null };
    this.jobs.set(job.id, job);
    const codes = message.reference?.codes ?? null;
    if (codes !== null) {
      const reference: ToVocoder = { job: job.id, key: createHash("sha256").update(codes).digest("hex"), codes };
      this.workers.get("vocoder")!.worker.postMessage(reference);
    }
    return job;
  }

  /** A number no other job has, in a slot that is free: a cancel word is shared by all numbers of its slot. */
  private numberOf(slot: number): number {
    this.generation++;
    return this.generation * MAX_JOBS + slot;
  }

  get modelName(): string {
    return this.manifest.name;
  }

  get lanes(): number {
    return this.config.lanes;
  }

  get room(): number {
    return this.freeSlots.length;
  }

  forget(job: Job): void {
    this.jobs.delete(job.id);
    this.freeSlots.push(job.id % MAX_JOBS);
    this.signals.ring("main"); // others may wait for a slot
  }

  /**
   * Moves everything that has arrived from the lanes' rings to its jobs, also to those of others: sound that nobody fetches must not
   * stand in the way of the next sentence in its lane. Bounded by the frames of the jobs under way.
   */
  drain(): boolean {
    let moved = false;
    for (const ring of this.samples.slice(0, this.config.lanes)) {
      while (ring.filled > 0) {
        moved = true;
        const job = this.jobs.get(ring.job());
        if (ring.kind() === KIND.end) {
          if (job !== undefined) job.stop = ring.endReason();
          ring.release(1);
        } else {
          const chunk = takeFrames(ring, job?.sentence ?? 0);
          if (job !== undefined && !job.speech.cancelled) job.early.push(chunk);
        }
        this.signals.ring("vocoder");
      }
    }
    if (moved) this.signals.ring("main"); // others may have got something
    return moved;
  }

  /** The last lane is for codes that are known already: the engine is its producer. One text at a time; the others wait here. */
  async takeDecodeLane(): Promise<{ job: number; codes: Ring; samples: Ring; release: () => void }> {
    const before = this.decodeTurn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.decodeTurn = promise;
    await before;
    return { job: this.numberOf(0), codes: this.codes.at(-1)!, samples: this.samples.at(-1)!, release: resolve };
  }

  close(): Promise<void> {
    this.closed ??= this.shutDown();
    return this.closed;
  }

  /** Whoever still listens learns it as an error. */
  private async shutDown(): Promise<void> {
    this.failure ??= new TtsError("CANCELLED", "the engine was closed");
    this.signals.stop();
    this.workers.get("talker")?.worker.postMessage({ close: true });
    await Promise.all([...this.workers.values()].map(endWorker));
  }
}

/** Whether these codes need no more of the talker: a whole chunk, a sentence's last frames, or its start. */
function hasVocoderWork(codes: Ring): boolean {
  const { filled } = codes;
  if (filled === 0 || filled >= VOCODER_CHUNK_FRAMES) return filled > 0;
  return codes.kind() !== KIND.frame || codes.kind(filled - 1) === KIND.end;
}

/**
 * Gives a stage time to free its model: ending a thread inside a native call can crash the process. One that hangs in such a call does not
 * end at all: only the process can.
 */
async function endWorker({ worker, exited }: { worker: Worker; exited: Promise<unknown> }): Promise<void> {
  await within(LIMITS.closeGraceMs, exited);
  await within(LIMITS.terminateGraceMs, worker.terminate());
}

async function within(milliseconds: number, done: Promise<unknown>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  await Promise.race([done, late]);
  clearTimeout(timer);
}

function assertCodes(codes: Int32Array, size: number): void {
  if (codes.length % CODES_PER_FRAME !== 0) {
    throw new TtsError("CODES_INVALID", `${codes.length} codes are no whole number of frames`, `every frame has ${CODES_PER_FRAME}`);
  }
  const bad = codes.findIndex((code) => code < 0 || code >= size);
  if (bad < 0) return;
  const where = `frame ${Math.floor(bad / CODES_PER_FRAME)}, code ${bad % CODES_PER_FRAME}`;
  throw new TtsError(
    "CODES_INVALID",
    `${where} is ${codes[bad]}, this model's codes are 0 to ${size - 1}`,
    "was it made with another model?",
  );
}
