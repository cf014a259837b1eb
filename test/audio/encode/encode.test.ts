// Encoders against decoders: exactly as many samples come out as went in, at the same places, in files and in
// streams; bytes come early, memory stays bounded, and what is cut off is still heard.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { FORMAT_NAMES, FORMATS, type Format } from "../../../src/audio/encode/formats.ts";
import { openEncoder } from "../../../src/audio/encode/open.ts";
import { toS16le } from "../../../src/audio/pcm.ts";
import { rejectionOf } from "../../_support.ts";
import { decode, decodeWithFfmpeg, encode, signalToNoise, voiceLike } from "./_decode.ts";

const WITH_HEADER = FORMAT_NAMES.filter((format) => format !== "pcm");
const CASES = WITH_HEADER.flatMap((format) => FORMATS[format].ratesHz.map((rateHz) => ({ format, rateHz })));
/** The least signal to noise of the sound below, in dB; wav and flac round to 16 bits. */
const LEAST_DB: Record<Format, number> = { wav: 70, pcm: 70, flac: 70, mp3: 20, opus: 15 };
const OPUS_HZ = 48_000;
const SAID = voiceLike(2 * 24_000 + 777);
const noFfmpeg = Bun.which("ffmpeg") === null ? " (skipped: ffmpeg is not installed)" : "";

const every = (format: Format, rateHz: number) => (format === "opus" ? OPUS_HZ / rateHz : 1);

function expectSame(format: Format, rateHz: number, heard: Float32Array): void {
  const step = every(format, rateHz);
  expect(heard.length).toBe(SAID.length * step);
  const level = (shift: number) => signalToNoise(SAID, heard, step, shift);
  expect(level(0)).toBeGreaterThan(LEAST_DB[format]);
  expect(level(0)).toBeGreaterThan(Math.max(level(-1), level(1)));
}

test.each(CASES)("a $format of $rateHz Hz has every sample at its place", async ({ format, rateHz }) => {
  const { file } = await encode(format, rateHz, SAID);
  const { rateHz: heardHz, samples } = await decode(file);
  expect(heardHz).toBe(rateHz * every(format, rateHz));
  expectSame(format, rateHz, samples);
});

describe(`ffmpeg hears the same${noFfmpeg}`, () => {
  test.skipIf(noFfmpeg !== "").each(CASES)("$format, $rateHz Hz", async ({ format, rateHz }) => {
    const { file, stream } = await encode(format, rateHz, SAID);
    expectSame(format, rateHz, decodeWithFfmpeg({ bytes: file, from: "file" }));
    const heard = decodeWithFfmpeg({ bytes: stream, from: "pipe" });
    // an mp3 cannot tell a stream's end
    expectSame(format, rateHz, format === "mp3" ? heard.subarray(0, SAID.length) : heard);
    expect(heard.length / every(format, rateHz) - SAID.length).toBeLessThan(0.1 * rateHz);
  });
});

test.each(WITH_HEADER)("%s: sounds of all lengths keep them", async (format) => {
  for (const samples of [1, 2, 479, 480, 481, 575, 576, 577, 1151, 1152, 1153, 1920, 2304, 4095, 4097]) {
    const { file } = await encode(format, 24_000, SAID.subarray(0, samples));
    expect([samples, (await decode(file)).samples.length]).toEqual([
      samples,
      samples * every(format, 24_000),
    ]);
  }
});

test.each(FORMAT_NAMES)(
  "%s: the bytes do not depend on the pieces that the sound comes in",
  async (format) => {
    const whole = await encode(format, 24_000, SAID, SAID.length);
    const pieces = await encode(format, 24_000, SAID, 777);
    expect(pieces.file.equals(whole.file)).toBe(true);
  },
);

test.each(FORMAT_NAMES)("%s: sound comes out with the first frame", async (format) => {
  const encoder = await openEncoder(format, 24_000);
  const first = encoder.push(SAID.subarray(0, 1920));
  encoder.end();
  expect(first.length).toBeGreaterThan(encoder.header.length);
});

