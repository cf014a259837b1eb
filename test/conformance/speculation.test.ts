// Passes of several rows: conversion proves that they give the bits of single rows, and a predictor that
// speculates gives every code and every logit of one that does not, whatever becomes of its drafts.

import { afterAll, describe, expect, test } from "bun:test";
import { PROCESSOR_PREDICTORS } from "../../src/backends/predictor/index.ts";
import type { Chances, Predictor } from "../../src/backends/stage.ts";
import { LIMITS } from "../../src/config.ts";
import type { Bundle } from "../../src/formats/bundle.ts";
import { Sampler } from "../../src/sampler.ts";
import { measurePredictors } from "../../src/stages/measure.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import { bundleNamed, bundleOf, openOptions, STARTER, sharedFloats } from "../_support.ts";

const GROUPS = CODES_PER_FRAME - 1;
const FRAMES = 12;
/** A longer pass costs less, so it always pays. */
const FALLING_MS = Array.from({ length: LIMITS.passRows }, (_, i) => LIMITS.passRows - i);

const opened: Predictor[] = [];
afterAll(() => {
  for (const predictor of opened) predictor.close();
});

function openWith(bundle: Bundle, name: string, rows: number): Predictor {
  const predictorPassMs = { [name]: FALLING_MS.slice(0, rows) };
  const proven = { ...bundle, manifest: { ...bundle.manifest, predictorPassMs } };
  const predictor = PROCESSOR_PREDICTORS.find((one) => one.name === name)!.open(openOptions(proven));
  opened.push(predictor);
  return predictor;
}

/** Guesses the code of `group` in a frame. */
type Guess = (sampler: Sampler, ahead: number, logits: Float32Array, frame: number, group: number) => number;

/** Some frames, drawn with the bundle's own settings. */
function speak(predictor: Predictor, { manifest }: Bundle, guess: Guess) {
  const { codes: size, hidden } = manifest.shape;
  const sampler = new Sampler({ size, codes: size, eos: -1 });
  sampler.reset({ ...manifest.sampling.predictor, greedy: false }, 5, 1);
  let frame = 0;
  const chances: Chances = {
    settings: () => sampler.settings,
    noise: () => {},
    draft: (_row, group, ahead, logits) => guess(sampler, ahead, logits, frame, group),
  };
  const state = sharedFloats(hidden);
  const codes = new Int32Array(CODES_PER_FRAME);
  const [all, logits]: [number[], Float32Array[]] = [[], []];
  const tally = { calls: 0, tried: 0, right: 0 };
  for (; frame < FRAMES; frame++) {
    for (let i = 0; i < hidden; i++) state[i] = Math.sin(i + 7 * frame);
    codes[0] = (11 * frame) % size;
    const draw = (_row: number, _group: number, values: Float32Array) => {
      logits.push(values.slice());
      return sampler.draw(values);
    };
    predictor.predict(1, state, codes, draw, chances);
    all.push(...codes);
    const { calls, right, tried } = predictor.tally!;
    tally.calls += calls;
    for (let i = 0; i < tried.length; i++)
      [tally.tried, tally.right] = [tally.tried + tried[i], tally.right + right[i]];
  }
  return { codes: all, logits, tally };
}

const asDrawn: Guess = (sampler, ahead, logits) => sampler.guess(logits, ahead);

describe.each([
  ["tiny-custom in f32", () => bundleOf("tiny-custom")],
  ["starter in f32", () => bundleOf("starter")],
  ["starter in q8_0", () => bundleNamed("starter-q8_0", STARTER, "q8_0")],
  ["starter in q4_0", () => bundleNamed("starter-q4_0", STARTER, "q4_0")],
] as const)("%s", (title, bundle) => {
  let kept: ReturnType<typeof measurePredictors> | undefined;
  const measured = () => (kept ??= measurePredictors(openOptions(bundle())));

  test("conversion proves what this processor's kernels allow", () => {
    const { predictorMs, predictorPassMs } = measured();
    for (const { name } of PROCESSOR_PREDICTORS) {
      expect(predictorMs[name]).toBeGreaterThan(0);
      for (const ms of predictorPassMs[name]) expect(ms).toBeGreaterThan(0);
      console.log(`${title}, ${name}: ${predictorPassMs[name].length} rows are proven`);
    }
    if (process.arch !== "x64" || !title.endsWith("f32")) return;
    expect(predictorPassMs.ort.length).toBe(LIMITS.passRows);
    expect(predictorPassMs.llama.length).toBe(1); // ggml multiplies one f32 row otherwise than several
  });

  test.each(PROCESSOR_PREDICTORS.map(({ name }) => [name]))(
    "%s: a speech with drafts is that without, to the bit, in fewer passes",
    (name) => {
      const rows = measured().predictorPassMs[name].length;
      const plain = speak(openWith(bundle(), name, 1), bundle(), asDrawn);
      expect(plain.tally).toEqual({ calls: FRAMES * GROUPS, tried: 0, right: 0 });
      if (rows === 1) return;
      const predictor = openWith(bundle(), name, rows);
      // wrong in every fourth place, another one in every frame
      const partly: Guess = (_sampler, _ahead, _logits, frame, group) => {
        const right = plain.codes[frame * CODES_PER_FRAME + group];
        return (frame + group) % 4 === 0 ? (right + 1) % bundle().manifest.shape.codes : right;
      };
      for (const draft of [asDrawn, partly]) {
        const speculated = speak(predictor, bundle(), draft);
        expect(speculated.codes).toEqual(plain.codes);
        expect(speculated.logits.every((values, i) => Bun.deepEquals(values, plain.logits[i]))).toBe(true);
        expect(speculated.tally.tried).toBeGreaterThan(speculated.tally.right);
        if (draft === partly) expect(speculated.tally.calls).toBeLessThan(0.7 * FRAMES * GROUPS);
      }
    },
  );
});
