// Speculation through the door: the starter voice says the same codes with and without, greedily and by a
// seed, in about half the calls of its code predictor.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadConfig, weightTypes } from "../../src/config.ts";
import { convert } from "../../src/convert/index.ts";
import { type Engine, type OpenOptions, open, type SpeakOptions, type Summary } from "../../src/engine.ts";
import { openBundle } from "../../src/formats/bundle.ts";
import { GoldenFile, STARTER, scratchFolder } from "../_support.ts";

const TEXT =
  "The kettle is ready. The time is seven forty five, and dinner will be served in the large room at eight. " +
  "Every morning the old man walked along the river and counted the boats. Nobody asked him how many there were.";
const CHOICES = ["off", "auto", "on"] as const;

// a bundle with its measurement, which the test bundles lack
const model = join(scratchFolder(), "measured-starter");
const engines = new Map<string, Engine>();
let proven = 1;
beforeAll(async () => {
  if (!existsSync(model)) {
    const config = loadConfig({ cacheDir: scratchFolder() });
    const keep = { predictor: ["ort", "llama"] } as const;
    await convert({ source: STARTER, target: model, weights: weightTypes("f32"), config, keep }, () => {});
  }
  proven = openBundle(model).manifest.predictorPassMs.ort.length;
});
afterAll(async () => {
  for (const engine of engines.values()) await engine.close();
});

async function engineWith(options: OpenOptions): Promise<Engine> {
  const key = JSON.stringify(options);
  const engine = engines.get(key) ?? (await open({ model, predictor: "ort", ...options }));
  engines.set(key, engine);
  return engine;
}

async function speak(engine: Engine, text: string, options: SpeakOptions): Promise<[number[], Summary]> {
  const speech = engine.speak(text, options);
  const chunks = await Array.fromAsync(speech);
  return [chunks.flatMap(({ codes }) => Array.from(codes)), speech.summary()];
}

describe.each([
  ["greedily", { greedy: true, seed: 1 }, 7.5],
  ["at its own settings", { seed: 7 }, 9],
] as const)("%s", (_how, options, mostCalls) => {
  test("the codes are the same with speculation off, auto and on; only the calls are fewer", async () => {
    const spoken: [number[], Summary][] = [];
    for (const speculate of CHOICES) spoken.push(await speak(await engineWith({ speculate }), TEXT, options));
    const [[codes, plain], ...others] = spoken;
    expect(plain.speculation).toEqual({ callsPerFrame: 15, rightDrafts: [] });
    for (const [theirs, { frames, speculation }] of others) {
      expect(frames).toBeGreaterThan(100);
      expect(theirs).toEqual(codes);
      if (proven < 3) continue;
      expect(speculation.callsPerFrame).toBeLessThanOrEqual(mostCalls);
      expect(speculation.rightDrafts[0]).toBeGreaterThan(0.6);
    }
  });

  test("sentences side by side are not speculated, and say the same", async () => {
    const both = await engineWith({ speculate: "on", lanes: 2 });
    const [[codes]] = [await speak(await engineWith({ speculate: "off" }), "Dinner is ready.", options)];
    const speeches = [1, 2].map(() => speak(both, "Dinner is ready.", options));
    for (const [theirs] of await Promise.all(speeches)) expect(theirs).toEqual(codes);
  });
});

test("the official codes of a greedy run come out whatever is speculated", async () => {
  const official = Array.from(new GoldenFile("starter/starter-00.safetensors").ints("codes"));
  for (const speculate of CHOICES) {
    const [codes] = await speak(await engineWith({ speculate }), "Dinner is ready.", { greedy: true });
    expect(codes).toEqual(official);
  }
});

test("a library that proves nothing speaks plainly, also when it is told to speculate", async () => {
  const { speculation } = (
    await speak(await engineWith({ predictor: "llama", speculate: "on" }), "Hello.", {})
  )[1];
  const rows = openBundle(model).manifest.predictorPassMs.llama.length;
  expect(speculation.callsPerFrame === 15).toBe(rows === 1);
});

test("pretended codes come as often as they are told to, between 1 and 4 a call", async () => {
  const { frames, speculation } = (
    await speak(await engineWith({ pretendedCodes: 2.5 }), TEXT, { seed: 7, maxFrames: 40 })
  )[1];
  expect(frames).toBeGreaterThan(30);
  if (proven >= 3) expect(15 / speculation.callsPerFrame).toBeWithin(2.4, 2.6);
  for (const pretendedCodes of [0.5, 5, -1])
    await expect(open({ model, pretendedCodes })).rejects.toThrow(`pretendedCodes is ${pretendedCodes}`);
});
