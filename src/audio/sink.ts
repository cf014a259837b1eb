// Where sound goes: samples in, bytes of a format out, to a file or a stream.

import { type Output, openOutput } from "../io/output.ts";
import type { Encoder } from "./encode/encoder.ts";
import type { Format } from "./encode/formats.ts";
import { openEncoder } from "./encode/open.ts";

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
 * @throws TtsError OUTPUT_FAILED; USAGE for a rate that the format has not
 */
export async function openSink(path: string, format: Format, rateHz: number): Promise<Sink> {
  const output = await openOutput(path);
  try {
    return new SoundSink(output, await openEncoder(format, rateHz));
  } catch (error) {
    output.abandon();
    throw error;
  }
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

/** A file's header learns the length at the end, a stream's never. */
class SoundSink implements Sink {
  constructor(
    private readonly output: Output,
    private readonly encoder: Encoder,
  ) {}

  async write(samples: Float32Array): Promise<void> {
    await this.pass(this.encoder.push(samples));
  }

  async finish(): Promise<void> {
    await this.pass(this.encoder.end());
    if (this.output.seekable) await this.output.rewrite(this.encoder.header);
    await this.output.finish();
  }

  abandon(): void {
    this.encoder.close();
    this.output.abandon();
  }

  private async pass(bytes: Uint8Array): Promise<void> {
    if (bytes.length > 0) await this.output.write(bytes);
  }
}
