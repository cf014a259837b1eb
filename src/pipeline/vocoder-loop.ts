// The vocoder as a thread: takes the codes of a lane chunk by chunk and writes their samples. Runs beside
// generation.

import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import type { OnOpening } from "../backends/stage.ts";
import { Track } from "../stages/timeline.ts";
import { VocoderStage } from "../stages/vocoder.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { Figures } from "./figures.ts";
import { Garbage } from "./garbage.ts";
import type { StageJob, ToVocoder } from "./messages.ts";
import { KIND, Ring } from "./ring.ts";
import { Signals } from "./signals.ts";
import { runStage, runToTheEnd } from "./stage.ts";

const port = parentPort as unknown as MessagePort;

export class VocoderLoop {
  private readonly signals: Signals;
  private readonly inputs: Ring[];
  private readonly outputs: Ring[];
  private readonly track: Track;
  private readonly figures: Figures;
  private readonly garbage = new Garbage();
  private readonly stage: VocoderStage;
  /** References that have arrived, by job. */
  private readonly references = new Map<number, ToVocoder>();

  constructor({ bundle, config, memory }: StageJob, onOpening: OnOpening) {
    this.signals = new Signals(memory.signals);
    this.inputs = memory.codes.map((ring) => new Ring(ring));
    this.outputs = memory.samples.map((ring) => new Ring(ring));
    this.track = new Track(memory.timeline.vocoder);
    this.figures = new Figures(memory.figures);
    const { loadTurn, memory: shared } = this.signals;
    this.stage = new VocoderStage({
      bundle,
      config,
      lanes: this.inputs.length,
      stop: shared.nativeStop,
      loadTurn,
      onOpening,
    });
  }

  get opened(): VocoderStage["opened"] {
    return this.stage.opened;
  }

  /** Blocks this thread until the stop word is set. */
  run(): void {
    try {
      while (!this.signals.stopped) {
        const seen = this.signals.read("vocoder");
        let worked = false;
        if (this.stage.overlaps) for (let lane = 0; lane < this.inputs.length; lane++) this.start(lane);
        for (let lane = 0; lane < this.inputs.length; lane++) worked = this.serve(lane) || worked;
        if (!worked) this.signals.wait("vocoder", seen);
      }
    } finally {
      this.stage.close();
    }
  }

  /** Begins a lane's next chunk where that is a whole one, so that it is computed beside another lane's. */
  private start(lane: number): void {
    const [input, output] = [this.inputs[lane], this.outputs[lane]];
    if (input.filled === 0 || output.free === 0 || input.kind() !== KIND.frame) return;
    const frames = this.chunkOf(lane);
    if (frames === 0 || this.signals.isCancelled(input.job())) return;
    this.takeCodes(input, frames);
    this.stage.start(lane, frames);
  }

  /** Copies the codes of the next frames to where the stage reads them. */
  private takeCodes(input: Ring, frames: number): void {
    for (let frame = 0; frame < frames; frame++)
      input.copyCodes(frame, this.stage.codes, frame * CODES_PER_FRAME);
  }

  /** Moves one lane on by at most a chunk. */
  private serve(lane: number): boolean {
    const [input, output] = [this.inputs[lane], this.outputs[lane]];
    if (input.filled === 0 || output.free === 0) return false;
    const kind = input.kind();
    const job = input.job();
    if (kind === KIND.start) {
      this.stage.begin(lane);
      if (input.primed) this.prime(lane, job);
      input.release(1);
    } else if (kind === KIND.end) {
      output.pushEnd(job, input.endReason());
      input.release(1);
      this.signals.ring("main");
      this.garbage.collect();
    } else {
      const frames = this.chunkOf(lane);
      if (frames === 0) return false;
      this.decode(lane, job, frames);
    }
    this.signals.ring("talker");
    return true;
  }

  private prime(lane: number, job: number): void {
    const reference = this.takeReference(job);
    if (reference === null) return; // stopping
    this.stage.hear(lane, reference.key, reference.codes, () => {
      this.track.live();
      return !this.signals.stopped && !this.signals.isCancelled(job);
    });
  }

  /** The message was sent before the job, but may arrive after it. */
  private takeReference(job: number): ToVocoder | null {
    while (!this.signals.stopped) {
      const seen = this.signals.read("vocoder");
      for (
        let received = receiveMessageOnPort(port);
        received !== undefined;
        received = receiveMessageOnPort(port)
      ) {
        const reference = received.message as ToVocoder;
        this.references.set(reference.job, reference);
      }
      const reference = this.references.get(job);
      this.references.delete(job);
      if (reference !== undefined) return reference;
      this.signals.wait("vocoder", seen);
    }
    return null;
  }

  /**
   * Frames of the next chunk: the full size, or what is left before the end. 0 while frames or room are
   * missing.
   */
  private chunkOf(lane: number): number {
    const input = this.inputs[lane];
    const size = this.stage.chunkFrames(lane);
    let frames = 0;
    while (frames < size && frames < input.filled && input.kind(frames) === KIND.frame) frames++;
    const ended = frames < input.filled && input.kind(frames) === KIND.end;
    return (frames === size || ended) && this.outputs[lane].free >= frames ? frames : 0;
  }

  private decode(lane: number, job: number, frames: number): void {
    const [input, output] = [this.inputs[lane], this.outputs[lane]];
    const { codes, frames: samples } = this.stage;
    if (!this.signals.isCancelled(job)) {
      const startMs = monotonicMs();
      this.takeCodes(input, frames);
      this.stage.decode(lane, frames);
      const endMs = monotonicMs();
      this.figures.add(job, "vocoderMs", endMs - startMs);
      this.figures.add(job, "vocoderFrames", frames);
      for (let frame = 0; frame < frames; frame++)
        output.pushFrame(job, codes, frame * CODES_PER_FRAME, input.textAt(frame), samples[frame]);
      this.track.record("decode", startMs, monotonicMs(), frames);
      this.garbage.grow(frames);
      this.signals.ring("main");
    }
    input.release(frames);
  }
}

/** Runs a worker to its end. */
export function runVocoder(job: StageJob): void {
  runStage("vocoder", job, (onOpening: OnOpening) => new VocoderLoop(job, onOpening), runToTheEnd);
}
