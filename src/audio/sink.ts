// Where sound goes: samples in, wav or raw bytes out, to a file or a stream.

import { type Output, openOutput } from "../io/output.ts";
import { toS16le } from "./pcm.ts";
import { wavHeader } from "./wav.ts";

export const FORMATS = ["wav", "pcm"] as const;
/** pcm is raw 16-bit little-endian, mono. */
export type Format = (typeof FORMATS)[number];

/** Takes samples in order. Finish or abandon ends it; abandoning what has ended does nothing. */
export interface Sink {
  /** @throws TtsError OUTPUT_FAILED */
  write(samples: Float32Array): Promise<void>;
  /** @throws TtsError OUTPUT_FAILED */
  finish(): Promise<void>;
  /** Leaves nothing half-made behind. Never throws. */
  abandon(): void;
}

/**
 * Opens an output for sound; see {@link openOutput}.
 * @throws TtsError OUTPUT_FAILED
 */
export async function openSink(path: string, format: Format, rateHz: number): Promise<Sink> {
  return new SoundSink(await openOutput(path), format, rateHz);
}

/** Several sinks as one. Each gets everything, in turn; they finish in their order. */
export function toEach(sinks: readonly Sink[]): Sink {
  if (sinks.length === 1) return sinks[0];
  return {
    async write(samples) {
      for (const sink of sinks) await sink.write(samples);
    },
    async finish() {
      for (const sink of sinks) await sink.finish();
    },
    abandon() {
      for (const sink of sinks) sink.abandon();
    },
  };
}

class SoundSink implements Sink {
  private samples = 0;
  private started = false;

  constructor(
    private readonly output: Output,
    private readonly format: Format,
    private readonly rateHz: number,
  ) {}

  /**
   * Writes a header without the length, which is not known yet: a file gets it at the end, a stream never.
   */
  private async start(): Promise<void> {
    if (this.format === "wav" && !this.started) await this.output.write(wavHeader(null, this.rateHz));
    this.started = true;
  }

  async write(samples: Float32Array): Promise<void> {
    await this.start();
    await this.output.write(toS16le(samples));
    this.samples += samples.length;
  }

  async finish(): Promise<void> {
    await this.start();
    if (this.format === "wav" && this.output.seekable)
      await this.output.rewrite(wavHeader(this.samples, this.rateHz));
    await this.output.finish();
  }

  abandon(): void {
    this.output.abandon();
  }
}
