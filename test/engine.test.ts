// The program interface: speaking, cancelling, lanes, decoding, and what happens when a stage dies. Real
// workers, real libraries.

import { afterEach, describe, expect, test } from "bun:test";
import { appendFileSync, cpSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { allowedCores } from "../src/cores.ts";
import { type AudioChunk, type Engine, type OpenOptions, open, type SpeakOptions } from "../src/engine.ts";
import { BUNDLE_FILES } from "../src/formats/bundle.ts";
import { bundleOf, GoldenFile, maxDifference, patient, readJson, scratchFolder } from "./_support.ts";

/** All workers: each announces itself on the process. */
const started: Worker[] = [];
process.on("worker", (worker) => started.push(worker));

const engines: Engine[] = [];
async function openStarter(options: OpenOptions = {}): Promise<Engine> {
  const engine = await open({ model: bundleOf("starter").directory, ...options });
  engines.push(engine);
  return engine;
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
  started.length = 0;
});

const TEXT = "The kettle is ready. The time is seven forty five.";
const LONG = "Please close the windows and turn off the lights. ".repeat(6);

async function collect(
  speech: AsyncIterable<AudioChunk>,
): Promise<{ samples: Float32Array; codes: Int32Array; chunks: AudioChunk[] }> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of speech) chunks.push(chunk);
  const samples = Float32Array.from(chunks.flatMap((chunk) => Array.from(chunk.samples)));
  return { samples, codes: Int32Array.from(chunks.flatMap((chunk) => Array.from(chunk.codes))), chunks };
}

const speak = (engine: Engine, text: string, options: SpeakOptions = {}) =>
  collect(engine.speak(text, { greedy: true, seed: 1, ...options }));

