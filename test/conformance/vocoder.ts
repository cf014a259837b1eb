// What every vocoder backend must do: the official samples, the same in any chunking, lanes apart from each
// other.
//
// The starter voice is compared as it is. The tiny checkpoints have random weights and need care:
//
// - Their signal before the final clamp has an amplitude of about 1e4, so 99.7 % of the golden samples are +1
//   or -1. The last convolution of a copy is scaled by 2^-16 (exact, and nothing is clipped any more). Each
//   sample, scaled back, is compared with what the golden sample allows: a clipped one says only that the
//   signal was at least 1. The distance relative to the peak counts. (Clipping both sides first would bound
//   it by 2 / peak = 1e-4 whatever the decoder does.)
// - Their Snake activations amplify rounding errors some thousand times: numpy in f32 ends 2e-4 to 4e-4 of
//   the peak away from float64 on codes_1, codes_2 and codes_5, and so do we. Hence the bound below; other
//   codes are 0.1 and more away.
// - Hence too, chunked and unchunked decodes are compared on a copy whose Snakes are calmer (beta + 2): same
//   shapes, same state, no chaos.

import { afterAll, describe, expect, test } from "bun:test";
import type { Backend, Vocoder } from "../../src/backends/stage.ts";
import type { Bundle } from "../../src/formats/bundle.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import {
  bundleNamed,
  bundleOf,
  copyCheckpoint,
  type Edit,
  editDecoder,
  GoldenFile,
  goldenCases,
  goldenFile,
  Largest,
  madeOnce,
  maxDifference,
  openOptions,
  reasonAgainst,
  S16_ERROR,
  starterCases,
} from "../_support.ts";

const MAX_ERROR = 1e-5;
export const MAX_RELATIVE_ERROR = 5e-4;
/** What 16-bit samples add to MAX_RELATIVE_ERROR: a quiet copy's peak is above 0.1. */
export const QUIET_S16_ERROR = 10 * S16_ERROR;
const MAX_CHUNK_ERROR = 1e-5;
const SCALE = 2 ** -16;
const CHUNKINGS = [1, 3, 7, 25];
/** Of a random checkpoint: twice as many as the window holds, and more. */
const CHUNKED_FRAMES = 160;

const framesIn = (codes: Int32Array) => codes.length / CODES_PER_FRAME;

/** Decodes from the start of a lane on, in chunks of the given sizes (the last one is repeated). */
function decode(
  vocoder: Vocoder,
  codes: Int32Array,
  chunks: readonly number[] = [framesIn(codes)],
  lane = 0,
): Float32Array {
  const samples = new Float32Array(framesIn(codes) * SAMPLES_PER_FRAME);
  vocoder.reset(lane);
  for (let frame = 0, i = 0; frame < framesIn(codes); i++) {
    const count = Math.min(chunks[Math.min(i, chunks.length - 1)], framesIn(codes) - frame);
    decodeNext(vocoder, lane, codes, frame, count, samples);
    frame += count;
  }
  return samples;
}

function decodeNext(
  vocoder: Vocoder,
  lane: number,
  codes: Int32Array,
  frame: number,
  count: number,
  samples: Float32Array,
): void {
  vocoder.decode(
    lane,
    codes.subarray(frame * CODES_PER_FRAME),
    count,
    samples.subarray(frame * SAMPLES_PER_FRAME, (frame + count) * SAMPLES_PER_FRAME),
  );
}

/** Sizes from 1 to 12 that depend on the seed alone. */
function randomChunks(seed: number): number[] {
  let state = seed;
  return Array.from({ length: 500 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * 12);
  });
}

const chunkings = [
  ...CHUNKINGS.map((size) => [`chunks of ${size}`, [size]] as const),
  ["random chunks", randomChunks(1)] as const,
];

/** Three golden starter sentences one after the other: more frames than any window or context is long. */
function longStarterCodes(): Int32Array {
  const all = ["starter-01", "starter-06", "starter-00"].map((name) =>
    new GoldenFile(`starter/${name}.safetensors`).ints("codes"),
  );
  return Int32Array.from(all.flatMap((codes) => Array.from(codes)));
}

/** The last convolution scaled down, so that nothing is clipped. */
export const quiet: Edit = (name, value) =>
  name.startsWith("decoder.decoder.6.conv.") ? value * SCALE : value;
/** Also makes every Snake's periodic part smaller by e^2. */
export const calm: Edit = (name, value) => (name.endsWith(".beta") ? value + 2 : quiet(name, value));

/** A tiny checkpoint with some numbers of its codec changed, in a copy. */
export function editedBundle(checkpoint: string, edit: Edit): Bundle {
  const name = `${checkpoint}-${edit.name}`;
  const source = madeOnce(name, (folder) => {
    copyCheckpoint(checkpoint, folder);
    editDecoder(folder, edit);
  });
  return bundleNamed(`${name}-bundle`, source);
}

const peakOf = (samples: Float32Array) =>
  samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);

