// The words of a text and when they are said: written forms beside what the voice reads, and times that are
// near the onsets of the sound.

import { afterAll, describe, expect, test } from "bun:test";
import { captions } from "../../src/cli/captions.ts";
import { asWrittenIn, WordTimes, wordsIn } from "../../src/engine/words.ts";
import { type Engine, open, type SpeakOptions, type WordTime } from "../../src/engine.ts";
import { bundleOf, tokenizerOf } from "../_support.ts";

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
