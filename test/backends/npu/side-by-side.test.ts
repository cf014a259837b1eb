// Lanes that compute side by side on the cores of Rockchip's NPU, on the stand-in for its runtime: each gives
// what it gives alone, on a thread and a core of its own, whatever was begun for nothing.

import { dlopen } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import type { Vocoder } from "../../../src/backends/stage.ts";
import { VOCODERS } from "../../../src/backends/vocoder/index.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../../src/types.ts";
import { npuOptions, withManifest } from "../../_npu.ts";
import { compiler, compileStandIns, noCompiler } from "../../_standins.ts";
import { bundleOf, named } from "../../_support.ts";

const FRAMES = 4;
const RUNS = 3;
const bundle = () => bundleOf("tiny-custom");
const codesOf = (lane: number) =>
  Int32Array.from({ length: RUNS * FRAMES * CODES_PER_FRAME }, (_, i) => (7 * i + 5 * lane) % 32);

const standIn = () => {
  const count = { args: [], returns: "i64" } as const;
  const symbols = {
    standin_runs: count,
    standin_core_masks: count,
    standin_live_objects: count,
    standin_twins: count,
  };
  const library = dlopen(compileStandIns().rknn, symbols).symbols;
  return {
    runs: () => Number(library.standin_runs()),
    masks: () => Number(library.standin_core_masks()),
    twins: () => Number(library.standin_twins()),
    live: () => Number(library.standin_live_objects()),
  };
};

/** @param content what npu.json has otherwise */
function open(lanes: number, content: object, of = bundle()): Vocoder {
  const { config, ...options } = withManifest(npuOptions(of, lanes, "rknn", "rknn"), content);
  return named(VOCODERS, "rknn").open({ ...options, config: { ...config, lanes } });
}

/** Decodes all runs of all lanes in turn; where they can, they begin before the first one. */
function speak(vocoder: Vocoder, lanes: number): Float32Array[] {
  const sounds = Array.from({ length: lanes }, () => new Float32Array(RUNS * FRAMES * SAMPLES_PER_FRAME));
  const of = (lane: number, run: number) => codesOf(lane).subarray(run * FRAMES * CODES_PER_FRAME);
  for (let run = 0; run < RUNS; run++) {
    for (let lane = 0; lane < lanes; lane++) vocoder.begin?.(lane, of(lane, run), FRAMES);
    for (let lane = 0; lane < lanes; lane++)
      vocoder.decode(lane, of(lane, run), FRAMES, sounds[lane].subarray(run * FRAMES * SAMPLES_PER_FRAME));
  }
  return sounds;
}

describe.skipIf(compiler === null)(`side by side${noCompiler}`, () => {
  test.each<[lanes: number, content: object, masks: number, begins: boolean]>([
    [2, {}, 0, false], // the library chooses
    [1, { cores: 1 }, 0, false],
    [2, { cores: 1 }, 21, true],
    [3, { cores: 1 }, 421, true],
    [5, { cores: 1 }, 421, true], // more lanes than cores
    [2, { cores: 3 }, 7, false],
    [2, { chip: "rk3576", cores: 2 }, 3, false],
    [2, { chip: "rk3576", cores: 1 }, 21, true],
    [3, { chip: "rk3566", cores: 1 }, 0, false], // has one core, and refuses the call
  ])("%d lanes with %j have the cores %d, and say the same as alone", (lanes, content, masks, begins) => {
    const alone = open(lanes, {});
    const expected = speak(alone, lanes);
    alone.close();
    const { live, masks: taken, twins } = standIn();
    const before = live();
    const twinsBefore = twins();
    const vocoder = open(lanes, content);
    expect(taken()).toBe(masks);
    expect(twins() - twinsBefore).toBe(begins ? String(masks).length - 1 : 0); // the weights are there once
    expect(vocoder.begin !== undefined).toBe(begins);
    expect(speak(vocoder, lanes)).toEqual(expected);
    vocoder.close();
    expect(live()).toBe(before);
  });

  test("a lane with a core of its own computes while its caller does not wait", async () => {
    const { runs } = standIn();
    const vocoder = open(2, { cores: 1 });
    const before = runs();
    vocoder.begin!(0, codesOf(0), FRAMES); // the caller's own chain: nothing begins
    expect(runs()).toBe(before);
    vocoder.begin!(1, codesOf(1), FRAMES);
    for (let i = 0; i < 1_000 && runs() === before; i++) await Bun.sleep(5);
    expect(runs()).toBe(before + 1);
    vocoder.decode(1, codesOf(1), FRAMES, new Float32Array(FRAMES * SAMPLES_PER_FRAME));
    expect(runs()).toBe(before + 1); // that run was used
    vocoder.close();
  });

  test("tensors in f16 give the sound of f32, but for their rounding", () => {
    const [[plain], [half]] = (["f32", "f16"] as const).map((tensors) => {
      const vocoder = open(1, { tensors }, bundleOf("starter"));
      const sounds = speak(vocoder, 1);
      vocoder.close();
      return sounds;
    });
    const power = (sound: Float32Array) => sound.reduce((sum, value) => sum + value ** 2, 0);
    const noise = power(plain.map((value, i) => value - half[i]));
    expect(noise).toBeGreaterThan(0);
    expect(10 * Math.log10(power(plain) / noise)).toBeGreaterThan(40);
  });

  test("what was begun for nothing changes nothing", () => {
    const before = standIn().live();
    const alone = open(2, {});
    const [, expected] = speak(alone, 2);
    alone.close();
    const vocoder = open(2, { cores: 1 });
    const others = codesOf(9);
    vocoder.begin!(1, others, FRAMES);
    vocoder.reset(1); // its sentence was cancelled
    vocoder.begin!(1, others, FRAMES);
    const memory = vocoder.save(1); // another one hears a reference
    vocoder.begin!(1, others, FRAMES);
    vocoder.restore(1, memory);
    vocoder.begin!(1, codesOf(1), FRAMES - 1); // and then ends sooner, or later
    expect(speak(vocoder, 2)[1]).toEqual(expected);
    vocoder.begin!(1, others, FRAMES);
    vocoder.close();
    expect(standIn().live()).toBe(before);
  });
});
