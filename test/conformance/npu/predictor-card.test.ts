// How a code predictor that draws by itself uses noise and settings, on the stand-in for the card's library.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openBackend } from "../../../src/backends/open.ts";
import { PREDICTORS } from "../../../src/backends/predictor/index.ts";
import type { Chances, Predictor } from "../../../src/backends/stage.ts";
import { Sampler } from "../../../src/sampler.ts";
import { CODES_PER_FRAME, type SamplerSettings } from "../../../src/types.ts";
import { npuOptions } from "../../_npu.ts";
import { compiler, noCompiler } from "../../_standins.ts";
import { bundleOf, named } from "../../_support.ts";

const SETTINGS: SamplerSettings = {
  greedy: false,
  temperature: 0.9,
  topK: 50,
  topP: 1,
  repetitionPenalty: 1,
};

describe.skipIf(compiler === null)(`the code predictor on a card${noCompiler}`, () => {
  let predictor: Predictor;
  let hidden: Float32Array;
  beforeAll(() => {
    const bundle = bundleOf("tiny-custom");
    predictor = named(PREDICTORS, "axcl").open(npuOptions(bundle, 1, "axcl", "axcl"));
    hidden = Float32Array.from({ length: bundle.manifest.shape.hidden }, (_, i) => Math.sin(i));
  });
  afterAll(() => predictor?.close());

  function predict(settings: Partial<SamplerSettings>, noise: Chances["noise"]): number[] {
    const codes = new Int32Array(CODES_PER_FRAME).fill(1, 0, 1);
    const notAsked = () => {
      throw new Error("it draws by itself");
    };
    predictor.predict(1, hidden, codes, notAsked, {
      settings: () => ({ ...SETTINGS, ...settings }),
      draft: notAsked,
      noise,
    });
    return Array.from(codes.subarray(1));
  }
  const silence: Chances["noise"] = (_row, target) => void target.fill(0);
  /** For the same code of every group. */
  const favour =
    (code: number): Chances["noise"] =>
    (_row, target) => {
      target.fill(0);
      for (let at = code; at < target.length; at += bundleOf("tiny-custom").manifest.shape.codes)
        target[at] = 1e4;
    };

  test("noise decides where all codes may be drawn", () => {
    for (const code of [0, 7, 31])
      expect(predict({ topK: 0 }, favour(code))).toEqual(Array(CODES_PER_FRAME - 1).fill(code));
  });

  test("but not beyond the best ones, where their number is limited", () => {
    const likeliest = predict({ greedy: true }, favour(7));
    expect(predict({ topK: 1 }, favour(7))).toEqual(likeliest);
    expect(predict({ topK: 0 }, silence)).toEqual(likeliest);
    expect(new Set(likeliest).size).toBeGreaterThan(3);
  });

  test.each([
    [{ topP: 0.9 }, "top-p 0.9"],
    [{ topK: 65 }, "top-k 65, above 64"],
  ])("what it cannot draw with, %j, is an error", (settings, what) => {
    expect(() => predict(settings, silence)).toThrow(what);
  });
});

describe.skipIf(compiler === null)(`a voice whose own settings a card cannot draw with${noCompiler}`, () => {
  const optionsWith = (own: Partial<SamplerSettings>) => {
    const options = npuOptions(bundleOf("tiny-custom"), 1, "axcl", "axcl");
    const { manifest } = options.bundle;
    const sampling = { ...manifest.sampling, predictor: { ...SETTINGS, ...own } };
    return { ...options, bundle: { ...options.bundle, manifest: { ...manifest, sampling } } };
  };
  const open = (choice: string, own: Partial<SamplerSettings>) => {
    const { name, stage, unused } = openBackend(PREDICTORS, choice, optionsWith(own));
    stage.close();
    return { name, unused };
  };

  test.each([
    [{ topP: 0.9 }, "top-p 0.9"],
    [{ topK: 65 }, "top-k 65, above 64"],
  ])("%j: the CPU draws, and the reason is told; a forced card is an error at once", (own, what) => {
    const { name, unused } = open("auto", own);
    expect(name).toBeOneOf(["ort", "llama"]);
    expect(unused).toEqual([
      expect.stringContaining(`the code predictor on the card cannot draw with ${what}`),
    ]);
    expect(() => open("axcl", own)).toThrow(what);
  });

  test("does not include one that always takes the likeliest code, or one that may draw all", () => {
    for (const own of [{ greedy: true, topP: 0.9 }, { topK: 0 }])
      expect(open("auto", own)).toEqual({ name: "axcl", unused: [] });
  });
});

test("noise makes the largest sum a draw from the softmax", () => {
  const logits = Float32Array.of(1, 0, -1, 2, 0.5);
  const size = logits.length;
  const sampler = new Sampler({ size, codes: size, eos: -1 });
  sampler.reset({ ...SETTINGS, temperature: 1, topK: 0 }, 3, 0);
  const expected = sampler.probabilities(logits);
  const draws = 20_000;
  const counts = new Float64Array(size);
  const noise = new Float32Array(size);
  for (let draw = 0; draw < draws; draw++) {
    sampler.noise(noise);
    const sums = noise.map((value, i) => value + logits[i]);
    counts[sums.indexOf(Math.max(...sums))]++;
  }
  const chiSquare = counts.reduce(
    (sum, count, i) => sum + (count - draws * expected[i]) ** 2 / (draws * expected[i]),
    0,
  );
  expect(chiSquare).toBeLessThan(18.5); // 4 degrees of freedom: one seed in a thousand is above
  sampler.reset(SETTINGS, 3, 0);
  const again = new Float32Array(size);
  sampler.noise(again);
  sampler.reset(SETTINGS, 4, 0);
  sampler.noise(noise);
  expect(again).not.toEqual(noise);
});