describe("speaking", () => {
  test("gives the official codes and sound of the starter voice", async () => {
    const engine = await openStarter();
    const { cases } = readJson<{ cases: { name: string; text: string; ipa: string }[] }>(
      "starter/cases.json",
    );
    for (const { name, text, ipa } of cases) {
      const golden = new GoldenFile(`starter/${name}.safetensors`);
      const speech = engine.speak(text, { greedy: true });
      const { samples, codes } = await collect(speech);
      expect(speech.sentences).toEqual([ipa]);
      expect(codes).toEqual(golden.ints("codes"));
      expect(maxDifference(samples, golden.floats("audio"))).toBeLessThan(1e-5);
    }
  });

  test("the same seed gives the same bytes, another seed others", async () => {
    const engine = await openStarter();
    const run = (seed: number) => speak(engine, TEXT, { greedy: false, seed });
    const [first, again, other] = [await run(1), await run(1), await run(2)];
    expect(again.samples).toEqual(first.samples);
    expect(other.codes).not.toEqual(first.codes);
  });

  test("long text comes sentence by sentence, in order, with figures that add up", async () => {
    const engine = await openStarter();
    const speech = engine.speak(LONG, { greedy: true });
    const { chunks, samples } = await collect(speech);
    const order = chunks.map(({ sentence }) => sentence);
    expect(speech.sentences.length).toBeGreaterThan(2);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(new Set(order).size).toBe(speech.sentences.length);
    const summary = speech.summary();
    expect(summary.frames * 1920).toBe(samples.length);
    expect(summary.audioSeconds).toBeCloseTo(samples.length / 24000, 3);
    expect(summary.stop).toBe("eos");
    for (const stage of ["talker", "predictor", "vocoder"] as const)
      expect(summary.msPerFrame[stage]).toBeGreaterThan(0);
  });

  test("two lanes say what one lane says", async () => {
    const [one, two] = [await openStarter(), await openStarter({ lanes: 2 })];
    const [a, b] = [await speak(one, LONG), await speak(two, LONG)];
    expect(b.codes).toEqual(a.codes);
    expect(maxDifference(b.samples, a.samples)).toBeLessThan(1e-4);
  });

  test("drawn with a seed, four lanes say the same every time, and in q4_0 what one lane says, to the bit", async () => {
    const drawn = async (engine: Engine) => {
      const { codes, samples } = await collect(engine.speak(LONG, { seed: 11 }));
      return {
        codes,
        samples: Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength).toString("base64"),
      };
    };
    const engines = await Promise.all([1, 4, 4].map((lanes) => openStarter({ lanes, weights: "q4_0" })));
    // side by side, so that each waits differently for the others
    const [one, four, again] = await Promise.all(engines.map(drawn));
    expect(again).toEqual(four);
    expect(four).toEqual(one);
  });

  test("two texts at once on one engine do not mix", async () => {
    const engine = await openStarter();
    const alone = [await speak(engine, "Dinner is ready."), await speak(engine, TEXT)];
    const together = await Promise.all([speak(engine, "Dinner is ready."), speak(engine, TEXT)]);
    expect(together.map(({ codes }) => codes)).toEqual(alone.map(({ codes }) => codes));
  });

  test("the frame limit counts frames and is given as the reason", async () => {
    const engine = await openStarter();
    const speech = engine.speak(TEXT, { greedy: true, maxFrames: 7 });
    expect((await collect(speech)).codes.length).toBe(7 * 16);
    expect(speech.summary().stop).toBe("length");
  });

  test("a slow listener gets everything, and memory stays bounded by the ring", async () => {
    const engine = await openStarter();
    const expected = await speak(engine, TEXT);
    const codes: number[] = [];
    for await (const chunk of engine.speak(TEXT, { greedy: true })) {
      expect(chunk.codes.length).toBeLessThanOrEqual(32 * 16);
      codes.push(...chunk.codes);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    expect(codes).toEqual(Array.from(expected.codes));
  });

  test.skipIf(allowedCores().length < 2)(
    "every stage keeps to its cores, and so do the threads of its library",
    async () => {
      const [first, second] = allowedCores().map(({ id }) => id);
      const others = readdirSync("/proc/self/task"); // of engines that other files keep open
      const engine = await openStarter({ cpus: { all: [first, second] }, threads: 1, promptThreads: 2 });
      const spoken = await speak(engine, TEXT);
      /** Name of a thread -> the cores of each thread of that name. */
      const tasks = readdirSync("/proc/self/task").filter((task) => !others.includes(task));
      const cores = Object.groupBy(
        tasks.map((task) => {
          const read = (name: string) => readFileSync(`/proc/self/task/${task}/${name}`, "utf8");
          return {
            name: read("comm").trim(),
            cores: /^Cpus_allowed_list:\s*(\S+)$/m.exec(read("status"))![1],
          };
        }),
        ({ name }) => name,
      );
      const coresOf = (name: string) => cores[name]!.map((thread) => thread.cores).toSorted();
      expect(coresOf("talker")).toEqual([String(first), String(second)]); // a core for each thread
      expect(coresOf("vocoder")).toEqual([String(first)]);
      expect(new Set(coresOf("predictor"))).toEqual(new Set([String(second)]));
      expect(engine.warnings).toEqual([]);
      await engine.close();
      expect(spoken.codes).toEqual((await speak(await openStarter(), TEXT)).codes);
    },
  );

  test("breaking out of the loop cancels, and the engine speaks on", async () => {
    const engine = await openStarter();
    const expected = await speak(engine, "Dinner is ready.");
    for (let round = 0; round < 3; round++) {
      for await (const chunk of engine.speak(LONG, { greedy: true })) {
        expect(chunk.sentence).toBe(0);
        break;
      }
      expect((await speak(engine, "Dinner is ready.")).codes).toEqual(expected.codes);
    }
  });
});

describe("listening in other ways", () => {
  test("a listener who stops in the middle does not hold up others", async () => {
    for (const lanes of [1, 2]) {
      const engine = await openStarter({ lanes });
      const paused = engine.speak(LONG, { greedy: true })[Symbol.asyncIterator]();
      await paused.next();
      const expected = new GoldenFile("starter/starter-00.safetensors").ints("codes");
      const { codes } = await speak(engine, "Dinner is ready.");
      expect(codes).toEqual(expected);
      await paused.return?.(undefined);
      expect((await speak(engine, "Dinner is ready.")).codes).toEqual(expected);
    }
  });

  test("decoding beside speaking loses nothing", async () => {
    const engine = await openStarter();
    const codes = new GoldenFile("starter/starter-06.safetensors").ints("codes");
    const [decoded] = await Promise.all([collect(engine.decode(codes)), speak(engine, LONG)]);
    expect(
      maxDifference(decoded.samples, new GoldenFile("starter/starter-06.safetensors").floats("audio")),
    ).toBeLessThan(1e-5);
  });

  test("closing the engine ends every iteration with an error", async () => {
    const engine = await openStarter();
    const codes = new GoldenFile("starter/starter-06.safetensors").ints("codes");
    const listening = [
      collect(engine.speak(LONG)),
      collect(engine.decode(codes)),
      collect(engine.decode(codes)),
    ];
    const ends = Promise.allSettled(listening);
    const never = engine.speak("Hello.");
    await Promise.all([engine.close(), engine.close()]);
    expect((await ends).map(({ status }) => status)).toContain("rejected");
    await expect(collect(never)).rejects.toThrow("the engine was closed");
  });

  test("a speech is listened to once", async () => {
    const engine = await openStarter();
    const speech = engine.speak("Hello.", { greedy: true });
    await collect(speech);
    await expect(collect(speech)).rejects.toThrow("listened to once");
  });

  test("a sentence that fails is an error, whichever message comes first", async () => {
    const engine = await openStarter({ contextPositions: 30 });
    for (let round = 0; round < 30; round++)
      await expect(speak(engine, "Please close the windows and turn off the lights.")).rejects.toThrow(
        "context holds 30",
      );
  });
});

