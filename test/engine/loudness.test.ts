// The loudness of a voice: measured once, kept, and the same whatever the engine was opened with.

import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LoudnessMeter } from "../../src/audio/loudness.ts";
import { type Engine, loudnessFilter, type OpenOptions, open, speedFilter } from "../../src/engine.ts";
import { bundleOf, rejectionOf, scratchFolder } from "../_support.ts";

const engines: Engine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

async function openStarter(cacheDir: string, options: OpenOptions = {}): Promise<Engine> {
  const engine = await open({ model: bundleOf("starter").directory, cacheDir, ...options });
  engines.push(engine);
  return engine;
}

let folders = 0;
const newCache = () => join(scratchFolder(), `loudness-${folders++}`);
const folderOf = (cacheDir: string) => join(cacheDir, "loudness");
const numbersIn = (cacheDir: string) =>
  readdirSync(folderOf(cacheDir)).map((name) =>
    JSON.parse(readFileSync(join(folderOf(cacheDir), name), "utf8")),
  );

/** @returns the loudness, and how often it was measured for it */
async function ask(engine: Engine): Promise<{ lufs: number; measured: number }> {
  let measured = 0;
  const lufs = await engine.loudness({}, () => measured++);
  return { lufs, measured };
}

describe("a voice", () => {
  test("is measured once, and its number is kept for later engines", async () => {
    const cache = newCache();
    const engine = await openStarter(cache);
    const first = await ask(engine);
    expect(first.measured).toBe(1);
    expect(first.lufs).toBeGreaterThan(-30);
    expect(first.lufs).toBeLessThan(-10);
    expect(await ask(engine)).toEqual({ lufs: first.lufs, measured: 0 });
    expect(await ask(await openStarter(cache))).toEqual({ lufs: first.lufs, measured: 0 });
    expect(numbersIn(cache)).toEqual([first.lufs]);
  });

  test("has the same loudness where the engine draws otherwise, or begins with a speech", async () => {
    const { lufs } = await ask(await openStarter(newCache()));
    expect(await ask(await openStarter(newCache(), { greedy: true }))).toEqual({ lufs, measured: 1 });
    const first = { text: "Dinner is ready. ".repeat(8), options: { greedy: true, seed: 1 } };
    const engine = await openStarter(newCache(), { first });
    expect(await ask(engine)).toEqual({ lufs, measured: 1 });
    const alone = await Array.fromAsync((await openStarter(newCache())).speak(first.text, first.options));
    const behind = await Array.fromAsync(engine.first!);
    const codes = (chunks: typeof alone) => chunks.flatMap((chunk) => [...chunk.codes]);
    expect(codes(behind)).toEqual(codes(alone));
  });

  test.each([
    ["no JSON", "{"],
    ["a list", "[1, 2]"],
    ["nothing", "null"],
    ["no loudness", "1e9"],
    ["empty", ""],
  ])("is measured again where the file is damaged: %s", async (_what, content) => {
    const cache = newCache();
    const engine = await openStarter(cache);
    const { lufs } = await ask(engine);
    const [name] = readdirSync(folderOf(cache));
    writeFileSync(join(folderOf(cache), name), content);
    expect(await ask(engine)).toEqual({ lufs, measured: 1 });
    expect(await ask(engine)).toEqual({ lufs, measured: 0 });
  });

  test("is measured each time where nothing can be kept", async () => {
    const cache = newCache();
    mkdirSync(cache, { recursive: true });
    writeFileSync(folderOf(cache), ""); // a file has the folder's name
    const engine = await openStarter(cache, { prefixCache: "off" });
    const { lufs } = await ask(engine);
    expect(await ask(engine)).toEqual({ lufs, measured: 1 });
    expect(readdirSync(cache)).toEqual(["loudness"]);
  });

  test("keeps its number whatever others measure meanwhile, and old ones go", async () => {
    const cache = newCache();
    mkdirSync(folderOf(cache), { recursive: true });
    for (let i = 0; i < 505; i++) {
      const file = join(folderOf(cache), `${i}`);
      writeFileSync(file, "-20");
      utimesSync(file, i, i);
    }
    const engine = await openStarter(cache);
    await engine.loudness({}, () => writeFileSync(join(folderOf(cache), "other"), "-21")); // another process
    const names = readdirSync(folderOf(cache));
    expect(names.length).toBe(500);
    expect(["0", "6", "7", "504", "other"].map((name) => names.includes(name))).toEqual([
      ...[false, false, true, true, true],
    ]);
    expect((await ask(engine)).measured).toBe(0);
  });

  test("is not measured on after its signal, and nothing is kept then", async () => {
    const cache = newCache();
    const engine = await openStarter(cache);
    const controller = new AbortController();
    const asked = engine.loudness({ signal: controller.signal }, () => controller.abort(new Error("enough")));
    expect(await asked.catch((error: Error) => error.message)).toBe("enough");
    expect((await ask(engine)).measured).toBe(1);
  });

  test("comes out at the loudness that is asked for, with one gain", async () => {
    const engine = await openStarter(newCache());
    const { lufs } = await ask(engine);
    const chunks = await Array.fromAsync(engine.speak("Dinner is ready. Close the windows.", { seed: 4 }));
    const samples = Float32Array.from(chunks.flatMap((chunk) => [...chunk.samples]));
    const loudness = (sound: Float32Array) => {
      const meter = new LoudnessMeter();
      meter.push(sound);
      return meter.integrated();
    };
    const filter = loudnessFilter(-24 - lufs);
    const out = Float32Array.from([...filter.push(samples), ...filter.end()]);
    expect(loudness(out)).toBeCloseTo(loudness(samples) - 24 - lufs, 2);
    expect(Math.abs(loudness(out) + 24)).toBeLessThan(3);
    const faster = speedFilter(1.2);
    expect(faster.push(samples).length + faster.end().length).toBe(Math.round(samples.length / 1.2));
  });
});

test("what it is asked with is checked", async () => {
  const engine = await openStarter(newCache());
  expect(await rejectionOf(engine.loudness({ speaker: "nobody" }))).toMatchObject({
    code: "SPEAKER_UNKNOWN",
  });
  expect(await rejectionOf(engine.loudness({}, 3 as never))).toMatchObject({
    code: "USAGE",
    message: "loudness: onMeasure is 3",
  });
});
