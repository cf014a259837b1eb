// The codes that the code predictor's graph draws on the card have the same distribution as the sampler's.

import { afterAll, describe, expect, test } from "bun:test";
import { Sampler } from "../../../src/sampler.ts";
import type { SamplerSettings } from "../../../src/types.ts";
import {
  byFrame,
  checkpointOf,
  closeAll,
  framePath,
  GROUPS,
  open,
  outsideOf,
  someFrame,
} from "./_predictor.ts";

afterAll(closeAll);

/** Reproducible uniform numbers in (0, 1). */
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (((mixed ^ (mixed >>> 15)) >>> 0) + 0.5) / 2 ** 32;
  };
}

const PLAIN: SamplerSettings = { greedy: false, temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
const BINS = 20;
const DRAWN_FRAMES = 250;

/**
 * Pearson's statistic of many drawn codes of all groups against the sampler's distribution for the same
 * logits. Each code takes a share of (0, 1) as long as its probability, likelier codes first; a random point
 * in the drawn code's share is then uniform.
 */
function chiSquare(settings: SamplerSettings, drawn: { codes: number[]; logits: Float32Array[] }[]): number {
  const { codes: size } = checkpointOf("tiny-custom");
  const sampler = new Sampler({ size, codes: size, eos: -1 });
  sampler.reset(settings, 1, 0);
  const [counts, random] = [new Float64Array(BINS), uniform(5)];
  for (const { codes, logits } of drawn) {
    logits.forEach((values, group) => {
      const probabilities = sampler.probabilities(values);
      const share = probabilities[codes[group + 1]];
      const before = probabilities.reduce(
        (sum, p, id) => sum + (p > share || (p === share && id < codes[group + 1]) ? p : 0),
        0,
      );
      counts[Math.min(BINS - 1, Math.floor((before + random() * share) * BINS))]++;
    });
  }
  const expected = (drawn.length * GROUPS) / BINS;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** With 19 degrees of freedom, one statistic in ten thousand is larger. */
const UNLIKELY = 50;

describe("codes drawn inside", () => {
  const rows = () => outsideOf("tiny-custom");
  const { codes: size } = checkpointOf("tiny-custom");
  function draw(settings: SamplerSettings, frames: number, seed: number) {
    const [model, inputs, random] = [open(framePath("tiny-custom")), rows(), uniform(seed)];
    const { hidden, code0 } = someFrame("tiny-custom");
    return Array.from({ length: frames }, () => {
      const noise = Float32Array.from({ length: GROUPS * size }, () => -Math.log(-Math.log(random())));
      return byFrame(model, inputs, hidden, code0, { ...settings, noise });
    });
  }

  test.each([
    [0.9, 50],
    [0.5, 5],
    [1.4, 0],
    [1, 64],
  ])("temperature %d, top-k %d: the sampler's distribution", (temperature, topK) => {
    const settings = { ...PLAIN, temperature, topK };
    const drawn = draw(settings, DRAWN_FRAMES, 11);
    expect(chiSquare(settings, drawn)).toBeLessThan(UNLIKELY);
    const sampler = new Sampler({ size, codes: size, eos: -1 });
    sampler.reset(settings, 1, 0);
    for (const { codes, logits } of drawn) {
      const possible = logits.map((values, group) => sampler.probabilities(values)[codes[group + 1]] > 0);
      expect(possible).toEqual(logits.map(() => true));
    }
  });

  test("another temperature or limit would be noticed", () => {
    const drawn = draw({ ...PLAIN, temperature: 0.9, topK: 50 }, DRAWN_FRAMES, 12);
    expect(chiSquare({ ...PLAIN, temperature: 1.1, topK: 50 }, drawn)).toBeGreaterThan(UNLIKELY);
    expect(chiSquare({ ...PLAIN, temperature: 0.9, topK: 30 }, drawn)).toBeGreaterThan(UNLIKELY);
  });

  test("each group has noise of its own", () => {
    const [model, inputs] = [open(framePath("tiny-custom")), rows()];
    const { hidden, code0 } = someFrame("tiny-custom");
    const likeliest = byFrame(model, inputs, hidden, code0).codes;
    for (let group = 1; group <= GROUPS; group++) {
      const wanted = (likeliest[group] + 1) % size;
      const noise = new Float32Array(GROUPS * size);
      noise[(group - 1) * size + wanted] = 1_000;
      const { codes } = byFrame(model, inputs, hidden, code0, { noise });
      expect(codes.slice(0, group + 1)).toEqual([...likeliest.slice(0, group), wanted]);
    }
  });
});
