// MP3 at a constant rate, with LAME. The first frame is silent and says what LAME has added: decoders then
// leave it out. Of a stream they know the start alone, so that up to 0.1 s of silence may follow its end.

import { createEncoder, type WasmMediaEncoder } from "wasm-media-encoders/esnext";
import { infoFrame } from "./_info-frame.ts";
import type { Codec } from "./encoder.ts";

const KILOBITS_PER_SECOND = 96;

type Mp3Encoder = WasmMediaEncoder<"audio/mpeg">;

/**
 * Instances of LAME that nobody uses. Each has 16 MB of memory: taking and collecting that for every sound of
 * a server holds its speeches up.
 */
const spare: Mp3Encoder[] = [];
const MOST_SPARE = 4;

/** LAME, compiled once. */
let compiled: Promise<WebAssembly.Module> | null = null;

async function compile(): Promise<WebAssembly.Module> {
  // @ts-expect-error: not code, but a file, which a binary carries; what comes is its path
  const { default: path } = await import("wasm-media-encoders/wasm/mp3", { with: { type: "file" } });
  return WebAssembly.compile(await Bun.file(path).arrayBuffer());
}

export async function openMp3(rateHz: number): Promise<Codec> {
  compiled ??= compile();
  const encoder = spare.pop() ?? (await createEncoder("audio/mpeg", await compiled));
  const outputSampleRate = rateHz as 24_000;
  encoder.configure({ channels: 1, sampleRate: rateHz, bitrate: KILOBITS_PER_SECOND, outputSampleRate });
  return new Mp3Codec(encoder, rateHz);
}

class Mp3Codec implements Codec {
  private bytes = 0;

  constructor(
    private readonly encoder: Mp3Encoder,
    private readonly rateHz: number,
  ) {}

  head(samples: number | null): Uint8Array {
    const { bytes, rateHz } = this;
    return infoFrame({
      rateHz,
      kilobits: KILOBITS_PER_SECOND,
      sound: samples === null ? null : { bytes, samples },
    });
  }

  encode(samples: Float32Array): Uint8Array {
    return this.taken(this.encoder.encode([samples]));
  }

  flush(): Uint8Array {
    return this.taken(this.encoder.finalize());
  }

  /** The next sound begins as with a new instance: configuring it frees what is left of this one. */
  free(): void {
    if (spare.length < MOST_SPARE) spare.push(this.encoder);
  }

  /** The encoder writes the next bytes into the same memory. */
  private taken(bytes: Uint8Array): Uint8Array {
    this.bytes += bytes.length;
    return bytes.slice();
  }
}
