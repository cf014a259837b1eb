// Recordings in compressed forms: the first 1.2 s of the golden reference.wav, which sox has encoded, against
// the wav itself.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { wavHeader } from "../../src/audio/encode/wav.ts";
import { readRecording } from "../../src/audio/read.ts";
import { ROOT, scratchFolder } from "../_support.ts";

const FOLDER = join(ROOT, "test/golden/recordings");
/**
 * The most that an encoder may put in front, in samples at 24 kHz: an mp3's delay is 1105 samples of its 16
 * kHz.
 */
const MOST_DELAY = 2_000;
const SECONDS = 1.2;
/** Signal to noise, dB: flac is exact, but for the end of the resampling filter. */
const LEAST_DB: Record<string, number> = { flac: 70, mp3: 12, ogg: 20 };

const reference = (await readRecording(join(ROOT, "test/golden/tiny-base/golden/reference.wav"))).samples;

/** The signal-to-noise ratio of `heard` from `delay` on, in dB. */
function signalToNoise(heard: Float32Array, delay: number): number {
  let [signal, noise] = [0, 0];
  for (let i = 0; i < Math.min(reference.length, heard.length - delay, SECONDS * 24_000); i++) {
    signal += reference[i] ** 2;
    noise += (heard[i + delay] - reference[i]) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

test("every form has a recording here", () => {
  expect(readdirSync(FOLDER).toSorted()).toEqual(Object.keys(LEAST_DB).map((form) => `reference.${form}`));
});

test.each(Object.entries(LEAST_DB))("%s sounds like the wav", async (form, leastDb) => {
  const { promisedSeconds, samples, seconds } = await readRecording(join(FOLDER, `reference.${form}`));
  expect(promisedSeconds).toBeNull();
  expect(seconds).toBeWithin(SECONDS, SECONDS + 0.1);
  const best = Math.max(...Array.from({ length: MOST_DELAY }, (_, delay) => signalToNoise(samples, delay)));
  expect(best).toBeGreaterThan(leastDb);
});

test("a flac file that is cut short gives both lengths", async () => {
  const path = join(scratchFolder(), "cut.flac");
  writeFileSync(path, readFileSync(join(FOLDER, "reference.flac")).subarray(0, 12_000));
  const { promisedSeconds, seconds } = await readRecording(path);
  expect(promisedSeconds).toBeCloseTo(SECONDS);
  expect(seconds).toBeWithin(0.3, 0.9);
});

test("what is far too long is refused before it is decoded", async () => {
  const path = join(scratchFolder(), "long");
  const flac = readFileSync(join(FOLDER, "reference.flac"));
  flac.writeUInt32BE(3_600 * 16_000, 22); // an hour, in the header
  const wav = Buffer.concat([wavHeader(601 * 24_000), Buffer.alloc(2 * 601 * 24_000)]);
  const mp3 = Buffer.concat([readFileSync(join(FOLDER, "reference.mp3")), Buffer.alloc(24_000_000)]);
  for (const [file, what] of [
    [flac, "is 3600 s long"],
    [wav, "is 601 s long"],
    [mp3, `has ${mp3.length} bytes, more than 24000000`],
  ] as const) {
    writeFileSync(path, file);
    const error = await readRecording(path).catch((thrown) => thrown);
    expect(error.inOneLine).toBe(`${path} ${what}; cut it to the best 3 to 30 s of speech`);
  }
});
