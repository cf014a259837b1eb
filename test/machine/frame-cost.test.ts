// What a frame costs: counts from a bundle's files against the tensors of the checkpoint they were made from.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseSafetensors } from "../../src/formats/safetensors.ts";
import { frameCosts } from "../../src/machine/frame-cost.ts";
import { bundleOf, STARTER } from "../_support.ts";

/**
 * How many numbers the tensors of a checkpoint file hold whose names match, if they have at least `leastAxes`
 * axes.
 */
function elements(file: string, pattern: RegExp, leastAxes = 2): number {
  const tensors = [...parseSafetensors(readFileSync(join(STARTER, file)), file).values()];
  const found = tensors.filter(({ name, shape }) => pattern.test(name) && shape.length >= leastAxes);
  return found.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

describe("the cost of a frame", () => {
  const main = "model.safetensors";
  const layers = (leastAxes: number) => elements(main, /code_predictor\.model\.(layers|norm)\./, leastAxes);
  const heads = elements(main, /code_predictor\.lm_head\./);
  const projection = elements(main, /small_to_mtp_projection\.weight/);
  const bundle = bundleOf("starter");

  test("of the talker: its layers and the head of code 0, once", () => {
    const { talker } = frameCosts(bundle, { talker: "llama", predictor: "llama" }, null);
    const pattern = /^talker\.(model\.(layers|norm)\.|codec_head)/;
    expect(talker.multiplications).toBe(elements(main, pattern));
    expect(talker.bytes).toBe(4 * elements(main, pattern, 1));
  });

  test("of the code predictor: layers read 15 times for 16 positions, every head once, the input projection once", () => {
    const { predictor } = frameCosts(bundle, { talker: "llama", predictor: "llama" }, null);
    expect(projection).toBeGreaterThan(0);
    expect(predictor.multiplications).toBe(16 * layers(2) + heads + projection);
    expect(predictor.bytes).toBe(4 * (15 * layers(1) + heads + projection));
  });

  test("of the code predictor on ONNX Runtime: as many multiplications", () => {
    expect(frameCosts(bundle, { talker: "llama", predictor: "ort" }, null).predictor.multiplications).toBe(
      16 * layers(2) + heads + projection,
    );
  });

  test("of the vocoder: every matrix once a chunk, as the checkpoint has them", () => {
    const { vocoder } = frameCosts(bundle, { talker: "llama", predictor: "llama" }, STARTER);
    const pattern = /^decoder\.(?!.*(_codebook|quantizer.*input_proj))/; // what is left out serves encoding
    expect(vocoder?.bytes).toBe(4 * elements("speech_tokenizer/model.safetensors", pattern));
    expect(vocoder?.multiplications).toBeGreaterThan(vocoder!.bytes / 4);
  });

  test("of the vocoder is unknown without the checkpoint", () => {
    expect(frameCosts(bundle, { talker: "llama", predictor: "llama" }, null).vocoder).toBeNull();
    expect(frameCosts(bundle, { talker: "llama", predictor: "llama" }, bundle.directory).vocoder).toBeNull();
  });
});
