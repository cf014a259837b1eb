// The vocoder stage: takes the codes of a lane chunk by chunk and writes their samples. Runs beside generation.

import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import { openBackend, VOCODERS } from "../backends/index.ts";
import type { OnOpening, Opened, Vocoder, VocoderMemory } from "../backends/stage.ts";
import { REMEMBERED_REFERENCES, VOCODER_CHUNK_FRAMES } from "../config.ts";
import { Track } from "../stages/timeline.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../types.ts";
import type { StageJob, ToVocoder } from "./messages.ts";
import { KIND, Ring } from "./ring.ts";
import { Signals } from "./signals.ts";

const port = parentPort as unknown as MessagePort;

export class VocoderStage {
  readonly opened: Opened<Vocoder>;
  private readonly signals: Signals;
  private readonly inputs: Ring[];
  private readonly outputs: Ring[];
  private readonly track: Track;
  /** References that have arrived, by job. */
  private readonly references = new Map<number, ToVocoder>();
  /** Key of a reference -> what the vocoder remembers of it; the oldest goes first. */
  private readonly heard = new Map<string, VocoderMemory>();
  private readonly vocoder: Vocoder;
  /** Chunks decoded in each lane since its start. */
  private readonly chunks: number[];
  private readonly codes = new Int32Array(VOCODER_CHUNK_FRAMES * CODES_PER_FRAME);
  private readonly samples = new Float32Array(new SharedArrayBuffer(4 * VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME));
  /** The samples of each frame of a chunk. */
  private readonly frames = Array.from({ length: VOCODER_CHUNK_FRAMES }, (_, i) => {
    return this.samples.subarray(i * SAMPLES_PER_FRAME, (i + 1) * SAMPLES_PER_FRAME);
  });

  constructor({ bundle, config, memory }: StageJob, onOpening: OnOpening) {
    this.signals = new Signals(memory.signals);
    this.inputs = memory.codes.map((ring) => new Ring(ring));
    this.outputs = memory.samples.map((ring) => new Ring(ring));
    this.chunks = memory.codes.map(() => 0);
    this.track = new Track(memory.timeline.vocoder);
    const { loadTurn, memory: shared } = this.signals;
    const options = { bundle, config, lanes: this.inputs.length, stop: shared.nativeStop, loadTurn, onOpening };
    this.opened = openBackend(VOCODERS, config.vocoder, options);
    this.vocoder = this.opened.stage;
  }

  /** Blocks this thread until the stop word is set. */
  run(): void {
    try {
      while (!this.signals.stopped) {
        const seen = this.signals.read("vocoder");
        let worked = false;
        for (let lane = 0; lane < this.inputs.length; lane++) worked = this.serve(lane) || worked;
        if (!worked) this.signals.wait("vocoder", seen);
      }
    } finally {
      this.vocoder.close();
    }
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
      if (input.primed) this.prime(lane, job);
      input.release(1);
    } else if (kind === KIND.end) {
      output.pushEnd(job, input.endReason());
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

  /** Lets a lane hear the job's reference; its sound is thrown away. What was heard is remembered for the next sentence. */
  private prime(lane: number, job: number): void {
    const reference = this.takeReference(job);
    if (reference === null) return; // stopping
    const known = this.heard.get(reference.key);
    if (known !== undefined) {
      this.vocoder.restore(lane, known);
      return;
    }
    const frames = reference.codes.length / CODES_PER_FRAME;
    for (let from = 0; from < frames; from += VOCODER_CHUNK_FRAMES) {
      if (this.signals.stopped || this.signals.isCancelled(job)) return;
      const count = Math.min(VOCODER_CHUNK_FRAMES, frames - from);
      this.vocoder.decode(lane, reference.codes.subarray(from * CODES_PER_FRAME), count, this.samples);
      this.track.live();
    }
    if (this.heard.size >= REMEMBERED_REFERENCES) this.heard.delete(this.heard.keys().next().value!);
    this.heard.set(reference.key, this.vocoder.save(lane));
  }

  /** The message was sent before the job, but threads do not promise which arrives first. */
  private takeReference(job: number): ToVocoder | null {
    while (!this.signals.stopped) {
      const seen = this.signals.read("vocoder");
      for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
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

  /** Frames of the next chunk: the full size, or what is left before the end. 0 while frames or room are missing. */
  private chunkOf(lane: number): number {
    const input = this.inputs[lane];
    const { chunks } = this.vocoder;
    const size = chunks[Math.min(this.chunks[lane], chunks.length - 1)];
    let frames = 0;
    while (frames < size && frames < input.filled && input.kind(frames) === KIND.frame) frames++;
    const ended = frames < input.filled && input.kind(frames) === KIND.end;
    return (frames === size || ended) && this.outputs[lane].free >= frames ? frames : 0;
  }

  private decode(lane: number, job: number, frames: number): void {
    const [input, output] = [this.inputs[lane], this.outputs[lane]];
    if (!this.signals.isCancelled(job)) {
      const startMs = monotonicMs();
      for (let frame = 0; frame < frames; frame++) input.copyCodes(frame, this.codes, frame * CODES_PER_FRAME);
      this.vocoder.decode(lane, this.codes, frames, this.samples);
      for (let frame = 0; frame < frames; frame++) {
        output.pushFrame(job, this.codes, frame * CODES_PER_FRAME, this.frames[frame]);
      }
      this.track.record("decode", startMs, monotonicMs(), frames);
      this.signals.ring("main");
    }
    this.chunks[lane]++;
    input.release(frames);
  }
}
