// The words of a text and when they are said: written forms beside what the voice reads, and times that are
// near the onsets of the sound.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { captions } from "../../src/cli/captions.ts";
import { asWrittenIn, WordTimes, wordsIn } from "../../src/engine/words.ts";
import { type Engine, open, type SpeakOptions, type WordTime } from "../../src/engine.ts";
import {
  bundleOf,
  type GoldenFile,
  goldenCases,
  goldenFile,
  madeOnce,
  setJson,
  tokenizerOf,
} from "../_support.ts";

const texts = (words: readonly { text: string }[]) => words.map(({ text }) => text);

describe("written words", () => {
  test("stand between spaces; signs alone are none, and scripts without spaces have them too", () => {
    expect(texts(wordsIn("Dr. Smith – well-known, isn't he?"))).toEqual([
      "Dr.",
      "Smith",
      "well-known,",
      "isn't",
      "he?",
    ]);
    expect(texts(wordsIn("你好世界"))).toEqual(["你好", "世界"]);
  });

  test.each([
    [
      "At 7:30, Bob paid $5.",
      ["at seven thirty bob", "paid five dollars"],
      ["At", "7:30,", "Bob", "paid", "$5."],
    ],
    ["a well-known song", ["a well known song"], ["a", "well-known", "song"]],
    ["one — two 🙂 three", ["one two three"], ["one", "two", "three"]],
    ["nginx", ["engine x"], ["nginx"]],
    ["", ["more than written"], ["more", "than", "written"]],
  ])("%s", (text, said, expected) => {
    const sentences = said.map(wordsIn);
    const placed = asWrittenIn(texts(wordsIn(text)), sentences);
    expect(texts(placed.flat())).toEqual(expected);
    placed.forEach((words, i) => {
      for (const { from, to } of words) expect(said[i].slice(from, to)).toMatch(/^\S.*\S$|^\S$/);
    });
  });
});

test("the tokenizer says where the bytes of each token end", () => {
  const text = "<|im_start|>Zoë's naïve café, 12 €!\n";
  const { ends, ids } = tokenizerOf(bundleOf("tiny-custom")).tokens(text);
  expect(ids.length).toBe(ends.length);
  expect([...ends].sort((a, b) => a - b)).toEqual([...ends]);
  expect([ends[0], ends.at(-1)!]).toEqual(["<|im_start|>".length, Buffer.byteLength(text)]);
});

describe("times", () => {
  const placed = wordsIn("one two three four");
  const sound = (frames: number, value = 0.5) => new Float32Array(1920 * frames).fill(value);
  const follow = (textAt: number[], samples = sound(textAt.length)) => {
    const times = new WordTimes();
    times.take({ sentence: 0, textAt: Int32Array.from(textAt), samples }, placed, 0);
    return times.words.map(({ end, start, text }) => [text, start, end]);
  };

  test("a word lasts from its first frame to the next word, or to the signs behind it", () => {
    expect(follow([0, 1, 4, 7, 8])).toEqual([
      ["one", 0, 0.16],
      ["two", 0.16, 0.24],
      ["three", 0.32, 0.4],
    ]);
  });

  test("a word without a frame of its own begins with the next one", () => {
    expect(follow([0, 8])).toEqual([
      ["one", 0, 0.08],
      ["two", 0.08, 0.08],
      ["three", 0.08, 0.16],
    ]);
  });

  test("a word that begins in silence begins where it is heard", () => {
    const samples = sound(4);
    samples.fill(0, 0, 2400);
    expect(follow([0, 0, 0, 4], samples)[0]).toEqual(["one", 0.1, 0.24]);
  });

  test("where nothing is known there are none", () => {
    expect(follow([-1, -1])).toEqual([]);
  });
});

test("subtitles and JSON", () => {
  const words: WordTime[] = [{ text: "<b>", sentence: 0, start: 3661.5, end: 3662 }];
  expect(captions(words, "a.srt")).toBe("1\n01:01:01,500 --> 01:01:02,000\n<b>\n");
  expect(captions(words, "a.VTT")).toBe("WEBVTT\n\n01:01:01.500 --> 01:01:02.000\n&lt;b&gt;\n");
  expect(JSON.parse(captions(words, "a.json"))).toEqual({ words });
});