/** How far `value` is from anything that the final clamp turns into `golden`. */
function distance(value: number, golden: number): number {
  if (golden >= 1) return Math.max(0, 1 - value);
  return golden <= -1 ? Math.max(0, value + 1) : Math.abs(value - golden);
}

/** Error of quiet samples against golden ones, relative to the peak before the clamp. */
export function relativeError(samples: Float32Array, golden: Float32Array): number {
  expect(samples.length).toBe(golden.length);
  expect(samples.every(Number.isFinite)).toBe(true);
  const peak = peakOf(samples) / SCALE;
  expect(peak).toBeLessThan(1 / SCALE); // else the copy was clipped too
  expect(peak).toBeGreaterThan(1_000);
  return (
    samples.reduce((largest, sample, i) => Math.max(largest, distance(sample / SCALE, golden[i])), 0) / peak
  );
}

/**
 * The official result for one case. With a reference, its frames go first, and the official expression cuts
 * their samples.
 */
function officialCut(vocoder: Vocoder, golden: GoldenFile): Float32Array {
  const codes = golden.ints("codes");
  if (!golden.has("ref_codes")) return decode(vocoder, codes);
  const reference = golden.ints("ref_codes");
  const all = Int32Array.from([...reference, ...codes]);
  const samples = decode(vocoder, all);
  return samples.subarray(Math.trunc((framesIn(reference) / Math.max(framesIn(all), 1)) * samples.length));
}

interface Suite {
  /** A vocoder that tests share. */
  shared(bundle: Bundle): Vocoder;
  open(bundle: Bundle, lanes?: number): Vocoder;
  largest: Largest;
  tolerance: number;
}

/** What is different about a backend. */
export interface VocoderSubject {
  /** What it needs, which may be more than the files of the bundle. */
  optionsFor?: typeof openOptions;
  /** Why it cannot run here, or null. */
  unable?: string | null;
  /**
   * How much larger its errors may be: one that makes sines of products differs more, and random checkpoints
   * amplify that.
   */
  tolerance?: number;
  /** Whether another backend that shares its handling of chunks goes through all of them. */
  chunksElsewhere?: boolean;
}

export function vocoderConformance(backend: Backend<Vocoder>, subject: VocoderSubject = {}): void {
  const { chunksElsewhere = false, optionsFor = openOptions, tolerance = 1, unable = null } = subject;
  const reason = unable ?? reasonAgainst(backend, optionsFor(bundleOf("tiny-base")));
  describe.skipIf(reason !== null)(
    `vocoder ${backend.name}${reason === null ? "" : ` (skipped: ${reason})`}`,
    () => {
      const opened: Vocoder[] = [];
      const known = new Map<Bundle, Vocoder>();
      const largest = new Largest(`vocoder ${backend.name}`);
      const open = (bundle: Bundle, lanes = 1): Vocoder => {
        const vocoder = backend.open(optionsFor(bundle, lanes));
        opened.push(vocoder);
        return vocoder;
      };
      const shared = (bundle: Bundle): Vocoder => {
        const vocoder = known.get(bundle) ?? open(bundle);
        known.set(bundle, vocoder);
        return vocoder;
      };
      afterAll(() => {
        for (const vocoder of opened) vocoder.close();
        largest.print();
      });
      goldenTests({ open, shared, largest, tolerance });
      if (!chunksElsewhere) chunkTests({ open, shared, largest, tolerance });
      laneTests({ open, shared, largest, tolerance });
    },
  );
}

function goldenTests({ shared, largest, tolerance }: Suite): void {
  const note = (error: number) =>
    expect(largest.note("tiny (of the peak)", error)).toBeLessThanOrEqual(tolerance * MAX_RELATIVE_ERROR);
  const golden = () => new GoldenFile("tiny-custom/golden/vocoder.safetensors");

  test.each(starterCases().map(({ name }) => name))("gives the official samples: %s", (name) => {
    const file = new GoldenFile(`starter/${name}.safetensors`);
    const error = maxDifference(
      decode(shared(bundleOf("starter")), file.ints("codes")),
      file.floats("audio"),
    );
    expect(largest.note("starter", error)).toBeLessThanOrEqual(tolerance * MAX_ERROR);
  });

  test.each(goldenCases().map((goldenCase) => [goldenCase.name, goldenCase] as const))(
    "gives the official samples of a random checkpoint: %s",
    (_name, goldenCase) => {
      const file = goldenFile(goldenCase);
      note(
        relativeError(
          officialCut(shared(editedBundle(goldenCase.checkpoint, quiet)), file),
          file.floats("audio"),
        ),
      );
    },
  );

  test.each([1, 2, 5, 90])("gives the official samples of %i random frames", (frames) => {
    const samples = decode(shared(editedBundle("tiny-custom", quiet)), golden().ints(`codes_${frames}`));
    note(relativeError(samples, golden().floats(`audio_${frames}`)));
  });

  test("after 290 random frames, gives the exact official samples, not those of its chunked decode", () => {
    const samples = decode(shared(editedBundle("tiny-custom", quiet)), golden().ints("codes_330"), [25]);
    const end = samples.subarray(290 * SAMPLES_PER_FRAME);
    note(relativeError(end, golden().floats("exact_330_from_frame_290")));
    expect(relativeError(end, golden().floats("official_chunked_330_from_frame_290"))).toBeGreaterThan(
      10 * MAX_RELATIVE_ERROR,
    );
  });

  test("the measure tells one wrong code of 80 from the right ones", () => {
    const codes = golden().ints("codes_5");
    codes[40] = (codes[40] + 1) % bundleOf("tiny-custom").manifest.shape.codes;
    const samples = decode(shared(editedBundle("tiny-custom", quiet)), codes);
    expect(relativeError(samples, golden().floats("audio_5"))).toBeGreaterThan(0.1);
  });
}

