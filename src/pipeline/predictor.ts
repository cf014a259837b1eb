// The code predictor stage: waits for the talker's rows, fills in codes 1 to 15, and sums the 16 code embeddings for the way back.

import { monotonicMs } from "../../ffi/libc.ts";
import { openBackend, PREDICTORS } from "../backends/index.ts";
import type { Chances, Draw, OnOpening, Opened, Predictor } from "../backends/stage.ts";
import { Sampler } from "../sampler.ts";
import { Embedder } from "../stages/embed.ts";
import { Track } from "../stages/timeline.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { Mailbox } from "./mailbox.ts";
import type { StageJob } from "./messages.ts";
import { Signals } from "./signals.ts";

export class PredictorStage {
  readonly opened: Opened<Predictor>;
  private readonly mailbox: Mailbox;
  private readonly track: Track;
  private readonly predictor: Predictor;
  private readonly embedder: Embedder;
  private readonly samplers: Sampler[];
  /** The job each lane's sampler was reset for. */
  private readonly jobs: number[];
  private readonly draw: Draw = (row, _group, logits) => this.samplers[this.mailbox.lanes[row]].draw(logits);

  private readonly chances: Chances = {
    settings: (row) => this.samplers[this.mailbox.lanes[row]].settings,
    noise: (row, target) => this.samplers[this.mailbox.lanes[row]].noise(target),
  };

  constructor({ bundle, config, memory }: StageJob, onOpening: OnOpening) {
    const signals = new Signals(memory.signals);
    this.mailbox = new Mailbox(memory.mailbox, signals);
    this.track = new Track(memory.timeline.predictor);
    const { loadTurn, memory: shared } = signals;
    const options = { bundle, config, lanes: config.lanes, stop: shared.nativeStop, loadTurn, onOpening };
    this.embedder = new Embedder(bundle); // before the device is taken: this may fail
    this.opened = openBackend(PREDICTORS, config.predictor, options, bundle.manifest.predictorMs);
    this.predictor = this.opened.stage;
    const { codes } = bundle.manifest.shape;
    this.samplers = Array.from({ length: config.lanes }, () => new Sampler({ size: codes, codes, eos: -1 }));
    this.jobs = Array.from({ length: config.lanes }, () => 0);
  }

  /** Blocks this thread until the stop word is set. */
  run(): void {
    try {
      while (this.mailbox.receive()) this.answer();
    } finally {
      this.predictor.close();
      this.embedder.close();
    }
  }

  /** One frame of every row in the mailbox. */
  private answer(): void {
    const startMs = monotonicMs();
    const { count, lanes, hidden, codes, feedback } = this.mailbox;
    for (let row = 0; row < count; row++) this.followJob(lanes[row]);
    this.predictor.predict(count, hidden, codes, this.draw, this.chances);
    for (let row = 0; row < count; row++) this.embedder.feedback(codes, row * CODES_PER_FRAME, feedback, row * this.embedder.hidden);
    this.track.record("predict", startMs, monotonicMs(), count);
    this.mailbox.answer();
  }

  private followJob(lane: number): void {
    const job = this.mailbox.jobOf(lane);
    if (this.jobs[lane] === job) return;
    const { settings, seed, stream } = this.mailbox.settingsOf(lane);
    this.samplers[lane].reset(settings, seed, stream);
    this.jobs[lane] = job;
  }
}
