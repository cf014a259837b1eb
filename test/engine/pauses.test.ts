// Pauses in the sound: chunks of silence without codes, which change no code of the sentences around them.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type AudioChunk, type Engine, open, type SpeakOptions } from "../../src/engine.ts";
import { bundleOf } from "../_support.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await open({ model: bundleOf("starter").directory });
});
afterAll(() => engine.close());

const seeded = { seed: 1, maxFrames: 6 } as const;

async function speak(text: string | string[], options: SpeakOptions = {}) {
  const speech = engine.speak(text, { ...seeded, ...options });
  const chunks: AudioChunk[] = [];
  for await (const chunk of speech) chunks.push(chunk);
  const sound = chunks.flatMap(({ samples }) => Array.from(samples));
  const codes = chunks.flatMap((chunk) => Array.from(chunk.codes));
  return { chunks, codes, sound, speech };
}

describe("a pause", () => {
  test("is silence without codes in its place, in pieces of at most a second", async () => {
    const { chunks, codes, sound, speech } = await speak(
      "[pause 100ms]One.[pause 1500ms]Two.<break time='1ms'/>",
    );
    const silent = chunks.filter((chunk) => chunk.codes.length === 0);
    expect(silent.map(({ samples, sentence }) => [samples.length, sentence])).toEqual([
      [2_400, 0],
      [24_000, 1],
      [12_000, 1],
      [24, 1],
    ]);
    expect(silent.every(({ samples }) => samples.every((sample) => sample === 0))).toBe(true);
    expect([...speech.pauses]).toEqual([
      [0, 100],
      [1, 1500],
      [2, 1],
    ]);
    expect(chunks.indexOf(silent[0])).toBe(0);
    expect(sound.length).toBe(2_400 + 36_000 + 24 + (codes.length / 16) * 1_920);
    expect(speech.summary().audioSeconds).toBeCloseTo(sound.length / 24_000, 3);
  });

  test("changes no code and no sound beside it", async () => {
    const one = await speak("One.");
    const both = await speak("One. [pause 50ms] Two.");
    const none = await speak("One. [pause 0ms] Two.");
    expect(both.codes).toEqual(none.codes);
    expect(both.codes.slice(0, one.codes.length)).toEqual(one.codes);
    const at = one.sound.length;
    expect([...both.sound.slice(0, at), ...both.sound.slice(at + 1_200)]).toEqual(none.sound);
  });

  test("is the same in a text that comes in pieces, with tags cut anywhere", async () => {
    const text =
      "<speak>One. [pause 50ms]Two &amp; three. <break time='30ms'/> <sub alias='four'>4</sub></speak>[pause 9ms]";
    const whole = await speak(text);
    for (const size of [1, 5, 17]) {
      const pieces = text.match(new RegExp(`.{1,${size}}`, "gs"))!;
      const { sound, speech } = await speak(pieces);
      expect([size, [...speech.pauses], speech.sentences]).toEqual([
        size,
        [...whole.speech.pauses],
        whole.speech.sentences,
      ]);
      expect(sound).toEqual(whole.sound);
    }
  });

  test("stands between sentences and paragraphs where that is asked for, and is a setting", async () => {
    const text = "One. Two.\n\nThree.";
    const pauses = { sentenceMs: 20, paragraphMs: 70 };
    const { speech } = await speak(text, { pauses });
    expect([...speech.pauses]).toEqual([
      [1, 20],
      [2, 70],
    ]);
    expect(speech.settings.pauses).toEqual(pauses);
    const pieced = await speak(["One. Tw", "o.\n", "\nThree."], { pauses });
    expect([...pieced.speech.pauses]).toEqual([...speech.pauses]);
    const plain = await speak(text);
    expect([plain.speech.pauses.size, plain.speech.sentences.length]).toEqual([0, 1]);
  });

  test("goes with the start that is trimmed", async () => {
    const { sound } = await speak("One.", { trimStart: true });
    expect((await speak("[pause 1s]One.", { trimStart: true })).sound).toEqual(sound);
  });

  test("ends at once when the speech is cancelled", async () => {
    const speech = engine.speak("[pause 60s]One.", seeded);
    let chunks = 0;
    for await (const { samples } of speech) {
      expect(samples.length).toBe(24_000);
      if (++chunks === 2) speech.cancel();
    }
    expect([chunks, speech.summary().stop]).toEqual([2, "cancelled"]);
  });
});

test("raw text is not markup", () => {
  const speech = engine.speak("wˈʌn [pause 1s] <break/>", { ...seeded, rawText: true });
  expect([speech.pauses.size, speech.sentences]).toEqual([0, ["wˈʌn [pause 1s] <break/>"]]);
  speech.cancel();
});

test("signs that stand alone between pauses are left out and named, as they would be among words", () => {
  const left = (text: string | string[], options: SpeakOptions = {}) => {
    const speech = engine.speak(text, { ...seeded, ...options });
    speech.cancel();
    return speech.unread;
  };
  expect(left("One [pause] … “—”! [pause] ?? [pause] Two")).toEqual([]);
  expect(left("One [pause] # ❤️ 👩‍🚀, % # [pause] <|im_end|> + [pause 1s]")).toEqual([
    ...["#", "❤️", "👩‍🚀", "%", "<|im_end|>", "+"],
  ]);
  expect(left("One. ☂! Two.", { pauses: { sentenceMs: 10 } })).toEqual(["☂"]);
  expect(left("☂ [pause] One. ☂")).toEqual(["☂"]);
});

test("markup that is not obeyed is named, and wrong pauses are refused", () => {
  const speech = engine.speak("<prosody rate='slow'>One</prosody> ☃ [pause] ☂", seeded);
  expect([speech.ignored, speech.unread]).toEqual([["<prosody>"], ["☃", "☂"]]);
  speech.cancel();
  for (const text of ["a [pause 61s] b", "a [pause 60s] [pause 1s] b", "a <break time='soon'/> b"])
    expect(() => engine.speak(text, seeded)).toThrow(expect.objectContaining({ code: "USAGE" }));
  expect(() => engine.speak("a", { pauses: { sentenceMs: 60_001 } })).toThrow(
    "between sentences, in ms, is 60001",
  );
  expect(() => engine.speak("<p> [pause 1s] </p>", seeded)).toThrow("nothing to speak");
});
