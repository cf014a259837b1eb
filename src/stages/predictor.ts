// The code predictor: codes 1 to 15 of a frame from the talker's hidden state and code 0. A line is a
// sequence of draws, for a lane or for a client. Synchronous, without transport. Nothing is allocated per
// frame.

import { openBackend } from "../backends/open.ts";
import { PREDICTORS } from "../backends/predictor/index.ts";
import type { Chances, Draw, Opened, OpenOptions, Predictor, Tally } from "../backends/stage.ts";
import { expectedMs } from "../formats/bundle.ts";
import { Sampler } from "../sampler.ts";
import type { SamplerSettings } from "../types.ts";

export class PredictorStage {
  readonly opened: Opened<Predictor>;
  private readonly predictor: Predictor;
  private readonly codes: number;
  private readonly samplers: Sampler[] = [];
  /** The line of each packed row of the frames under way. */
  private lines = new Int32Array(0);
  private readonly draw: Draw = (row, _group, logits) => this.samplers[this.lines[row]].draw(logits);
  private readonly chances: Chances = {
    settings: (row) => this.samplers[this.lines[row]].settings,
    draft: (row, _group, ahead, logits) => this.samplers[this.lines[row]].guess(logits, ahead),
    noise: (row, target) => this.samplers[this.lines[row]].noise(target),
  };

  /** @throws TtsError as opening a code predictor does */
  constructor(options: OpenOptions) {
    const { bundle, config } = options;
    this.codes = bundle.manifest.shape.codes;
    this.opened = openBackend(PREDICTORS, config.predictor, options, expectedMs(bundle.manifest));
    this.predictor = this.opened.stage;
  }

  /** Sets what a line draws with from now on. Lines count from 0; a new one takes the next number. */
  begin(line: number, settings: SamplerSettings, seed: number, stream: number): void {
    while (this.samplers.length <= line)
      this.samplers.push(new Sampler({ size: this.codes, codes: this.codes, eos: -1 }));
    this.samplers[line].reset(settings, seed, stream);
  }

  /**
   * One frame of `count` lines, at most as many as the options have lanes.
   * @param lines i32, whose first `count` entries are the lines of the rows
   * @param hidden f32 [count, hidden] in shared memory
   * @param codes i32 [count, 16] in shared memory: holds code 0 of each row and gets the others
   */
  predict(lines: Int32Array, count: number, hidden: Float32Array, codes: Int32Array): void {
    this.lines = lines as Int32Array<ArrayBuffer>;
    this.predictor.predict(count, hidden, codes, this.draw, this.chances);
  }

  /** How the last frame was made; undefined for a predictor that makes a frame in one call. */
  get tally(): Tally | undefined {
    return this.predictor.tally;
  }

  close(): void {
    this.predictor.close();
  }
}
