// What every vocoder backend must do: the official samples, the same in any chunking, lanes apart from each other.
//
// The starter voice is compared as it is. The tiny checkpoints have random weights: their signal before the final clamp has an amplitude of
// about 1e4, so 99.7 % of their golden samples are +1 or -1, and the others are crossings whose 1e-4 is below the f32 rounding of any
// implementation (the golden samples themselves are up to 0.9 away from a float64 evaluation). So the last convolution of a copy is scaled
// by 2^-16, which is exact and keeps everything from being clipped; the result is scaled back, clipped, and compared with the golden samples
// by its error relative to the peak before the clamp.

import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Backend, Vocoder } from "../../src/backends/index.ts";
import type { Bundle } from "../../src/bundle.ts";
import { loadConfig } from "../../src/config.ts";
import { parseSafetensors } from "../../src/safetensors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import { bundleOf, convertFolder, copyOfCheckpoint, type GoldenCase, GoldenFile, goldenCases, goldenFile, Largest, maxDifference, openOptions, starterCases } from "../_support.ts";

const MAX_ERROR = 1e-5;
const MAX_RELATIVE_ERROR = 1e-4;
const MAX_RELATIVE_CHUNK_ERROR = 1e-5;
const SCALE = 2 ** -16;
const CHUNKINGS = [1, 2, 3, 7, 25];

const framesIn = (codes: Int32Array) => codes.length / CODES_PER_FRAME;

/** Decodes from the start of a lane on, in chunks of the given sizes (the last one is repeated). */
function decode(vocoder: Vocoder, codes: Int32Array, chunks: readonly number[] = [framesIn(codes)], lane = 0): Float32Array {
  const samples = new Float32Array(framesIn(codes) * SAMPLES_PER_FRAME);
  vocoder.reset(lane);
  for (let frame = 0, i = 0; frame < framesIn(codes); i++) {
    const count = Math.min(chunks[Math.min(i, chunks.length - 1)], framesIn(codes) - frame);
    decodeNext(vocoder, lane, codes, frame, count, samples);
    frame += count;
  }
  return samples;
}

function decodeNext(vocoder: Vocoder, lane: number, codes: Int32Array, frame: number, count: number, samples: Float32Array): void {
  vocoder.decode(lane, codes.subarray(frame * CODES_PER_FRAME), count, samples.subarray(frame * SAMPLES_PER_FRAME, (frame + count) * SAMPLES_PER_FRAME));
}

/** Sizes from 1 to 12 that depend on the seed alone. */
function randomChunks(seed: number): number[] {
  let state = seed;
  return Array.from({ length: 500 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * 12);
  });
}

const chunkings = [...CHUNKINGS.map((size) => [`chunks of ${size}`, [size]] as const), ...[1, 2, 3].map((seed) => [`random chunks ${seed}`, randomChunks(seed)] as const)];

/** Every golden starter sentence one after the other: more frames than any window or context is long. */
function longStarterCodes(): Int32Array {
  const all = starterCases().map(({ name }) => new GoldenFile(`starter/${name}.safetensors`).ints("codes"));
  return Int32Array.from(all.flatMap((codes) => Array.from(codes)));
}

const quietBundles = new Map<string, Bundle>();
/** A tiny checkpoint whose samples are 2^-16 of what they were: the bytes of its last convolution changed in a copy. */
function quietBundle(checkpoint: string): Bundle {
  const known = quietBundles.get(checkpoint);
  if (known !== undefined) return known;
  const folder = copyOfCheckpoint(checkpoint, `${checkpoint}-quiet`);
  const path = join(folder, "speech_tokenizer/model.safetensors");
  const file = new Uint8Array(readFileSync(path));
  const tensors = parseSafetensors(file, path);
  for (const part of ["weight", "bias"]) {
    const { bytes, dtype } = tensors.get(`decoder.decoder.6.conv.${part}`)!;
    expect(dtype).toBe("F32");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 4) view.setFloat32(at, view.getFloat32(at, true) * SCALE, true);
  }
  writeFileSync(path, file);
  const bundle = convertFolder(folder, `${checkpoint}-quiet-bundle`);
  quietBundles.set(checkpoint, bundle);
  return bundle;
}

