// What every encoder backend must do: give exactly the official codes, give the official speaker vector, and
// refuse unusable references.

import { afterAll, describe, expect, test } from "bun:test";
import type { Backend, Encoder } from "../../src/backends/stage.ts";
import { LIMITS } from "../../src/config.ts";
import { TtsError } from "../../src/errors.ts";
import { CODES_PER_FRAME, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME } from "../../src/types.ts";
import {
  bundleOf,
  failureOf,
  GoldenFile,
  Largest,
  maxDifference,
  openOptions,
  reasonAgainst,
} from "../_support.ts";

const CHECKPOINT = "tiny-base";
/** As a share of the vector's largest number. */
const MAX_VECTOR_ERROR = 5e-6;

const golden = () => new GoldenFile(`${CHECKPOINT}/golden/reference.safetensors`);
const audio = () => golden().floats("audio_24k");
const seconds = (count: number) => Math.round(count * SAMPLE_RATE_HZ);
const peakOf = (values: Float32Array) => values.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);

/** A tone of changing pitch, of any length. */
const sound = (samples: number) =>
  Float32Array.from({ length: samples }, (_, i) => 0.3 * Math.sin(i * 0.05 + 20 * Math.sin(i * 1e-4)));

export function encoderConformance(backend: Backend<Encoder>): void {
  const reason = reasonAgainst(backend, openOptions(bundleOf("tiny-base")));
  describe.skipIf(reason !== null)(
    `encoder ${backend.name}${reason === null ? "" : ` (skipped: ${reason})`}`,
    () => {
      const largest = new Largest(`encoder ${backend.name}`);
      let encoder: Encoder | null = null;
      const open = () => {
        encoder ??= backend.open(openOptions(bundleOf(CHECKPOINT)));
        return encoder;
      };
      afterAll(() => {
        encoder?.close();
        largest.print();
      });
      describe("codes", () => codeTests(open));
      describe("speaker vector", () => vectorTests(open, largest));
      describe("refuses", () => refusalTests(open));

      test("a model that cannot clone is not opened", () => {
        const error = failureOf(() => backend.open(openOptions(bundleOf("tiny-custom"))));
        expect(error.code).toBe("MODEL_UNSUITABLE");
        expect(error.message).toContain("tiny-custom is a custom_voice model");
      });

      test("threads change nothing that counts", () => {
        const threaded = backend.open(openOptions(bundleOf(CHECKPOINT), 1, { threads: 2 }));
        expect(threaded.codes(audio())).toEqual(golden().ints("codes"));
        expect(maxDifference(threaded.xVector(audio()), open().xVector(audio()))).toBeLessThan(1e-4);
        threaded.close();
      });
    },
  );
}

function codeTests(open: () => Encoder): void {
  test("of the reference are the official ones", () => {
    expect(open().codes(audio())).toEqual(golden().ints("codes"));
  });

  test.each([1_920, 1_921, 5_000, 24_000])("of its first %i samples are the official ones", (samples) => {
    expect(open().codes(audio().subarray(0, samples))).toEqual(
      golden().ints(`codes_first_${samples}_samples`),
    );
  });

  test("depend on nothing that comes later", () => {
    const [whole, part] = [open().codes(audio()), open().codes(audio().subarray(0, 20 * SAMPLES_PER_FRAME))];
    expect(part).toEqual(whole.subarray(0, part.length));
  });

  test("depend on all that comes before: the window in the configuration is not applied", () => {
    const source = audio();
    const long = Float32Array.from({ length: seconds(36) }, (_, i) => source[i % source.length]);
    const changed = long.slice();
    changed.set(sound(seconds(12)));
    const [a, b] = [open().codes(long), open().codes(changed)];
    const from = 34 * 12.5 * CODES_PER_FRAME; // two layers with windows of 10 s would reach 32 s
    expect(a.subarray(from)).not.toEqual(b.subarray(from));
  });

  // around every stride: 4, 20, 120, 960, 1920
  test.each([
    1, 3, 4, 5, 19, 21, 119, 121, 959, 960, 961, 1_919, 1_922, 2_880, 2_881, 3_839, 3_840, 3_841, 9_607,
  ])("of %i samples are a frame for every 1920 begun", (samples) => {
    const codes = open().codes(audio().subarray(30_000, 30_000 + samples));
    expect(codes.length).toBe(Math.ceil(samples / SAMPLES_PER_FRAME) * CODES_PER_FRAME);
    expect(codes.every((code) => code >= 0 && code < bundleOf(CHECKPOINT).manifest.shape.codes)).toBe(true);
  });

  test("leave the samples as they were, wherever they lie", () => {
    const memory = new Float32Array(new SharedArrayBuffer(4 * (audio().length + 7))).subarray(7);
    memory.set(audio());
    expect(open().codes(memory)).toEqual(golden().ints("codes"));
    expect(maxDifference(memory, audio())).toBe(0);
  });

  test("may have silence behind the longest reference", () => {
    const samples = new Float32Array(seconds(LIMITS.referenceSeconds + LIMITS.referenceTailSeconds));
    samples.set(sound(seconds(LIMITS.referenceSeconds)));
    expect(open().codes(samples).length).toBe(
      Math.ceil(samples.length / SAMPLES_PER_FRAME) * CODES_PER_FRAME,
    );
  }, 600_000);
}