describe("the starter voice", () => {
  const engines = new Map<string, Promise<Engine>>();
  afterAll(async () => {
    for (const engine of engines.values()) await (await engine).close();
  });
  const engineOf = (talker: "llama" | "ort") => {
    const engine = engines.get(talker) ?? open({ model: bundleOf("starter").directory, talker });
    engines.set(talker, engine);
    return engine;
  };

  async function spoken(talker: "llama" | "ort", text: string, options: SpeakOptions) {
    const speech = (await engineOf(talker)).speak(text, options);
    const samples: number[] = [];
    for await (const chunk of speech) {
      expect(chunk.textAt.length).toBe(chunk.codes.length / 16);
      samples.push(...chunk.samples);
    }
    return { words: speech.words, samples, speech };
  }

  /** Seconds where sound rises out of at least 60 ms that are quiet. */
  function onsets(samples: readonly number[]): number[] {
    const width = 120; // 5 ms
    const energy = Array.from({ length: Math.floor(samples.length / width) }, (_, i) =>
      Math.hypot(...samples.slice(i * width, (i + 1) * width)),
    );
    const quiet = 0.03 * Math.max(...energy);
    return energy.flatMap((value, i) =>
      value > quiet && energy.slice(Math.max(0, i - 12), i).every((before) => before <= quiet)
        ? [(i * width) / 24_000]
        : [],
    );
  }

  test.each(["llama", "ort"] as const)(
    "%s: words set apart by pauses begin where the sound does",
    async (talker) => {
      const errors: number[] = [];
      for (const text of [
        "Kitchen. Garden. Seven. Monday. Tuesday. Dinner. Window. Morning. Table. Paper.",
        "Dinner, Monday, kitchen, seven, garden, table, people, button.",
      ]) {
        const { samples, words } = await spoken(talker, text, { seed: 1 });
        expect(texts(words)).toEqual(text.split(" "));
        const found = onsets(samples);
        errors.push(...words.map(({ start }) => Math.min(...found.map((onset) => Math.abs(start - onset)))));
        words.forEach(({ end, start }, i) => {
          expect(end).toBeGreaterThan(start);
          expect(start).toBeGreaterThanOrEqual(words[i - 1]?.end ?? 0);
        });
      }
      errors.sort((a, b) => a - b);
      expect(errors[errors.length >> 1]).toBeLessThan(0.06);
    },
  );

  test("times count from the sound that is given out, without the silence that was left out", async () => {
    const whole = await spoken("llama", "Dinner is ready.", { seed: 1 });
    const trimmed = await spoken("llama", "Dinner is ready.", { seed: 1, trimStart: true });
    const cut = (whole.samples.length - trimmed.samples.length) / 24_000;
    expect(cut).toBeGreaterThan(0.02);
    expect(trimmed.words[2].start).toBeCloseTo(whole.words[2].start - cut, 2);
  });

  const rise = (words: readonly WordTime[]) =>
    words.every(({ end, start }, i) => end >= start && start >= (words[i - 1]?.start ?? 0));

  test("a text that comes in pieces has the times of the whole text, where the codes are the same", async () => {
    const text = "Dinner is ready. [pause 200ms] Close the windows, it is 7:30.";
    const engine = await engineOf("llama");
    const whole = engine.speak(text, { seed: 1 });
    const codes = (await Array.fromAsync(whole)).flatMap((chunk) => [...chunk.codes]);
    expect(texts(whole.words)).toEqual(text.replace("[pause 200ms] ", "").split(" "));
    expect(rise(whole.words)).toBe(true);
    for (const size of [3, 11]) {
      const pieced = engine.speak(text.match(new RegExp(`.{1,${size}}`, "g"))!, { seed: 1 });
      expect((await Array.fromAsync(pieced)).flatMap((chunk) => [...chunk.codes])).toEqual(codes);
      expect(pieced.words).toEqual(whole.words);
    }
  });

  test.each(["llama", "ort"] as const)("%s: a prompt whose text streams has times too", async (talker) => {
    const text = "Kitchen, garden, seven, Monday, dinner, window.";
    const { samples, words } = await spoken(talker, text, { seed: 1, textMode: "stream", watch: false });
    expect(words.length).toBeGreaterThan(0);
    expect(texts(words)).toEqual(text.split(" ").slice(0, words.length));
    expect(rise(words)).toBe(true);
    expect(words.at(-1)!.end).toBeLessThanOrEqual(samples.length / 24_000 + 0.001);
  });

  test("an engine that does not watch gives the same sound without words", async () => {
    await using engine = await open({
      model: bundleOf("starter").directory,
      talker: "llama",
      alignment: false,
    });
    const speech = engine.speak("Dinner is ready.", { seed: 1 });
    const codes = (await Array.fromAsync(speech)).flatMap((chunk) => [...chunk.codes]);
    expect(speech.words).toEqual([]);
    const watched = (await engineOf("llama")).speak("Dinner is ready.", { seed: 1 });
    expect((await Array.fromAsync(watched)).flatMap((chunk) => [...chunk.codes])).toEqual(codes);
  });
});