function loudestFrame(samples: Float32Array): number {
  const at = samples.reduce(
    (loudest, sample, i) => (Math.abs(sample) > Math.abs(samples[loudest]) ? i : loudest),
    0,
  );
  return Math.floor(at / SAMPLES_PER_FRAME);
}

function chunkTests({ open, shared, largest }: Suite): void {
  const sources = [
    ["starter", () => bundleOf("starter"), longStarterCodes()],
    [
      "tiny-custom",
      () => editedBundle("tiny-custom", calm),
      new GoldenFile("tiny-custom/golden/vocoder.safetensors")
        .ints("codes_330")
        .subarray(0, CHUNKED_FRAMES * CODES_PER_FRAME),
    ],
  ] as const;
  for (const [name, bundle, codes] of sources) {
    describe(`${framesIn(codes)} frames of ${name}`, () => {
      const passes: Float32Array[] = [];
      const onePass = () => {
        passes[0] ??= decode(shared(bundle()), codes);
        return passes[0];
      };
      const check = (samples: Float32Array) => {
        const error = maxDifference(samples, onePass()) / peakOf(onePass());
        expect(largest.note(`chunks of ${name} (of the peak)`, error)).toBeLessThanOrEqual(MAX_CHUNK_ERROR);
      };

      test("are loud to the end and not clipped", () => {
        expect(framesIn(codes)).toBeGreaterThan(100);
        expect(peakOf(onePass())).toBeLessThan(1);
        expect(peakOf(onePass().subarray(-20 * SAMPLES_PER_FRAME))).toBeGreaterThan(0.05);
      });

      test.each(chunkings)("%s give the samples of one pass", (_name, chunks) =>
        check(decode(shared(bundle()), codes, chunks)),
      );

      test("chunks that outgrow all before them do, too", () =>
        check(decode(open(bundle()), codes, [1, 2, 1, 9, 2, 30, 9, 1, 40, 3])));
    });
  }
}

function laneTests({ open, shared, largest }: Suite): void {
  const starter = () => bundleOf("starter");
  const codesOf = (name: string) => new GoldenFile(`starter/${name}.safetensors`).ints("codes");

  test("two lanes in turns give what each gives alone", () => {
    const vocoder = open(starter(), 2);
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
      const error = maxDifference(samples[lane], decode(shared(starter()), codes));
      expect(largest.note("lanes", error)).toBeLessThanOrEqual(MAX_ERROR);
    });
  });

  test("without a reset the past is heard, after a reset it is forgotten to the bit", () => {
    const vocoder = shared(starter());
    const codes = codesOf("starter-07");
    const first = decode(vocoder, codes);
    const continued = new Float32Array(first.length);
    vocoder.reset(0);
    decodeNext(vocoder, 0, codes, 0, loudestFrame(first) + 1, new Float32Array(first.length)); // a sentence's end may leave no past
    decodeNext(vocoder, 0, codes, 0, framesIn(codes), continued);
    expect(maxDifference(continued, first)).toBeGreaterThan(1e-3);
    expect(maxDifference(decode(vocoder, codes), first)).toBe(0);
  });

  test("a reset of one lane leaves the other alone", () => {
    const vocoder = open(starter(), 2);
    const codes = codesOf("starter-00");
    const samples = new Float32Array(framesIn(codes) * SAMPLES_PER_FRAME);
    vocoder.reset(0);
    decodeNext(vocoder, 0, codes, 0, 9, samples);
    decode(vocoder, codesOf("starter-07"), [4], 1);
    vocoder.reset(1);
    decodeNext(vocoder, 0, codes, 9, framesIn(codes) - 9, samples);
    expect(
      largest.note("lanes", maxDifference(samples, decode(shared(starter()), codes))),
    ).toBeLessThanOrEqual(MAX_ERROR);
  });

  test("no frames are no work and no change", () => {
    const vocoder = shared(starter());
    const codes = codesOf("starter-07");
    const samples = new Float32Array(framesIn(codes) * SAMPLES_PER_FRAME);
    vocoder.reset(0);
    decodeNext(vocoder, 0, codes, 0, 4, samples);
    decodeNext(vocoder, 0, codes, 4, 0, samples);
    decodeNext(vocoder, 0, codes, 4, framesIn(codes) - 4, samples);
    expect(maxDifference(samples, decode(vocoder, codes))).toBeLessThanOrEqual(MAX_ERROR);
  });
}
