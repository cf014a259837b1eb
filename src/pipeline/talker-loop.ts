// The talker as a thread: sentences come as messages, frames go to the mailbox and the rings. All busy lanes
// move on together, one frame per turn, and wait for room together.

import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import type { OnOpening } from "../backends/stage.ts";
import { toWire } from "../errors.ts";
import { streamsOf } from "../stages/sentence.ts";
import { TalkerStage } from "../stages/talker.ts";
import { Track } from "../stages/timeline.ts";
import { CODES_PER_FRAME, type StopReason } from "../types.ts";
import { Figures } from "./figures.ts";
import { Garbage } from "./garbage.ts";
import { Mailbox } from "./mailbox.ts";
import type { FromStage, SpeakJob, StageJob, ToTalker } from "./messages.ts";
import { Ring } from "./ring.ts";
import { Signals } from "./signals.ts";
import { runStage } from "./stage.ts";

/** A start, a frame, and the block that a busy lane keeps free for its end. */
const BLOCKS_PER_TURN = 3;

export class TalkerLoop {
  private readonly signals: Signals;
  private readonly mailbox: Mailbox;
  private readonly rings: Ring[];
  private readonly track: Track;
  private readonly figures: Figures;
  private readonly garbage = new Garbage();
  private readonly stage: TalkerStage;
  /** What each lane is busy with. */
  private readonly lanes: (SpeakJob | null)[];
  /** The most urgent first; equal ones in the order they came. */
  private readonly waiting: SpeakJob[] = [];
  private readonly outgoing: Float32Array[]; // [hidden] of each packed row, in the mailbox
  private readonly inputs: Float32Array; // [lanes, hidden], packed
  private closing = false;
  private closed = false;

  private readonly home: MessagePort;

  constructor({ bundle, config, home, memory }: StageJob, onOpening: OnOpening) {
    this.home = home;
    const { lanes } = config;
    this.signals = new Signals(memory.signals);
    this.mailbox = new Mailbox(memory.mailbox, this.signals);
    this.rings = memory.codes.slice(0, lanes).map((ring) => new Ring(ring));
    this.track = new Track(memory.timeline.talker);
    this.figures = new Figures(memory.figures);
    this.lanes = Array.from({ length: lanes }, () => null);
    const { loadTurn, memory: shared } = this.signals;
    const options = { bundle, config, lanes, stop: shared.promptStop, loadTurn, onOpening };
    this.stage = new TalkerStage({ ...options, track: this.track, onPiece: () => this.track.live() });
    const { width } = this.stage;
    this.outgoing = this.lanes.map((_, row) => this.mailbox.hidden.subarray(row * width, (row + 1) * width));
    this.inputs = new Float32Array(new SharedArrayBuffer(4 * lanes * width));
  }

  get opened(): TalkerStage["opened"] {
    return this.stage.opened;
  }

  /**
   * Messages wake the loop when it is idle; while it runs, it looks for them between frames. `guard` reports
   * errors.
   */
  listen(guard: (work: () => void) => void): void {
    parentPort!.on("message", (message: ToTalker) => {
      guard(() => {
        if (this.closed) return; // stopped first, told to close afterwards
        this.accept(message);
        this.runUntilIdle();
        if (this.closing || this.signals.stopped) this.close();
      });
    });
  }

  private accept(message: ToTalker): void {
    if ("close" in message) this.closing = true;
    else for (const job of message.speak) this.queue(job);
  }

  private queue(job: SpeakJob): void {
    const behind = this.waiting.findIndex(({ priority }) => priority < job.priority);
    this.waiting.splice(behind < 0 ? this.waiting.length : behind, 0, job);
  }

  private runUntilIdle(): void {
    while (!this.signals.stopped) {
      const seen = this.signals.read("talker");
      this.takeMessages();
      this.endCancelled();
      if (!this.hasRoom) {
        this.signals.wait("talker", seen);
        continue;
      }
      this.fillLanes();
      const count = this.pack();
      if (count > 0) {
        if (!this.advance(count)) return;
        continue;
      }
      if (this.waiting.length === 0 && this.lanes.every((job) => job === null)) {
        if (this.stage.tidy()) continue; // messages first
        return;
      }
    }
  }

  /**
   * All lanes wait for the slowest one. If a step left it out, timing would decide which rows share a step,
   * and with some weight types a row's rounding depends on that.
   */
  private get hasRoom(): boolean {
    return this.rings.every((ring) => ring.free >= BLOCKS_PER_TURN);
  }

  private takeMessages(): void {
    for (;;) {
      const received = receiveMessageOnPort(parentPort as unknown as MessagePort);
      if (received === undefined) return;
      this.accept(received.message as ToTalker);
    }
  }

  private endCancelled(): void {
    for (let lane = 0; lane < this.lanes.length; lane++) {
      const job = this.lanes[lane];
      if (job !== null && this.signals.isCancelled(job.job)) this.endLane(lane, "cancelled");
    }
  }

