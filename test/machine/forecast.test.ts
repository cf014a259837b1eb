// What a model will cost before it is here: shapes against the catalog, counts against a bundle, and how a
// forecast follows from speed.

import { describe, expect, test } from "bun:test";
import { officialShape, type SyntheticSize } from "../../src/convert/synthetic.ts";
import type { Speed } from "../../src/machine/compute-speed.ts";
import { forecast } from "../../src/machine/forecast.ts";
import { frameCosts, plannedCosts, readPlan } from "../../src/machine/frame-cost.ts";
import { KNOWN_MODELS } from "../../src/models/catalog.ts";
import { bundleOf, STARTER } from "../_support.ts";

const F32 = { talker: "f32", predictor: "f32" } as const;

test.each(["0.6b", "1.7b"] as const)(
  "the shape of %s has as many bytes as the official file",
  (size: SyntheticSize) => {
    const elements = officialShape(size).tensors.map(({ shape }) =>
      shape.reduce((product, axis) => product * axis, 1),
    );
    const bytes = 2 * elements.reduce((sum, count) => sum + count, 0);
    const official = KNOWN_MODELS[`${size}-custom`].files["model.safetensors"].bytes;
    expect(Math.abs(bytes / official - 1)).toBeLessThan(0.001);
  },
);

test("the planned costs of a checkpoint are those of its bundle", () => {
  const planned = plannedCosts(readPlan(STARTER), F32);
  expect(planned).toEqual(
    frameCosts(bundleOf("starter"), { talker: "llama", predictor: "llama" }, STARTER) as typeof planned,
  );
});

test("blocks of 4 and 8 bits weigh 18 and 34 bytes for 32 numbers; the talker's head keeps 6 bits", () => {
  const { decoder, tensors } = officialShape("0.6b");
  const { predictor, talker } = plannedCosts({ decoder, tensors }, { talker: "q4_0", predictor: "q8_0" });
  // As tts bench --synthetic 0.6b counts them in the bundle.
  expect(talker).toEqual({ bytes: 250_568_704, multiplications: 443_547_648 });
  expect(predictor).toMatchObject({ bytes: 1_287_552_000, multiplications: 1_289_748_480 });
});

describe("a forecast", () => {
  const speed: Speed = {
    weights: { f32: 20e9, q8_0: 20e9, q4_0: 20e9 },
    prompt: 100e9,
    vocoder: 50e9,
    callMs: 1e-6,
  };
  const model = {
    costs: plannedCosts(officialShape("0.6b"), F32),
    layers: { talker: 28, predictor: 5 },
    weights: F32,
  };
  const usual = forecast(model, speed, 4);

  test("is what reading the weights takes, and little more", () => {
    const readMs = (1000 * usual.bytesPerFrame) / 20e9;
    expect(usual.msPerFrame.talker + usual.msPerFrame.predictor).toBeGreaterThan(readMs);
    expect(usual.msPerFrame.talker + usual.msPerFrame.predictor).toBeLessThan(1.2 * readMs);
    expect(usual.rtf).toBeGreaterThan(readMs / 80);
  });

  test("is nearly halved by memory of twice the speed", () => {
    const twice = forecast(model, { ...speed, weights: { f32: 40e9, q8_0: 40e9, q4_0: 40e9 } }, 4);
    expect(twice.rtf / usual.rtf).toBeWithin(0.5, 0.6);
    expect(twice.memoryBytes).toBe(usual.memoryBytes);
  });

  test("adds the vocoder's time where there is one core, and follows the vocoder where it is slowest", () => {
    expect(forecast(model, speed, 1).rtf - usual.rtf).toBeCloseTo(usual.msPerFrame.vocoder / 80, 3);
    const slow = forecast(model, { ...speed, vocoder: 1e9 }, 4);
    expect(slow.rtf).toBeGreaterThan(slow.msPerFrame.vocoder / 80);
  });
});
