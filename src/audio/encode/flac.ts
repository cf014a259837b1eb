// FLAC with libFLAC: the same 16-bit samples as in a wav. In a stream the first block, STREAMINFO, does not
// know the length and the MD5 of the sound; readers then go on to the end.

import flac, { type StreamMetadata } from "libflacjs/dist/libflac.js";
import { toS16 } from "../pcm.ts";
import { BLOCK_SAMPLES, type Codec, inOne } from "./encoder.ts";

const BITS = 16;
const COMPRESSION = 5; // libFLAC's own default
/** 48 ms at 24 kHz: the first bytes come with the first 80 ms. 4096 would come later and save 2 %. */
const BLOCK_SIZE = 1152;
/** Where STREAMINFO begins: behind the signature and the header of its block. */
const INFO_AT = 8;
const INFO_BYTES = 34;

export async function openFlac(rateHz: number): Promise<Codec> {
  if (!flac.isReady()) await new Promise((resolve) => flac.on("ready", resolve));
  return new FlacCodec(rateHz);
}

class FlacCodec implements Codec {
  private readonly encoder: number;
  private readonly integers = new Int32Array(BLOCK_SAMPLES);
  private readonly opening: Uint8Array;
  private ready: Uint8Array[] = [];
  private info: StreamMetadata | null = null;

  constructor(private readonly rateHz: number) {
    this.encoder = flac.create_libflac_encoder(rateHz, 1, BITS, COMPRESSION, 0, false, BLOCK_SIZE);
    const status = flac.init_encoder_stream(
      this.encoder,
      (bytes) => void this.ready.push(bytes), // a copy
      (info) => {
        if (info !== undefined) this.info = info;
      },
    );
    if (this.encoder === 0 || status !== 0) throw new Error(`libFLAC cannot start (status ${status})`);
    this.opening = Buffer.concat(this.taken());
  }

  head(samples: number | null): Uint8Array {
    if (samples === null || this.info === null) return this.opening;
    const head = Buffer.from(this.opening);
    head.set(streamInfo(this.info, samples, this.rateHz), INFO_AT);
    return head;
  }

  encode(samples: Float32Array): Uint8Array {
    const { encoder, integers } = this;
    for (let i = 0; i < samples.length; i++) integers[i] = toS16(samples[i]);
    const block = integers.subarray(0, samples.length);
    if (!flac.FLAC__stream_encoder_process_interleaved(encoder, block, samples.length))
      throw new Error(`libFLAC failed (state ${flac.FLAC__stream_encoder_get_state(encoder)})`);
    return inOne(this.taken());
  }

  flush(): Uint8Array {
    flac.FLAC__stream_encoder_finish(this.encoder);
    return inOne(this.taken());
  }

  free(): void {
    flac.FLAC__stream_encoder_delete(this.encoder);
  }

  private taken(): Uint8Array[] {
    const { ready } = this;
    this.ready = [];
    return ready;
  }
}

/** RFC 9639, 8.2. A frame size of 0 is not known, which it is not without a frame. */
function streamInfo(info: StreamMetadata, samples: number, rateHz: number): Uint8Array {
  const bytes = Buffer.alloc(INFO_BYTES);
  bytes.writeUInt16BE(BLOCK_SIZE, 0);
  bytes.writeUInt16BE(BLOCK_SIZE, 2);
  bytes.writeUIntBE(samples === 0 ? 0 : info.min_framesize, 4, 3);
  bytes.writeUIntBE(info.max_framesize, 7, 3);
  // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples
  bytes.writeBigUInt64BE((BigInt(rateHz) << 44n) | (BigInt(BITS - 1) << 36n) | BigInt(samples), 10);
  bytes.write(info.md5sum, 18, "hex");
  return bytes;
}
