// 16-bit mono sound as RIFF/WAVE: a header and raw samples. Pure.

import { SAMPLE_RATE_HZ } from "../../types.ts";
import { PcmCodec } from "./pcm.ts";

export const WAV_HEADER_BYTES = 44;
const BYTES_PER_SAMPLE = 2;
const PCM = 1;
/** What players take for "until the stream ends". */
const UNKNOWN = 0xffffffff;
/** The sizes in the header are 32 bits wide. */
const MAX_DATA_BYTES = UNKNOWN - WAV_HEADER_BYTES;

/** @param samples how many follow, or null if that is not known yet, as on a pipe */
export function wavHeader(samples: number | null, rateHz: number = SAMPLE_RATE_HZ): Uint8Array {
  const bytes = samples === null ? UNKNOWN : Math.min(samples * BYTES_PER_SAMPLE, MAX_DATA_BYTES);
  const header = Buffer.alloc(WAV_HEADER_BYTES);
  header.write("RIFF", 0, "latin1");
  header.writeUInt32LE(samples === null ? UNKNOWN : bytes + WAV_HEADER_BYTES - 8, 4);
  header.write("WAVEfmt ", 8, "latin1");
  header.writeUInt32LE(16, 16); // bytes of the format block
  header.writeUInt16LE(PCM, 20);
  header.writeUInt16LE(1, 22); // channels
  header.writeUInt32LE(rateHz, 24);
  header.writeUInt32LE(rateHz * BYTES_PER_SAMPLE, 28);
  header.writeUInt16LE(BYTES_PER_SAMPLE, 32);
  header.writeUInt16LE(8 * BYTES_PER_SAMPLE, 34);
  header.write("data", 36, "latin1");
  header.writeUInt32LE(bytes, 40);
  return header;
}

export class WavCodec extends PcmCodec {
  constructor(private readonly rateHz: number) {
    super();
  }

  override head(samples: number | null): Uint8Array {
    return wavHeader(samples, this.rateHz);
  }
}
