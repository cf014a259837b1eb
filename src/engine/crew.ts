// Starts, watches and ends the workers that run the stages. If one fails, all end, because they wait for each
// other.

import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import type { Step } from "../../ffi/load/steps.ts";
import type { Opening } from "../backends/stage.ts";
import { type Config, LIMITS } from "../config.ts";
import { asTtsError, fromWire, TtsError } from "../errors.ts";
import type { Bundle } from "../formats/bundle.ts";
import type { FromStage, SharedMemory, StageJob } from "../pipeline/messages.ts";
import { countDown, lateStage, patienceWith, type StageState, Watch } from "../pipeline/patience.ts";
import type { Signals } from "../pipeline/signals.ts";
import type { Timeline } from "../stages/timeline.ts";
import type { DrawLimits, StageName } from "../types.ts";
import { startWorker } from "../worker.ts";

interface Member {
  worker: Worker;
  exited: Promise<unknown>;
  /** Brings the stage's messages. */
  port: MessagePort;
  hear: (message: FromStage) => void;
  /** What the stage is opening, or has opened. */
  opening: Opening | null;
}

/** Something that opening a model took time for: a library, a file, the start of threads. */
export interface OpeningStep extends Step {
  /** "engine": the thread that called open(). */
  thread: "engine" | StageName;
}

export interface CrewOptions {
  bundle: Bundle;
  config: Config;
  memory: SharedMemory;
  signals: Signals;
  timeline: Timeline;
  /** Called when a sentence cannot be spoken; the stage goes on. */
  onJobFailed: (job: number, error: TtsError) => void;
  /** Whether a stage has work that waits for no other stage. */
  owes: (stage: StageName) => boolean;
}

export class Crew {
  /** Stage -> backend that runs it. */
  readonly backends: Record<string, string> = {};
  /** What each thread has opened, and when. */
  readonly opening: OpeningStep[] = [];
  /** Why the stages had to end, or null. */
  failure: TtsError | null = null;
  /** Limits of a code predictor that draws inside its model, else null. */
  drawLimits: DrawLimits | null = null;
  private readonly members = new Map<StageName, Member>();
  private readonly refusals: string[] = [];
  /** Why an NPU is not used -> the stages that do not use it. */
  private readonly unused = new Map<string, StageName[]>();
  private readonly watch: Watch;
  private isEnding = false;

  constructor(private readonly options: CrewOptions) {
    const { config, owes, timeline } = options;
    this.watch = new Watch(timeline, owes, config.stageTimeoutMs);
  }

  has(stage: StageName): boolean {
    return this.members.has(stage);
  }

  isReady(stage: StageName): boolean {
    return stage in this.backends;
  }

  /** What was prepared or requested but cannot be used, such as an NPU or cores; a line each. */
  get warnings(): string[] {
    const unused = [...this.unused].map(
      ([reason, stages]) => `no NPU for the ${stages.toSorted().join(" and the ")}: ${reason}`,
    );
    return [...this.refusals, ...unused];
  }

  /** @returns for each stage when it is ready; fails with the stage's TtsError */
  start(stages: readonly StageName[]): Map<StageName, Promise<void>> {
    return new Map(stages.map((stage) => [stage, this.startStage(stage)]));
  }

  private startStage(stage: StageName): Promise<void> {
    const { bundle, config, memory } = this.options;
    const { port1: port, port2: home } = new MessageChannel();
    const job: StageJob = { bundle, config, memory, home, startedMs: monotonicMs() };
    const worker = startWorker(stage, job, [home]);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let stopTimer = () => {};
    const fail = (error: TtsError) => {
      stopTimer();
      this.fail(error);
      reject(error);
    };
    const waitAnew = () => {
      stopTimer();
      const state = this.stateOf(stage, false);
      const patienceMs = patienceWith(state, config);
      stopTimer = countDown(
        patienceMs,
        () => fail(lateStage(state, patienceMs)),
        () => this.collect(member),
      );
    };
    worker.on("error", (error) => fail(asTtsError(error)));
    worker.on("exit", () => {
      this.collect(member); // the last words
      port.close();
      if (!this.isEnding && this.failure === null)
        fail(new TtsError("STAGE_DIED", `the ${stage} worker ended by itself`, "please report this"));
    });
    const hear = (message: FromStage) => {
      if ("failed" in message) fail(fromWire(message.failed));
      else if ("job" in message) this.options.onJobFailed(message.job, fromWire(message.error));
      else if ("opening" in message) {
        member.opening = message.opening;
        waitAnew();
      } else {
        stopTimer();
        this.welcome(message.ready);
        resolve();
      }
    };
    const exited = new Promise((ended) => worker.once("exit", ended));
    const member: Member = { worker, exited, port, hear, opening: null };
    this.members.set(stage, member);
    port.on("message", hear);
    waitAnew();
    return promise;
  }

  /** Takes the messages that lie at a port: Bun 1.4 may leave one there until the next one comes. */
  private collect({ hear, port }: Member): void {
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) return;
      hear(received.message as FromStage);
    }
  }

  private welcome({
    backend,
    drawLimits,
    stage,
    steps,
    unused,
    warnings,
  }: Extract<FromStage, { ready: unknown }>["ready"]): void {
    this.opening.push(...steps.map((step) => ({ thread: stage, ...step })));
    this.backends[stage] = backend;
    this.drawLimits ??= drawLimits;
    this.refusals.push(...warnings);
    for (const reason of unused) this.unused.set(reason, [...(this.unused.get(reason) ?? []), stage]);
  }

  private stateOf(stage: StageName, isReady: boolean): StageState {
    return { stage, opening: this.members.get(stage)?.opening ?? null, isReady };
  }

  fail(error: TtsError): void {
    this.failure ??= error;
    this.options.signals.stop();
  }

  send(stage: StageName, message: unknown): void {
    this.members.get(stage)!.worker.postMessage(message);
  }

  /**
   * Sleeps until the main bell has rung since `seen`, or for a moment. Then a stage that is late fails the
   * crew.
   */
  async wait(seen: number): Promise<void> {
    const { config, signals } = this.options;
    await signals.waitAsync("main", seen);
    for (const member of this.members.values()) this.collect(member);
    const late = this.watch.look(performance.now());
    if (late !== null) this.fail(lateStage(this.stateOf(late, true), config.stageTimeoutMs));
  }

  async end(): Promise<void> {
    this.isEnding = true;
    this.options.signals.stop();
    this.members.get("talker")?.worker.postMessage({ close: true });
    await Promise.all([...this.members.values()].map(endWorker));
  }
}

/**
 * Gives a stage time to free its model: ending a thread inside a native call can crash the process. A thread
 * that hangs in such a call ends only with the process.
 */
async function endWorker({ worker, exited }: Member): Promise<void> {
  await within(LIMITS.closeGraceMs, exited);
  await within(LIMITS.terminateGraceMs, worker.terminate());
}

async function within(milliseconds: number, done: Promise<unknown>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  await Promise.race([done, late]);
  clearTimeout(timer);
}
