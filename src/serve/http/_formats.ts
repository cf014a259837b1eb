// The forms in which sound is given out, piece by piece.

import { toS16le } from "../../audio/pcm.ts";
import { wavHeader } from "../../audio/wav.ts";

/** Takes samples in order and gives what is ready; the end gives the rest. */
export interface Encoder {
  push(samples: Float32Array): Uint8Array;
  end(): Uint8Array;
  close(): void;
}

export const FORMATS = {
  wav: { mediaType: "audio/wav" },
  pcm: { mediaType: "audio/pcm" },
} as const;
export type Format = keyof typeof FORMATS;
export const FORMAT_NAMES = Object.keys(FORMATS) as Format[];

export async function openEncoder(format: Format, rateHz: number): Promise<Encoder> {
  let header: Uint8Array = format === "wav" ? wavHeader(null, rateHz) : new Uint8Array(0);
  return {
    push(samples) {
      const bytes = Buffer.concat([header, toS16le(samples)]);
      header = new Uint8Array(0);
      return bytes;
    },
    end: () => header,
    close: () => {},
  };
}