const peakOf = (samples: Float32Array) => samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);

/** Error of quiet samples against golden ones, relative to the peak before the clamp. */
function relativeError(quiet: Float32Array, golden: Float32Array): number {
  const peak = peakOf(quiet);
  expect(peak).toBeLessThan(1); // else the copy was clipped too
  expect(peak / SCALE).toBeGreaterThan(1);
  const clipped = quiet.map((sample) => Math.min(1, Math.max(-1, sample / SCALE)));
  return maxDifference(clipped, golden) / (peak / SCALE);
}

/** The official result for one case: with a reference, its frames go first and their samples are cut by this very expression. */
function officialCut(vocoder: Vocoder, golden: GoldenFile): Float32Array {
  const codes = golden.ints("codes");
  if (!golden.has("ref_codes")) return decode(vocoder, codes);
  const reference = golden.ints("ref_codes");
  const all = Int32Array.from([...reference, ...codes]);
  const samples = decode(vocoder, all);
  return samples.subarray(Math.trunc((framesIn(reference) / Math.max(framesIn(all), 1)) * samples.length));
}

interface Suite {
  open(bundle: Bundle, lanes?: number): Vocoder;
  largest: Largest;
}

export function vocoderConformance(backend: Backend<Vocoder>): void {
  const reason = backend.probe(loadConfig());
  describe.skipIf(reason !== null)(`vocoder ${backend.name}${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
    const opened: Vocoder[] = [];
    const largest = new Largest(`vocoder ${backend.name}`);
    const open = (bundle: Bundle, lanes = 1): Vocoder => {
      const vocoder = backend.open(openOptions(bundle, lanes));
      opened.push(vocoder);
      return vocoder;
    };
    afterAll(() => {
      for (const vocoder of opened) vocoder.close();
      largest.print();
    });
    starterTests({ open, largest });
    tinyTests({ open, largest });
    laneTests({ open, largest });
  });
}

function starterTests({ open, largest }: Suite): void {
  test.each(starterCases().map(({ name }) => name))("gives the official samples: %s", (name) => {
    const golden = new GoldenFile(`starter/${name}.safetensors`);
    const error = maxDifference(decode(open(bundleOf("starter")), golden.ints("codes")), golden.floats("audio"));
    expect(largest.note("starter", error)).toBeLessThanOrEqual(MAX_ERROR);
  });

  describe("on all starter sentences in a row", () => {
    const codes = longStarterCodes();
    let onePass: Float32Array | null = null;
    const whole = () => {
      onePass ??= decode(open(bundleOf("starter")), codes);
      return onePass;
    };

    test("there is enough to forget", () => {
      expect(framesIn(codes)).toBeGreaterThan(100);
      expect(peakOf(whole())).toBeLessThan(1.001);
      expect(peakOf(whole().subarray(-20 * SAMPLES_PER_FRAME))).toBeGreaterThan(0.01);
    });

    test.each(chunkings)("%s give the samples of one pass", (_name, chunks) => {
      const error = maxDifference(decode(open(bundleOf("starter")), codes, chunks), whole());
      expect(largest.note("starter chunks", error)).toBeLessThanOrEqual(MAX_ERROR);
    });
  });
}

function tinyTests({ open, largest }: Suite): void {
  const cases = goldenCases().map((goldenCase) => [goldenCase.name, goldenCase] as const);
  test.each(cases)("gives the official samples of a random checkpoint: %s", (_name, goldenCase: GoldenCase) => {
    const golden = goldenFile(goldenCase);
    const error = relativeError(officialCut(open(quietBundle(goldenCase.checkpoint)), golden), golden.floats("audio"));
    expect(largest.note("tiny, relative", error)).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
  });

  const golden = () => new GoldenFile("tiny-custom/golden/vocoder.safetensors");
  test.each([1, 2, 5, 90])("gives the official samples of %i frames in one pass", (frames) => {
    const samples = decode(open(quietBundle("tiny-custom")), golden().ints(`codes_${frames}`));
    expect(largest.note("tiny, relative", relativeError(samples, golden().floats(`audio_${frames}`)))).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
  });

  describe("on 330 frames of a random checkpoint", () => {
    const codes = golden().ints("codes_330");
    let onePass: Float32Array | null = null;
    const whole = () => {
      onePass ??= decode(open(quietBundle("tiny-custom")), codes);
      return onePass;
    };

    test("the end is that of the exact official decode, not of its chunked one", () => {
      const end = whole().subarray(290 * SAMPLES_PER_FRAME);
      expect(largest.note("tiny, relative", relativeError(end, golden().floats("exact_330_from_frame_290")))).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
    });

    test.each(chunkings)("%s give the samples of one pass", (_name, chunks) => {
      const samples = decode(open(quietBundle("tiny-custom")), codes, chunks);
      const error = maxDifference(samples, whole()) / peakOf(whole());
      expect(largest.note("tiny chunks, relative", error)).toBeLessThanOrEqual(MAX_RELATIVE_CHUNK_ERROR);
    });
  });
}

function laneTests({ open, largest }: Suite): void {
  const codesOf = (name: string) => new GoldenFile(`starter/${name}.safetensors`).ints("codes");

  test("two lanes in turns give what each gives alone", () => {
    const vocoder = open(bundleOf("starter"), 2);
    const sentences = [codesOf("starter-01"), codesOf("starter-04")];
    const samples = sentences.map((codes) => new Float32Array(framesIn(codes) * SAMPLES_PER_FRAME));
    const done = [0, 0];
    for (const lane of [0, 1]) vocoder.reset(lane);
    for (let turn = 0; done.some((frames, lane) => frames < framesIn(sentences[lane])); turn++) {
      const lane = turn % 2;
      const count = Math.min(1 + (turn % 5), framesIn(sentences[lane]) - done[lane]);
      decodeNext(vocoder, lane, sentences[lane], done[lane], count, samples[lane]);
      done[lane] += count;
    }
    sentences.forEach((codes, lane) => {
      const error = maxDifference(samples[lane], decode(open(bundleOf("starter")), codes));
      expect(largest.note("lanes", error)).toBeLessThanOrEqual(MAX_ERROR);
    });
  });

  test("without a reset the past is heard, after a reset it is forgotten to the bit", () => {
    const vocoder = open(bundleOf("starter"));
    const codes = codesOf("starter-07");
    const first = decode(vocoder, codes);
    const continued = new Float32Array(first.length);
    decodeNext(vocoder, 0, codes, 0, framesIn(codes), continued);
    expect(maxDifference(continued, first)).toBeGreaterThan(1e-3);
    expect(maxDifference(decode(vocoder, codes), first)).toBe(0);
  });

  test("a reset of one lane leaves the other alone", () => {
    const vocoder = open(bundleOf("starter"), 2);
    const codes = codesOf("starter-00");
    const samples = new Float32Array(framesIn(codes) * SAMPLES_PER_FRAME);
    vocoder.reset(0);
    vocoder.reset(1);
    decodeNext(vocoder, 0, codes, 0, 9, samples);
    decode(vocoder, codesOf("starter-07"), [4], 1);
    vocoder.reset(1);
    decodeNext(vocoder, 0, codes, 9, framesIn(codes) - 9, samples);
    expect(largest.note("lanes", maxDifference(samples, decode(open(bundleOf("starter")), codes)))).toBeLessThanOrEqual(MAX_ERROR);
  });
}