  /** Takes the most urgent sentence that may begin now. */
  private takeWaiting(): SpeakJob | undefined {
    const at = this.waiting.findIndex(
      ({ oneByOne }) => oneByOne === 0 || this.lanes.every((job) => job?.oneByOne !== oneByOne),
    );
    return at < 0 ? undefined : this.waiting.splice(at, 1)[0];
  }

  /** Free lanes take waiting sentences. */
  private fillLanes(): void {
    for (let lane = 0; lane < this.lanes.length; lane++) {
      if (this.lanes[lane] !== null) continue;
      const job = this.takeWaiting();
      if (job === undefined) return;
      this.rings[lane].pushStart(job.job, job.reference !== null && job.reference.codes !== null);
      this.signals.ring("vocoder");
      try {
        this.begin(lane, job);
      } catch (error) {
        this.home.postMessage({ job: job.job, error: toWire(error) } satisfies FromStage);
        this.lanes[lane] = null;
        this.rings[lane].pushEnd(job.job, "failed");
      }
      this.signals.ring("vocoder");
    }
  }

  private begin(lane: number, job: SpeakJob): void {
    const alone = this.rings.every((ring) => ring.filled <= 1); // the start that was just written
    this.lanes[lane] = job;
    if (!this.computePrompt(lane, job, alone)) {
      this.endLane(lane, "cancelled"); // or all is stopping
      return;
    }
    const { computed, known, savedMs } = this.stage.taken;
    this.figures.add(job.job, "computedRows", computed);
    this.figures.add(job.job, "knownRows", known);
    this.figures.add(job.job, "savedMs", savedMs);
    this.mailbox.configure(lane, job.job, job.seed, streamsOf(job.stream).predictor, job.sampling.predictor);
    this.endIfOver(lane);
  }

  /** @returns false when the job was cancelled meanwhile, or everything is stopping */
  private computePrompt(lane: number, job: SpeakJob, alone: boolean): boolean {
    this.signals.beginPrompt(job.job);
    try {
      return !this.signals.isCancelled(job.job) && this.stage.begin(lane, job, alone);
    } finally {
      this.signals.endPrompt(job.job);
    }
  }

  private endIfOver(lane: number): void {
    const stop = this.stage.stopOf(lane);
    if (stop !== null) this.endLane(lane, stop);
  }

  /** A busy lane always keeps one free block for its end. */
  private endLane(lane: number, reason: StopReason): void {
    this.rings[lane].pushEnd(this.lanes[lane]!.job, reason);
    this.lanes[lane] = null;
    this.signals.ring("vocoder");
    this.garbage.collect();
  }

  /** Puts every busy lane into the mailbox and returns their number. */
  private pack(): number {
    let count = 0;
    for (let lane = 0; lane < this.lanes.length; lane++) {
      if (this.lanes[lane] === null) continue;
      this.mailbox.lanes[count] = lane;
      this.outgoing[count].set(this.stage.hiddenOf(lane));
      this.mailbox.codes[count * CODES_PER_FRAME] = this.stage.code0Of(lane);
      count++;
    }
    return count;
  }

  /** One frame for every packed lane. @returns false on stop */
  private advance(count: number): boolean {
    const { lanes } = this.mailbox;
    const handedMs = monotonicMs();
    if (!this.mailbox.exchange(count)) return false;
    const startMs = monotonicMs();
    this.track.record("exchange", handedMs, startMs, count);
    this.emit(count);
    if (!this.stage.step(lanes, count, this.inputs)) return false;
    const endMs = monotonicMs();
    this.track.record("step", startMs, endMs, count);
    this.garbage.grow(count);
    for (let row = 0; row < count; row++) {
      const { job } = this.lanes[lanes[row]]!;
      this.figures.add(job, "talkerMs", (endMs - startMs) / count);
      this.figures.add(job, "talkerFrames", 1);
      this.endIfOver(lanes[row]);
    }
    return true;
  }

  /**
   * Sends the finished frames on and forms the next inputs: feedback plus the text row that belongs to the
   * frame.
   */
  private emit(count: number): void {
    const { codes, feedback, lanes } = this.mailbox;
    this.inputs.set(feedback);
    for (let row = 0; row < count; row++) {
      const lane = lanes[row];
      this.rings[lane].pushFrame(
        this.lanes[lane]!.job,
        codes,
        row * CODES_PER_FRAME,
        this.stage.textAtOf(lane),
      );
      this.stage.addText(lane, this.inputs, row * this.stage.width);
    }
    this.signals.ring("vocoder");
  }

  private close(): void {
    this.closed = true;
    this.stage.close();
    parentPort!.close();
  }
}

/** Runs a worker to its end. */
export function runTalker(job: StageJob): void {
  runStage(
    "talker",
    job,
    (onOpening: OnOpening) => new TalkerLoop(job, onOpening),
    (loop, guard) => loop.listen(guard), // it ends by itself
  );
}
