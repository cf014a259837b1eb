// Opens an encoder. The code of a compressed format is loaded when it is first asked for.

import { type Codec, Encoder } from "./encoder.ts";
import { assertRate, type Format } from "./formats.ts";
import { PcmCodec } from "./pcm.ts";
import { WavCodec } from "./wav.ts";

const CODECS: Readonly<Record<Format, (rateHz: number) => Codec | Promise<Codec>>> = {
  wav: (rateHz) => new WavCodec(rateHz),
  pcm: () => new PcmCodec(),
  flac: async (rateHz) => (await import("./flac.ts")).openFlac(rateHz),
  mp3: async (rateHz) => (await import("./mp3.ts")).openMp3(rateHz),
  opus: async (rateHz) => (await import("./opus.ts")).openOpus(rateHz),
};

/**
 * @param rateHz of the samples that will come
 * @throws TtsError USAGE where the format has no such rate
 */
export async function openEncoder(format: Format, rateHz: number): Promise<Encoder> {
  assertRate(format, rateHz);
  return new Encoder(await CODECS[format](rateHz));
}
