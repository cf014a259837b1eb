// The formats that sound is written in. Every one can be streamed: a reader hears what has come so far. In a
// stream the header leaves out what only the end shows; a file's header is written again then.

import { TtsError } from "../../errors.ts";

/** The rates that sound can be given in. */
export const RATES_HZ = [16_000, 24_000, 44_100, 48_000] as const;

export interface FormatInfo {
  /** What names of its files end in; the first one is the usual one. */
  suffixes: readonly string[];
  mediaType: string;
  /** Those of {@link RATES_HZ} that it can hold. */
  ratesHz: readonly number[];
  /** What it is, for people. */
  brief: string;
}

export const FORMATS = {
  wav: {
    suffixes: [".wav"],
    mediaType: "audio/wav",
    ratesHz: RATES_HZ,
    brief: "16-bit samples with a header",
  },
  pcm: {
    suffixes: [".pcm", ".raw"],
    mediaType: "audio/pcm",
    ratesHz: RATES_HZ,
    brief: "raw 16-bit little-endian samples",
  },
  flac: {
    suffixes: [".flac"],
    mediaType: "audio/flac",
    ratesHz: RATES_HZ,
    brief: "the samples of the wav in about half the room",
  },
  mp3: {
    suffixes: [".mp3"],
    mediaType: "audio/mpeg",
    ratesHz: RATES_HZ,
    brief: "96 kbit/s",
  },
  opus: {
    suffixes: [".opus", ".ogg"],
    mediaType: "audio/ogg; codecs=opus",
    ratesHz: RATES_HZ.filter((hz) => hz !== 44_100),
    brief: "Ogg Opus, about 64 kbit/s",
  },
} as const satisfies Readonly<Record<string, FormatInfo>>;

export type Format = keyof typeof FORMATS;

export const FORMAT_NAMES = Object.keys(FORMATS) as Format[];

/** All suffixes, in the order of the formats. */
export const SUFFIXES: readonly string[] = Object.values(FORMATS).flatMap(({ suffixes }) => suffixes);

/** @param suffix with its dot, in capitals or not */
export function formatOfSuffix(suffix: string): Format | null {
  const wanted = suffix.toLowerCase();
  const holds = (format: Format) => (FORMATS[format].suffixes as readonly string[]).includes(wanted);
  return FORMAT_NAMES.find(holds) ?? null;
}

/** @throws TtsError USAGE where the format cannot hold samples of that rate */
export function assertRate(format: Format, rateHz: number): void {
  const rates: readonly number[] = FORMATS[format].ratesHz;
  if (rates.includes(rateHz)) return;
  const hint = `choose a rate of ${rates.join(", ")}, or another format`;
  throw new TtsError("USAGE", `${format} cannot hold ${rateHz} samples a second`, hint);
}
