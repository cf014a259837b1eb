// The vocoder stage: takes the codes of a lane chunk by chunk and writes their samples. Runs beside generation.

import { chooseBackend, VOCODERS, type Vocoder } from "../backends/index.ts";
import { VOCODER_CHUNK_FRAMES, VOCODER_CHUNKS } from "../config.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../types.ts";
import { KIND, Ring } from "./ring.ts";
import { Signals } from "./signals.ts";
import { type StageJob, TOTALS } from "./wire.ts";

export class VocoderStage {
  readonly backend: string;
  private readonly signals: Signals;
  private readonly inputs: Ring[];
  private readonly outputs: Ring[];
  private readonly totals: Float64Array;
  private readonly vocoder: Vocoder;
  /** Chunks decoded in each lane since its start. */
  private readonly chunks: number[];
  private readonly codes = new Int32Array(VOCODER_CHUNK_FRAMES * CODES_PER_FRAME);
  private readonly samples = new Float32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME));
  /** The samples of each frame of a chunk. */
  private readonly frames = Array.from({ length: VOCODER_CHUNK_FRAMES }, (_, i) => {
    return this.samples.subarray(i * SAMPLES_PER_FRAME, (i + 1) * SAMPLES_PER_FRAME);
  });

  constructor({ bundle, config, memory }: StageJob) {
    this.signals = new Signals(memory.signals);
    this.inputs = memory.codes.map((ring) => new Ring(ring));
    this.outputs = memory.samples.map((ring) => new Ring(ring));
    this.chunks = memory.codes.map(() => 0);
    this.totals = new Float64Array(memory.totals);
    const backend = chooseBackend("vocoder", VOCODERS, "auto", config);
    this.backend = backend.name;
    this.vocoder = backend.open({
      bundle,
      config,
      lanes: this.inputs.length,
      stop: memory.signals.nativeStop,
      loadTurn: this.signals.loadTurn,
    });
  }

  /** Blocks this thread until the stop word is set. */
  run(): void {
    while (!this.signals.stopped) {
      const seen = this.signals.read("vocoder");
      let worked = false;
      for (let lane = 0; lane < this.inputs.length; lane++) worked = this.serve(lane) || worked;
      if (!worked) this.signals.wait("vocoder", seen);
    }
    this.vocoder.close();
  }

  /** Moves one lane on by at most a chunk. */
  private serve(lane: number): boolean {
    const [input, output] = [this.inputs[lane], this.outputs[lane]];
    if (input.filled === 0 || output.free === 0) return false;
    const kind = input.kind();
    const job = input.job();
    if (kind === KIND.start) {
      this.vocoder.reset(lane);
      this.chunks[lane] = 0;
      input.release(1);
    } else if (kind === KIND.end) {
      output.pushEnd(job, input.stopReason());
      input.release(1);
      this.signals.ring("main");
    } else {
      const frames = this.chunkOf(lane);
      if (frames === 0) return false;
      this.decode(lane, job, frames);
    }
    this.signals.ring("talker");
    return true;
  }

  /** Frames of the next chunk: the full size, or what is left before the end. 0 while frames or room are missing. */
  private chunkOf(lane: number): number {
    const input = this.inputs[lane];
    const size = VOCODER_CHUNKS[Math.min(this.chunks[lane], VOCODER_CHUNKS.length - 1)];
    let frames = 0;
    while (frames < size && frames < input.filled && input.kind(frames) === KIND.frame) frames++;
    const ended = frames < input.filled && input.kind(frames) === KIND.end;
    return (frames === size || ended) && this.outputs[lane].free >= frames ? frames : 0;
  }

  private decode(lane: number, job: number, frames: number): void {
    const [input, output] = [this.inputs[lane], this.outputs[lane]];
    if (!this.signals.isCancelled(job)) {
      const before = performance.now();
      for (let frame = 0; frame < frames; frame++) input.copyCodes(frame, this.codes, frame * CODES_PER_FRAME);
      this.vocoder.decode(lane, this.codes, frames, this.samples);
      for (let frame = 0; frame < frames; frame++) {
        output.pushFrame(job, this.codes, frame * CODES_PER_FRAME, this.frames[frame]);
      }
      this.totals[TOTALS.vocoderMs] += performance.now() - before;
      this.totals[TOTALS.vocoderFrames] += frames;
      this.signals.ring("main");
    }
    this.chunks[lane]++;
    input.release(frames);
  }
}
