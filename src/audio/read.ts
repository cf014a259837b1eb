// A recording as mono samples at the model's rate: wav, flac, mp3, ogg and aiff, told apart by how the file
// begins. The sources and a binary read the same forms.

import { extname } from "node:path";
import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
import { joined } from "../io/bytes.ts";
import { newHash } from "../io/hash.ts";
import { readBytes } from "../io/read.ts";
import { SAMPLE_RATE_HZ } from "../types.ts";
import { resample } from "./resample.ts";
import { assertRate, isWave, plainWav } from "./riff.ts";

/** Mono f32 at 24 kHz. A 24 kHz float WAV comes through unchanged. */
export interface Recording {
  samples: Float32Array;
  seconds: number;
  /** The length that the file's header promises, where the file ends before; else null. */
  promisedSeconds: number | null;
  /** Of the file as it was read. */
  sha256: string;
}

/** The first bytes of what is decoded. The second byte of an mp3 frame names its layer. */
const FORMS: readonly [RegExp, Form][] = [
  [/^(RIFF|RF64|BW64)....WAVE/s, "wav"],
  [/^FORM....AIF[CF]/s, "aiff"],
  [/^fLaC|^OggS.{24}\x7fFLAC/s, "flac"],
  [/^OggS.{24}OpusHead/s, "opus"],
  [/^OggS/, "oga"],
  [/^(TAG|\xff[\xe2-\xe7\xea-\xef\xf2-\xf7\xfa-\xff])/, "mp3"],
];
const HEAD_BYTES = 64;
const PIECE_BYTES = 65_536;
/** The first bytes of other forms of sound, which ffmpeg can read. */
const OTHERS: readonly [RegExp, name: string][] = [
  [/^....(ftyp|moov|mdat)/s, "an MPEG-4 file (m4a, mp4, mov)"],
  [/^.E\xdf\xa3/s, "a Matroska file (webm, mkv)"],
  [/^(\xff[\xf0\xf1\xf8\xf9]|ADIF)/, "an AAC file"],
  [/^0&\xb2u\x8ef\xcf/, "a Windows Media file (wma)"],
  [/^#!AMR/, "an AMR file"],
  [/^caff/, "a Core Audio file (caf)"],
  [/^RIFF....AVI /s, "an AVI file"],
  [/^(RIFX|riff)/, "a wav of another byte order or Wave64"],
  [/^wvpk/, "a WavPack file"],
  [/^\.snd/, "an au file"],
];
const LONGEST_MAGIC = 12;
/** Signature, header and 34 bytes of the block that says how long the sound is. */
const FLAC_INFO_END = 42;
/** A shorter gap is a header that counts a few bytes too many. */
const LEAST_GAP_SECONDS = 0.01;

/** @throws TtsError INPUT_UNREADABLE: no such file, too large, no sound in it, no known form */
export async function readRecording(path: string): Promise<Recording> {
  const hint = `recordings may have ${LIMITS.recordingBytes}; some seconds are enough`;
  const tooLarge = new TtsError(
    "INPUT_UNREADABLE",
    `${path} has more than ${LIMITS.recordingBytes} bytes`,
    hint,
  );
  return decodeRecording(await readBytes(path, LIMITS.recordingBytes, tooLarge), path);
}

/**
 * @param name what the user calls the file, for errors
 * @param mostSeconds a longer one is refused, and decoded no further
 * @throws TtsError INPUT_UNREADABLE: too long, no sound in it, no known form
 */
export async function decodeRecording(
  file: Uint8Array,
  name: string,
  mostSeconds: number = LIMITS.recordingSeconds,
): Promise<Recording> {
  const { bytes, heldSeconds, promisedSeconds } = isWave(file)
    ? plainWav(file, name)
    : { bytes: file, heldSeconds: null, promisedSeconds: flacSeconds(file) };
  assertLength(heldSeconds ?? promisedSeconds ?? 0, mostSeconds, name);
  const { rateHz, samples: decoded } = await decode(bytes, name, mostSeconds);
  if (decoded.length === 0)
    throw new TtsError("INPUT_UNREADABLE", `${name} holds no sound`, "give a recording of a voice");
  assertRate(rateHz, name);
  const samples = resample(decoded, rateHz, SAMPLE_RATE_HZ);
  const seconds = samples.length / SAMPLE_RATE_HZ;
  const isCut = promisedSeconds !== null && promisedSeconds - seconds >= LEAST_GAP_SECONDS;
  const sha256 = newHash().update(file).digest("hex");
  return { samples, seconds, promisedSeconds: isCut ? promisedSeconds : null, sha256 };
}

/** An hour takes gigabytes of memory. */
function assertLength(seconds: number, mostSeconds: number, name: string): void {
  if (seconds <= mostSeconds) return;
  const what = seconds === Infinity ? `longer than ${mostSeconds} s` : `${seconds.toFixed(0)} s long`;
  throw new TtsError("INPUT_UNREADABLE", `${name} is ${what}`, "cut it to the best 3 to 30 s of speech");
}

/** The length in the first block of a flac file; null for other files, and where it is not known. */
function flacSeconds(file: Uint8Array): number | null {
  const isFlac = Buffer.from(file.subarray(0, 4)).toString("latin1") === "fLaC";
  if (!isFlac || file.length < FLAC_INFO_END) return null;
  const rate = (file[18] << 12) | (file[19] << 4) | (file[20] >> 4);
  const samples = (file[21] & 15) * 2 ** 32 + new DataView(file.buffer, file.byteOffset).getUint32(22);
  return samples === 0 || rate === 0 ? null : samples / rate;
}

/** Mono. A small file may hold hours of silence: it is decoded in pieces, until it is too long. */
async function decode(
  bytes: Uint8Array,
  name: string,
  mostSeconds: number,
): Promise<{ samples: Float32Array; rateHz: number }> {
  const fail = (why: string, cause?: unknown) => {
    const hint = `give a wav, flac, mp3 or ogg file; ffmpeg makes one: ${ffmpegLine(name)}`;
    return new TtsError("INPUT_UNREADABLE", `${name} cannot be decoded: ${why}`, hint, { cause });
  };
  if (bytes.length === 0) throw fail("it is empty");
  const form = formOf(bytes);
  if (form === null) {
    const magic = Buffer.from(bytes.subarray(0, LONGEST_MAGIC)).toString("latin1");
    const other = OTHERS.find(([pattern]) => pattern.test(magic));
    throw fail(other === undefined ? "it does not begin as a recording" : `it is ${other[1]}`);
  }
  const { default: decodePieces } = await import("@audio/decode");
  const parts: Float32Array[] = [];
  let [rateHz, samples] = [0, 0];
  try {
    for await (const { channelData, sampleRate } of decodePieces(pieces(bytes, form), form)) {
      if (channelData[0] === undefined) continue;
      parts.push(channelData.length === 1 ? channelData[0] : mixDown(channelData));
      rateHz = Math.round(sampleRate);
      samples += channelData[0].length;
      if (samples > mostSeconds * rateHz) break;
    }
  } catch (cause) {
    throw fail(cause instanceof Error ? cause.message : String(cause), cause);
  }
  assertLength(samples > mostSeconds * rateHz ? Infinity : 0, mostSeconds, name);
  return { samples: joined(parts), rateHz };
}

type Form = "wav" | "aiff" | "flac" | "opus" | "oga" | "mp3";

/** Told apart by the first bytes, those of a tag left out; null for other forms. */
function formOf(bytes: Uint8Array): Form | null {
  const head = Buffer.from(bytes.subarray(0, HEAD_BYTES)).toString("latin1");
  if (head.startsWith("ID3")) {
    const [a, b, c, d] = bytes.subarray(6, 10); // seven bits each
    const footer = (bytes[5] & 0x10) === 0 ? 0 : 10;
    const rest = bytes.subarray(10 + ((a << 21) | (b << 14) | (c << 7) | d) + footer);
    return rest.length === 0 || rest[0] === bytes[0] ? null : formOf(rest);
  }
  return FORMS.find(([pattern]) => pattern.test(head))?.[1] ?? null;
}

/** Forms whose length their header tells go in one piece. */
async function* pieces(bytes: Uint8Array, form: Form): AsyncGenerator<Uint8Array> {
  const size = form === "wav" || form === "aiff" ? bytes.length : PIECE_BYTES;
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A command that makes a wav beside the file, for a shell. */
function ffmpegLine(path: string): string {
  // A name that begins with a dash would be an option, one with a colon an address.
  const safe = /^[^/]*:|^-/.test(path) ? `./${path}` : path;
  const stem = safe.slice(0, safe.length - extname(safe).length);
  const target = extname(path).toLowerCase() === ".wav" ? `${stem}-16-bit.wav` : `${stem}.wav`;
  return `ffmpeg -i ${shellWord(safe)} ${shellWord(target)}`;
}

const shellWord = (text: string) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The mean of all channels, as the official loader does. */
function mixDown(channels: Float32Array[]): Float32Array {
  return Float32Array.from(
    channels[0],
    (_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length,
  );
}