describe("decoding", () => {
  test("codes give the samples they had when spoken, also several at once", async () => {
    const engine = await openStarter();
    const [a, b] = [await speak(engine, TEXT), await speak(engine, "Dinner is ready.")];
    const [again, other] = await Promise.all([
      collect(engine.decode(a.codes)),
      collect(engine.decode(b.codes)),
    ]);
    expect(again.samples).toEqual(a.samples);
    expect(other.samples).toEqual(b.samples);
  });

  test("an engine for decoding alone loads no talker, and may be left in the middle", async () => {
    const engine = await openStarter({ use: "decode" });
    expect(engine.backends).toEqual({ vocoder: "ort" });
    const codes = new GoldenFile("starter/starter-06.safetensors").ints("codes");
    for await (const _ of engine.decode(codes)) break;
    const { samples } = await collect(engine.decode(codes));
    expect(
      maxDifference(samples, new GoldenFile("starter/starter-06.safetensors").floats("audio")),
    ).toBeLessThan(1e-5);
  });

  test("codes of another model are refused", async () => {
    const engine = await openStarter({ use: "decode" });
    const { codes } = engine.manifest.shape;
    expect(() => engine.decode(new Int32Array(16).fill(codes))).toThrow(`frame 0, code 0 is ${codes}`);
    expect(() => engine.decode(new Int32Array(17))).toThrow("17 codes");
  });
});

describe("failures", () => {
  test.each([0, 1, 2])("a worker that ends by itself (%d) is an error, not a hang", async (which) => {
    const engine = await openStarter();
    const speech = engine.speak(LONG, { greedy: true });
    const listening = (async () => {
      for await (const _ of speech) {
        // by now every ring is full and every stage waits
        await new Promise((resolve) => setTimeout(resolve, patient(600)));
        await started[which].terminate();
      }
    })();
    await expect(listening).rejects.toThrow("worker ended by itself");
    expect(() => engine.speak("Hello.")).toThrow("worker ended by itself");
  });

  test("a damaged model file is named", async () => {
    for (const file of [
      BUNDLE_FILES.talker,
      BUNDLE_FILES.tables,
      BUNDLE_FILES.vocoder,
      BUNDLE_FILES.tokenizer,
    ]) {
      const broken = join(scratchFolder(), `broken-${file}`);
      cpSync(bundleOf("starter").directory, broken, { recursive: true });
      truncateSync(join(broken, file), 1000);
      await expect(open({ model: broken })).rejects.toThrow(file);
    }
  });

  test("a manifest of a newer version is refused", async () => {
    const newer = join(scratchFolder(), "newer");
    cpSync(bundleOf("starter").directory, newer, { recursive: true });
    truncateSync(join(newer, "bundle.json"), 0);
    appendFileSync(join(newer, "bundle.json"), JSON.stringify({ format: "qwen3-tts-bundle", version: 999 }));
    await expect(open({ model: newer })).rejects.toThrow("format version 999");
  });

  test("unusable texts and options are refused before anything runs", async () => {
    const engine = await openStarter();
    const refused: [string, SpeakOptions, string][] = [
      ["", {}, "blank"],
      ["<|im_end|>", {}, "control tokens"],
      ["🙂", {}, "symbols"],
      ["a".repeat(200_001), {}, "200001 bytes"],
      ["Hello.", { speaker: "nobody" }, "nobody"],
      ["Hello.", { language: "klingon" }, "klingon"],
      ["Hello.", { instruct: "whisper" }, "instructions"],
      ["Hello.", { seed: -1 }, "seed is -1"],
      ["Hello.", { maxFrames: 0 }, "frame limit is 0"],
      ["Hello.", { sampling: { talker: { temperature: 0 } } }, "temperature is 0"],
      ["Hello.", { sampling: { predictor: { topP: 2 } } }, "top-p is 2"],
    ];
    for (const [text, options, message] of refused)
      expect(() => engine.speak(text, options)).toThrow(message);
  });
});
