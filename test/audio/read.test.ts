// Recordings in compressed forms: the first 1.2 s of the golden reference.wav, which sox has encoded, against
// the wav itself.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { wavHeader } from "../../src/audio/encode/wav.ts";
import { decodeRecording, readRecording } from "../../src/audio/read.ts";
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
  for (const [file, what] of [
    [flac, "is 3600 s long"],
    [wav, "is 601 s long"],
  ] as const) {
    writeFileSync(path, file);
    const error = await readRecording(path).catch((thrown) => thrown);
    expect(error.inOneLine).toBe(`${path} ${what}; cut it to the best 3 to 30 s of speech`);
  }
});

test("what does not tell its length is decoded until it is too long", async () => {
  const mp3 = readFileSync(join(FOLDER, "reference.mp3"));
  const long = Buffer.concat(Array.from({ length: 8 }, () => mp3));
  const error = await decodeRecording(long, "it", 5).catch((thrown) => thrown);
  expect(error.inOneLine).toBe("it is longer than 5 s; cut it to the best 3 to 30 s of speech");
  expect((await decodeRecording(long, "it", 12)).seconds).toBeWithin(8 * SECONDS, 12);
});

test("a tag before a recording changes nothing", async () => {
  const flac = readFileSync(join(FOLDER, "reference.flac"));
  const tag = Buffer.from([...Buffer.from("ID3"), 4, 0, 0, 0, 0, 1, 2, ...new Uint8Array(130)]);
  const { samples } = await decodeRecording(Buffer.concat([tag, flac]), "it");
  expect(samples).toEqual((await decodeRecording(flac, "it")).samples);
  for (const odd of [tag, Buffer.concat([tag, tag, flac])])
    expect((await decodeRecording(odd, "it").catch((thrown) => thrown)).code).toBe("INPUT_UNREADABLE");
});