/** A Base model of random weights, one of whose heads is watched as if it followed the text. */
const watchedBase = () =>
  madeOnce("watched-base", (folder) => {
    cpSync(bundleOf("tiny-base").directory, folder, { recursive: true });
    setJson("bundle.json", "alignment", { layer: 1, head: 1, keyHead: 0, width: 32 })(folder);
  });

describe("a cloned voice", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await open({ model: watchedBase(), talker: "llama" });
  });
  afterAll(() => engine.close());

  const cases = goldenCases().filter(({ kind }) => kind === "base");
  const voiceOf = (golden: GoldenFile, text = "") => ({
    ...{ name: "golden", text, xVector: golden.floats("x_vector") },
    codes: golden.has("ref_codes") ? golden.ints("ref_codes") : null,
    codebookSize: engine.manifest.shape.codes,
  });

  test.each(cases.map((one) => [one.name, one] as const))(
    "%s: the watched head changes no code",
    async (_name, one) => {
      const golden = goldenFile(one);
      const { language, max_new_tokens, non_streaming_mode = true, ref_text, text } = one;
      const speech = engine.speak(text, {
        ...{ greedy: true, watch: false, language, maxFrames: max_new_tokens - 1 },
        textMode: non_streaming_mode ? "whole" : "stream",
        voice: voiceOf(golden, ref_text ?? ""),
      });
      const chunks = await Array.fromAsync(speech);
      expect(chunks.flatMap(({ codes }) => [...codes])).toEqual([...golden.ints("codes")]);
      const places = chunks.flatMap(({ textAt }) => [...textAt]);
      expect(Math.min(...places)).toBeGreaterThanOrEqual(non_streaming_mode ? 0 : -1);
      expect(Math.max(...places)).toBeWithin(0, speech.sentences[0].length);
      expect(texts(speech.words)).toEqual(texts(wordsIn(text)).slice(0, speech.words.length));
      const starts = speech.words.map(({ start }) => start);
      expect(starts).toEqual(starts.toSorted((a, b) => a - b));
    },
  );

  test("whose recording has more words than frames is followed once its own text has begun", async () => {
    const one = cases.find(({ name }) => name === "icl-stream")!;
    const voice = voiceOf(goldenFile(one), "one two three four five six seven eight nine ten eleven twelve");
    const speech = engine.speak("Alpha beta gamma delta epsilon.", {
      ...{ greedy: true, watch: false, textMode: "stream", maxFrames: 60 },
      voice: { ...voice, codes: voice.codes!.slice(0, 2 * 16) },
    });
    const places = (await Array.fromAsync(speech)).flatMap(({ textAt }) => [...textAt]);
    expect(places[0]).toBe(-1);
    expect(new Set(places.filter((place) => place >= 0)).size).toBeGreaterThan(1);
  });
});
