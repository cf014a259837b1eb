// A recording as mono samples at the model's rate: wav, flac, mp3, ogg and aiff, told apart by how the file
// begins. The sources and a binary read the same forms.

import { extname } from "node:path";
import { LIMITS } from "../config.ts";
import { TtsError } from "../errors.ts";
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

interface Decoded {
  channelData: Float32Array[];
  sampleRate: number;
}

/** The first bytes of what is decoded, beside wav. The second byte of an mp3 frame names its layer. */
const READABLE = /^(fLaC|OggS|ID3|TAG|FORM....AIF[CF]|\xff[\xe2-\xe7\xea-\xef\xf2-\xf7\xfa-\xff])/s;
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
  const file = await readBytes(path, LIMITS.recordingBytes, tooLarge);
  const { bytes, heldSeconds, promisedSeconds } = isWave(file)
    ? plainWav(file, path)
    : { bytes: file, heldSeconds: null, promisedSeconds: flacSeconds(file) };
  assertLength(file, heldSeconds ?? promisedSeconds, path);
  const { channelData, sampleRate } = await decode(bytes, path);
  const [first, ...others] = channelData;
  if (first === undefined || first.length === 0)
    throw new TtsError("INPUT_UNREADABLE", `${path} holds no sound`, "give a recording of a voice");
  const rate = Math.round(sampleRate);
  assertRate(rate, path);
  const samples = resample(others.length === 0 ? first : mixDown(channelData), rate, SAMPLE_RATE_HZ);
  const seconds = samples.length / SAMPLE_RATE_HZ;
  const isCut = promisedSeconds !== null && promisedSeconds - seconds >= LEAST_GAP_SECONDS;
  const sha256 = newHash().update(file).digest("hex");
  return { samples, seconds, promisedSeconds: isCut ? promisedSeconds : null, sha256 };
}

/** Refuses before it is decoded what would take too much memory. @param seconds null where it is not known */
function assertLength(file: Uint8Array, seconds: number | null, path: string): void {
  const { recordingBytesOfUnknownLength: bytes, recordingSeconds } = LIMITS;
  const hint = "cut it to the best 3 to 30 s of speech";
  if (seconds === null && file.length > bytes)
    throw new TtsError("INPUT_UNREADABLE", `${path} has ${file.length} bytes, more than ${bytes}`, hint);
  if (seconds !== null && seconds > recordingSeconds)
    throw new TtsError("INPUT_UNREADABLE", `${path} is ${seconds.toFixed(0)} s long`, hint);
}

/** The length in the first block of a flac file; null for other files, and where it is not known. */
function flacSeconds(file: Uint8Array): number | null {
  const isFlac = Buffer.from(file.subarray(0, 4)).toString("latin1") === "fLaC";
  if (!isFlac || file.length < FLAC_INFO_END) return null;
  const rate = (file[18] << 12) | (file[19] << 4) | (file[20] >> 4);
  const samples = (file[21] & 15) * 2 ** 32 + new DataView(file.buffer, file.byteOffset).getUint32(22);
  return samples === 0 || rate === 0 ? null : samples / rate;
}

async function decode(bytes: Uint8Array, path: string): Promise<Decoded> {
  const magic = Buffer.from(bytes.subarray(0, LONGEST_MAGIC)).toString("latin1");
  const fail = (why: string, cause?: unknown) => {
    const hint = `give a wav, flac, mp3 or ogg file; ffmpeg makes one: ${ffmpegLine(path)}`;
    return new TtsError("INPUT_UNREADABLE", `${path} cannot be decoded: ${why}`, hint, { cause });
  };
  if (bytes.length === 0) throw fail("it is empty");
  if (!isWave(bytes) && !READABLE.test(magic)) {
    const other = OTHERS.find(([pattern]) => pattern.test(magic));
    throw fail(other === undefined ? "it does not begin as a recording" : `it is ${other[1]}`);
  }
  const { default: decodeWhole } = await import("@audio/decode");
  try {
    return await decodeWhole(bytes);
  } catch (cause) {
    throw fail(cause instanceof Error ? cause.message : String(cause), cause);
  }
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
