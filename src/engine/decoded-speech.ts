// Known codes, decoded by the vocoder alone.

import { KIND } from "../pipeline/ring.ts";
import { CODES_PER_FRAME } from "../types.ts";
import { type AudioChunk, type DecodeLane, takeFrames } from "./jobs.ts";
import { type SoundRequest, type SpeechHost, TimedSpeech } from "./sounding.ts";

export class DecodedSpeech extends TimedSpeech {
  protected readonly seed = 0;
  private lane: DecodeLane | null = null;
  /** The next block to send: -1 is the start, then come the frames and the end. */
  private sent = -1;

  constructor(
    host: SpeechHost,
    private readonly codes: Int32Array,
    request: SoundRequest,
  ) {
    super(host, request);
  }

  protected async *chunks(): AsyncGenerator<AudioChunk> {
    const { host } = this;
    const taken: { lane: DecodeLane | null } = { lane: null };
    void host.jobs.takeDecodeLane().then((lane) => {
      taken.lane = lane;
      host.signals.ring("main");
      if (this.cancelled) lane.release(); // its turn came too late
    });
    while (!this.cancelled) {
      const seen = host.signals.read("main");
      if (host.failure !== null) throw host.failure;
      if (taken.lane !== null) return yield* this.decode(taken.lane);
      await host.wait(seen);
    }
    taken.lane?.release();
  }

  private async *decode(lane: DecodeLane): AsyncGenerator<AudioChunk> {
    const { host } = this;
    this.lane = lane;
    try {
      while (!this.cancelled) {
        const seen = host.signals.read("main");
        if (host.failure !== null) throw host.failure;
        this.send(lane);
        if (lane.samples.filled === 0) await host.wait(seen);
        else if (lane.samples.kind() === KIND.frame) {
          const chunk = takeFrames(lane.samples, 0);
          host.signals.ring("vocoder");
          yield chunk;
        } else {
          lane.samples.release(1);
          this.lane = null;
          return;
        }
      }
    } finally {
      host.jobs.addFigures(this.figures, lane.job);
      if (this.lane === null) lane.release();
      else void this.discard(lane);
    }
  }

  private send(lane: DecodeLane): void {
    const frames = this.codes.length / CODES_PER_FRAME;
    for (; this.sent <= frames && lane.codes.free > 0; this.sent++) {
      if (this.sent < 0) lane.codes.pushStart(lane.job);
      else if (this.sent < frames)
        lane.codes.pushFrame(lane.job, this.codes, this.sent * CODES_PER_FRAME, -1);
      else lane.codes.pushEnd(lane.job, "eos");
      this.host.signals.ring("vocoder");
    }
  }

  protected abandon(): void {
    if (this.lane !== null) this.host.signals.cancel(this.lane.job);
  }

  /** Empties the lane up to its end block, in the background, so that the next text finds it clean. */
  private async discard(lane: DecodeLane): Promise<void> {
    const { host } = this;
    host.signals.cancel(lane.job);
    // only the end is still to be sent
    if (this.sent >= 0) this.sent = Math.max(this.sent, this.codes.length / CODES_PER_FRAME);
    for (let ended = this.sent < 0; !ended && host.failure === null; ) {
      const seen = host.signals.read("main");
      this.send(lane);
      ended = lane.samples.filled > 0 && lane.samples.kind() === KIND.end;
      if (lane.samples.filled > 0) lane.samples.release(1);
      else await host.wait(seen);
      host.signals.ring("vocoder");
    }
    lane.release();
  }
}
