// OpenAI's own client, unchanged, against the server: all formats, both ways of streaming, models, voices and
// errors.

import { beforeAll, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import { toS16le } from "../../../src/audio/pcm.ts";
import { decodeRecording } from "../../../src/audio/read.ts";
import type { Engine } from "../../../src/engine.ts";
import { bytesOf, engineOf, post, type Served, serveEngine, stopAfterAll } from "./_server.ts";

const TEXT = "The kettle is ready.";
const asked = { model: "tts-1", voice: "alloy", input: TEXT } as const;
/** The server's own fields go through the client as any others do. */
const seeded = (seed: number) => ({ ...asked, seed });

stopAfterAll();
let engine: Engine;
let served: Served;
let client: OpenAI;
/** 16-bit samples of the text with seed 1. */
let own: Buffer;

async function spoken(text: string, seed: number): Promise<Buffer> {
  const chunks = await Array.fromAsync(engine.speak(text, { seed }));
  return Buffer.concat(chunks.map(({ samples }) => toS16le(samples)));
}

beforeAll(async () => {
  engine = await engineOf("starter");
  served = serveEngine(engine);
  client = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: "any", maxRetries: 0 });
  own = await spoken(TEXT, 1);
});

describe("sound", () => {
  test("pcm and wav are the engine's own samples", async () => {
    const pcm = await client.audio.speech.create({ ...seeded(1), response_format: "pcm" });
    expect(pcm.headers.get("content-type")).toBe("audio/pcm");
    expect(pcm.headers.get("x-tts-seed")).toBe("1");
    expect((await bytesOf(pcm)).equals(own)).toBe(true);
    const wav = await bytesOf(await client.audio.speech.create({ ...seeded(1), response_format: "wav" }));
    expect(wav.subarray(44).equals(own)).toBe(true);
  });

  test.each([
    ["mp3", "audio/mpeg"],
    ["flac", "audio/flac"],
    ["opus", "audio/ogg; codecs=opus"],
  ] as const)("%s can be decoded and is as long", async (format, type) => {
    const response = await client.audio.speech.create({ ...seeded(1), response_format: format });
    expect(response.headers.get("content-type")).toBe(type);
    const { seconds } = await decodeRecording(await bytesOf(response), "it");
    expect(seconds).toBeWithin(own.length / 48_000 - 0.01, own.length / 48_000 + 0.1);
  });

  test("mp3 is the usual one", async () => {
    const response = await client.audio.speech.create(asked);
    expect(response.headers.get("content-type")).toBe("audio/mpeg");
    await response.body?.cancel();
  });

  test("it comes as it is made", async () => {
    const response = await client.audio.speech.create({ ...asked, response_format: "pcm" });
    let pieces = 0;
    for await (const _ of response.body as unknown as AsyncIterable<Uint8Array>) pieces++;
    expect(pieces).toBeGreaterThan(2);
  });

  test("events hold the same sound, and what it has used", async () => {
    const events = await eventsOf({ ...seeded(1), response_format: "pcm", stream_format: "sse" });
    const types = new Set(events.map(({ type }) => type));
    expect([...types]).toEqual(["speech.audio.delta", "speech.audio.done"]);
    const sound = events.slice(0, -1).map(({ audio }) => Buffer.from(audio as string, "base64"));
    expect(Buffer.concat(sound).equals(own)).toBe(true);
    const { input_tokens, output_tokens, total_tokens } = events.at(-1)!.usage as Record<string, number>;
    expect(output_tokens).toBe(own.length / 2 / 1_920);
    expect(total_tokens).toBe(input_tokens + output_tokens);
  });

  test("words come with their times, before the sound that they begin in", async () => {
    const events = await eventsOf({
      ...seeded(1),
      response_format: "pcm",
      stream_format: "sse",
      words: true,
    });
    expect(events[0]).toEqual({
      type: "speech.audio.settings",
      seed: 1,
      voice: "starter",
      language: "english",
    });
    const words: { text: string; start: number; end: number }[] = [];
    let seconds = 0;
    for (const event of events) {
      if (event.type === "speech.audio.delta")
        seconds += Buffer.from(event.audio as string, "base64").length / 48_000;
      if (event.type !== "speech.audio.words") continue;
      for (const { index, ...word } of event.words as {
        index: number;
        text: string;
        start: number;
        end: number;
      }[]) {
        if (words[index] === undefined) expect(word.start).toBeGreaterThanOrEqual(seconds - 0.5);
        words[index] = word;
      }
    }
    const speech = engine.speak(TEXT, { seed: 1 });
    await Array.fromAsync(speech);
    expect(words).toEqual([...speech.words]);
  });
});