function vectorTests(open: () => Encoder, largest: Largest): void {
  test("of the reference is the official one", () => {
    const official = golden().floats("x_vector");
    const error = maxDifference(open().xVector(audio()), official) / peakOf(official);
    expect(largest.note("speaker vector (of its peak)", error)).toBeLessThanOrEqual(MAX_VECTOR_ERROR);
  });

  test("of another part of the reference is another one", () => {
    const [whole, part] = [open().xVector(audio()), open().xVector(audio().subarray(0, 24_000))];
    expect(maxDifference(whole, part)).toBeGreaterThan(1_000 * MAX_VECTOR_ERROR * peakOf(whole));
  });

  test.each([LIMITS.referenceLeastSeconds, LIMITS.referenceSeconds])("comes of %d s", (length) => {
    const vector = open().xVector(sound(seconds(length)));
    expect(vector.length).toBe(bundleOf(CHECKPOINT).manifest.shape.hidden);
    expect(vector.every(Number.isFinite)).toBe(true);
  });
}

function refusalTests(open: () => Encoder): void {
  const withSample = (value: number) => {
    const samples = audio();
    samples[12_345] = value;
    return samples;
  };
  const both = ["codes", "xVector"] as const;
  const cases: [string, readonly ("codes" | "xVector")[], () => Float32Array, RegExp][] = [
    ["nothing", both, () => new Float32Array(0), /is 0\.00 s long/],
    ["0.2 s", ["xVector"], () => sound(seconds(0.2)), /is 0\.20 s long/],
    ["a sample too few", ["xVector"], () => sound(seconds(LIMITS.referenceLeastSeconds) - 1), /s long/],
    ["10 minutes", both, () => sound(seconds(600)), /is 600\.0 s long, 60 s at most/],
    ["a sample too many", ["xVector"], () => sound(seconds(LIMITS.referenceSeconds) + 1), /60 s at most/],
    ["silence", both, () => new Float32Array(seconds(3)), /is silent: its loudest sample is 0\.0e\+0/],
    [
      "noise below -80 dB",
      both,
      () => sound(seconds(3)).map((value) => value * 3e-4),
      /is silent: its loudest sample is 9\.0e-5/,
    ],
    ["NaN", both, () => withSample(Number.NaN), /has NaN at sample 12345/],
    ["infinity", both, () => withSample(Number.NEGATIVE_INFINITY), /has -Infinity at sample 12345/],
  ];
  test.each(cases)("%s", (_what, methods, samples, message) => {
    for (const method of methods) {
      const error = failureOf(() => open()[method](samples()));
      expect(error).toBeInstanceOf(TtsError);
      expect([error.code, error.exitStatus]).toEqual(["REFERENCE_UNUSABLE", 2]);
      expect(error.message).toMatch(message);
      expect(error.hint).not.toBe("");
    }
  });
}
