// Sound to encode, and what comes out of it again.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import decodeWhole from "@audio/decode";
import type { Format } from "../../../src/audio/encode/formats.ts";
import { openEncoder } from "../../../src/audio/encode/open.ts";
import { scratchFolder } from "../../_support.ts";

/** Like a voice: more low than high, louder and softer, the same every time. */
export function voiceLike(samples: number): Float32Array {
  let [seed, low, lower] = [1, 0, 0];
  return Float32Array.from({ length: samples }, (_, i) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    low += 0.15 * (seed / 0x7fffffff - 0.5 - low);
    lower += 0.2 * (low - lower);
    return 3 * lower * (0.5 + 0.4 * Math.sin(i / 3000));
  });
}

export interface Encoded {
  /** As a pipe gets it. */
  stream: Buffer;
  /** With the header of the end. */
  file: Buffer;
}

/** @param step samples that are pushed at a time */
export async function encode(
  format: Format,
  rateHz: number,
  samples: Float32Array,
  step = 1920,
): Promise<Encoded> {
  const encoder = await openEncoder(format, rateHz);
  const parts: Uint8Array[] = [];
  for (let from = 0; from < samples.length; from += step)
    parts.push(encoder.push(samples.subarray(from, from + step)));
  parts.push(encoder.end());
  const stream = Buffer.concat(parts);
  return { stream, file: Buffer.concat([encoder.header, stream.subarray(encoder.header.length)]) };
}

/** With the decoders that read recordings. */
export async function decode(file: Uint8Array): Promise<{ samples: Float32Array; rateHz: number }> {
  const { channelData, sampleRate } = await decodeWhole(Uint8Array.from(file));
  return { samples: channelData[0] ?? new Float32Array(0), rateHz: sampleRate };
}

/** With ffmpeg. From a pipe it knows no more than a reader who came first; in a file it looks around. */
export function decodeWithFfmpeg({
  bytes,
  from,
}: {
  bytes: Uint8Array;
  from: "pipe" | "file";
}): Float32Array {
  const path = join(scratchFolder(), "encoded");
  writeFileSync(path, bytes);
  const command = ["ffmpeg", "-v", "error", "-i", from === "pipe" ? "-" : path, "-f", "f32le", "-"];
  const { stdout } = Bun.spawnSync(command, { stdin: from === "pipe" ? bytes : null });
  return new Float32Array(Uint8Array.from(stdout).buffer);
}

/** Signal to noise in dB. `heard` has `every` times the rate of `said`, and begins `shift` samples late. */
export function signalToNoise(said: Float32Array, heard: Float32Array, every = 1, shift = 0): number {
  let [signal, noise] = [0, 0];
  for (let i = 0; i < said.length; i++) {
    signal += said[i] ** 2;
    noise += (said[i] - (heard[i * every + shift] ?? 0)) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}