test.each(WITH_HEADER)("%s: what a killed program leaves can be heard", async (format) => {
  const { stream } = await encode(format, 24_000, SAID);
  const { samples } = await decode(stream.subarray(0, Math.floor(0.6 * stream.length)));
  const heard = samples.length / every(format, 24_000);
  expect(heard).toBeWithin(0.4 * SAID.length, 0.75 * SAID.length);
});

test("flac holds the samples of the wav, their number and their MD5", async () => {
  const { file, stream } = await encode("flac", 24_000, SAID);
  const pcm = toS16le(SAID);
  expect(Buffer.from(toS16le((await decode(file)).samples)).equals(pcm)).toBe(true);
  const info = (flac: Buffer) => [flac.readUIntBE(22, 4), flac.toString("hex", 26, 42)];
  expect(info(file)).toEqual([SAID.length, createHash("md5").update(pcm).digest("hex")]);
  expect(info(stream)).toEqual([0, "0".repeat(32)]);
  expect(file.subarray(42).equals(stream.subarray(42))).toBe(true);
});

test.each(FORMAT_NAMES)("%s: silence, nothing, and values that are no sound do no harm", async (format) => {
  const wild = Float32Array.from({ length: 5_000 }, (_, i) => [NaN, Infinity, -Infinity, 7, 1e30, -7][i % 6]);
  for (const sound of [new Float32Array(0), new Float32Array(5_000), wild]) {
    const { file } = await encode(format, 24_000, sound);
    if (format === "pcm" || sound.length === 0) continue;
    const { samples } = await decode(file);
    expect(samples.length).toBe(sound.length * every(format, 24_000));
    expect(samples.every(Number.isFinite)).toBe(true);
  }
});

test.each(WITH_HEADER)("%s: values that are no sound spoil nothing behind them", async (format) => {
  const [spoilt, silent] = [NaN, 0].map((value) => SAID.with(100, value));
  expect(
    (await encode(format, 24_000, spoilt)).file.equals((await encode(format, 24_000, silent)).file),
  ).toBe(true);
});

test.each(FORMAT_NAMES)("%s: sixteen at once do not disturb each other", async (format) => {
  const sounds = Array.from({ length: 16 }, (_, i) => SAID.subarray(100 * i, 100 * i + 9_000));
  const alone = await Promise.all(sounds.map((sound) => encode(format, 24_000, sound)));
  const encoders = await Promise.all(sounds.map(() => openEncoder(format, 24_000)));
  const parts = encoders.map((): Uint8Array[] => []);
  for (let from = 0; from < 9_000; from += 1920)
    encoders.forEach((encoder, i) => {
      parts[i].push(encoder.push(sounds[i].subarray(from, from + 1920)));
    });
  encoders.forEach((encoder, i) => {
    parts[i].push(encoder.end());
    expect(Buffer.concat(parts[i]).equals(alone[i].stream)).toBe(true);
  });
});

test.each(FORMAT_NAMES)(
  "%s: memory does not grow with the sounds",
  async (format) => {
    const speak = async (isEnded: boolean) => {
      const encoder = await openEncoder(format, 24_000);
      encoder.push(SAID.subarray(0, 3_840));
      if (isEnded) encoder.end();
      encoder.close();
    };
    const run = async (sounds: number) => {
      for (let i = 0; i < sounds; i++) await speak(i % 2 === 0);
      Bun.gc(true);
      return process.memoryUsage.rss();
    };
    const before = await run(100);
    expect((await run(300)) - before).toBeLessThan(300 * 50_000); // LAME's memory alone is 1.5 MB
  },
  60_000,
);

test("an encoder that has ended takes nothing more", async () => {
  const encoder = await openEncoder("wav", 24_000);
  expect(() => encoder.header).toThrow(TypeError);
  encoder.end();
  expect(() => encoder.push(SAID)).toThrow(TypeError);
  expect(() => encoder.end()).toThrow(TypeError);
  encoder.close();
});

test("Opus has no 44100 Hz, and says what it has", async () => {
  expect(await rejectionOf(openEncoder("opus", 44_100))).toMatchObject({
    code: "USAGE",
    message: "opus cannot hold 44100 samples a second",
    hint: "choose a rate of 16000, 24000, 48000, or another format",
  });
});
