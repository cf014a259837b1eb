// The code predictor as a thread: waits for the talker's rows, fills in codes 1 to 15, and sums the 16 code
// embeddings as feedback.

import { monotonicMs } from "../../ffi/libc.ts";
import type { OnOpening, Predictor } from "../backends/stage.ts";
import { Embedder } from "../stages/embed.ts";
import { PredictorStage } from "../stages/predictor.ts";
import { Track } from "../stages/timeline.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { DRAFTS, Figures } from "./figures.ts";
import { Garbage } from "./garbage.ts";
import { Mailbox } from "./mailbox.ts";
import type { StageJob } from "./messages.ts";
import { Signals } from "./signals.ts";
import { runStage, runToTheEnd } from "./stage.ts";

export class PredictorLoop {
  private readonly mailbox: Mailbox;
  private readonly track: Track;
  private readonly figures: Figures;
  private readonly garbage = new Garbage();
  private readonly stage: PredictorStage;
  private readonly embedder: Embedder;
  /** The job that each lane draws for. */
  private readonly jobs: number[];

  constructor({ bundle, config, memory }: StageJob, onOpening: OnOpening) {
    const signals = new Signals(memory.signals);
    this.mailbox = new Mailbox(memory.mailbox, signals);
    this.track = new Track(memory.timeline.predictor);
    this.figures = new Figures(memory.figures);
    this.jobs = Array.from({ length: config.lanes }, () => 0);
    this.embedder = new Embedder(bundle); // before the device is taken: this may fail
    const { loadTurn, memory: shared } = signals;
    this.stage = new PredictorStage({
      bundle,
      config,
      lanes: config.lanes,
      stop: shared.nativeStop,
      loadTurn,
      onOpening,
    });
  }

  get opened(): PredictorStage["opened"] {
    return this.stage.opened;
  }

  /** Blocks this thread until the stop word is set. */
  run(): void {
    try {
      while (this.mailbox.receive()) this.answer();
    } finally {
      this.stage.close();
      this.embedder.close();
    }
  }

  /** One frame of every row in the mailbox. */
  private answer(): void {
    const startMs = monotonicMs();
    const { count, lanes, hidden, codes, feedback } = this.mailbox;
    for (let row = 0; row < count; row++) this.followJob(lanes[row]);
    this.stage.predict(lanes, count, hidden, codes);
    for (let row = 0; row < count; row++)
      this.embedder.feedback(codes, row * CODES_PER_FRAME, feedback, row * this.embedder.hidden);
    const endMs = monotonicMs();
    this.track.record("predict", startMs, endMs, count);
    this.garbage.grow(count);
    for (let row = 0; row < count; row++) {
      this.figures.add(this.jobs[lanes[row]], "predictorMs", (endMs - startMs) / count);
      this.figures.add(this.jobs[lanes[row]], "predictorFrames", 1);
    }
    this.count(count, lanes);
    this.mailbox.answer();
    this.garbage.collect(); // while the talker has its turn
  }

  /** The calls of the frame, and what became of its drafts: only a single lane has any. */
  private count(count: number, lanes: Int32Array): void {
    const { tally } = this.stage;
    for (let row = 0; row < count; row++)
      this.figures.add(this.jobs[lanes[row]], "predictorCalls", tally?.calls ?? 1);
    if (tally === undefined) return;
    for (let i = 0; i < tally.tried.length; i++) {
      this.figures.add(this.jobs[lanes[0]], DRAFTS[i].tried, tally.tried[i]);
      this.figures.add(this.jobs[lanes[0]], DRAFTS[i].right, tally.right[i]);
    }
  }

  private followJob(lane: number): void {
    const job = this.mailbox.jobOf(lane);
    if (this.jobs[lane] === job) return;
    const { settings, seed, stream } = this.mailbox.settingsOf(lane);
    this.stage.begin(lane, settings, seed, stream);
    this.jobs[lane] = job;
  }
}

/** Runs a worker to its end. */
export function runPredictor(job: StageJob): void {
  const limits = (predictor: Predictor) => predictor.drawsInside ?? null;
  runStage(
    "predictor",
    job,
    (onOpening: OnOpening) => new PredictorLoop(job, onOpening),
    runToTheEnd,
    (loop) => limits(loop.opened.stage),
  );
}