type Event = { type: string; [field: string]: unknown };
async function eventsOf(request: OpenAI.Audio.SpeechCreateParams & { words?: boolean }): Promise<Event[]> {
  const response = await client.audio.speech.create(request);
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const blocks = (await response.text()).split("\n\n");
  expect(blocks.pop()).toBe("");
  return blocks.map((block) => JSON.parse(block.slice("data: ".length)));
}

test("clients at once each get the sound of their own seed and settings", async () => {
  const texts = ["Dinner is at seven.", "It rains today."];
  const expected = [await spoken(texts[0], 2), await spoken(texts[1], 3)];
  const got = await Promise.all(
    texts.map(async (input, i) =>
      bytesOf(await client.audio.speech.create({ ...seeded(i + 2), input, response_format: "pcm" })),
    ),
  );
  expect(got.map((bytes, i) => bytes.equals(expected[i]))).toEqual([true, true]);
});

describe("fields", () => {
  const pcm = { input: TEXT, seed: 1, response_format: "pcm" };
  const soundOf = async (fields: object) => bytesOf(await post(served.url, { ...pcm, ...fields }));

  test("null, names of OpenAI's, no instructions and unknown fields change nothing", async () => {
    const none = {
      speed: null,
      voice: "marin",
      model: "gpt-4o-mini-tts-2025-12-15",
      instructions: "None",
      stream: true,
    };
    expect((await soundOf(none)).equals(own)).toBe(true);
    expect((await soundOf({ voice: { id: "starter" }, instructions: "" })).equals(own)).toBe(true);
  });

  test("a model that takes no instructions says so", async () => {
    const response = await post(served.url, { ...pcm, instructions: "Whisper." });
    expect(response.headers.get("x-tts-ignored")).toBe("instructions");
    expect((await bytesOf(response)).equals(own)).toBe(true);
  });

  test("speed changes the length, sampling the sound", async () => {
    expect((await soundOf({ speed: 0.8 })).length / own.length).toBeCloseTo(1.25, 2);
    const greedy = await Array.fromAsync(engine.speak(TEXT, { seed: 1, greedy: true }));
    const bytes = Buffer.concat(greedy.map(({ samples }) => toS16le(samples)));
    expect((await soundOf({ temperature: 0 })).equals(bytes)).toBe(true);
    const talker = { temperature: 0.9, topK: 20, topP: 0.8, repetitionPenalty: 1.1 };
    const drawn = await Array.fromAsync(engine.speak(TEXT, { seed: 1, sampling: { talker } }));
    const other = Buffer.concat(drawn.map(({ samples }) => toS16le(samples)));
    const fields = { temperature: 0.9, top_k: 20, top_p: 0.8, repetition_penalty: 1.1 };
    expect((await soundOf(fields)).equals(other)).toBe(true);
  });
});

test("models are listed", async () => {
  const [model] = (await client.models.list()).data;
  expect(model.id).toBe("starter");
  expect(await client.models.retrieve(model.id)).toMatchObject({ object: "model" });
});

test("errors are those that the client knows", async () => {
  const failure = (request: object) =>
    client.audio.speech.create({ ...asked, ...request }).then(
      () => null,
      (error) => [error.constructor.name, error.status, error.code, error.param],
    );
  expect(await failure({ model: "gpt-4" })).toEqual(["NotFoundError", 404, "model_not_found", "model"]);
  expect(await failure({ voice: "dog" })).toEqual(["NotFoundError", 404, "voice_unknown", "voice"]);
  expect(await failure({ input: "" })).toEqual(["BadRequestError", 400, "invalid_value", "input"]);
  expect(await failure({ response_format: "aac" })).toEqual([
    "BadRequestError",
    400,
    "invalid_value",
    "response_format",
  ]);
});
