// What a client of the Wyoming server hears, from the protocol's bytes: groups, streams, voices, failures.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { toS16le } from "../../../src/audio/pcm.ts";
import { type Engine, open, TtsError } from "../../../src/engine.ts";
import { bundleOf } from "../../_support.ts";
import { bytesOf, type Client, type Heard, soundOf, typesOf } from "./_client.ts";
import { endAll, type Served, serve } from "./_server.ts";

const SHORT = "Dinner is ready.";
const OTHER = "The kettle is on.";
const LONG = "Please close the windows and turn off the lights. ".repeat(8);
const PLAIN = ["audio-start", "audio-chunk", "audio-stop"];
const FORMAT = { rate: 24_000, width: 2, channels: 1 };

let engine: Engine;
let served: Served | null = null;
beforeAll(async () => {
  // greedy: a request has no seed
  engine = await open({ model: bundleOf("starter").directory, greedy: true });
});
afterAll(() => engine.close());
afterEach(async () => {
  served = null;
  await endAll();
});

async function client(): Promise<Client> {
  served ??= await serve(engine);
  return await served.client();
}

/** As `--format pcm` writes it. */
async function engineSays(text: string | AsyncIterable<string>): Promise<Buffer<ArrayBuffer>> {
  const chunks = await Array.fromAsync(engine.speak(text));
  return Buffer.concat(chunks.map(({ samples }) => toS16le(samples)));
}

async function* pieces(...texts: string[]) {
  yield* texts;
}

test("what a client is told of its own words is short and has no control characters", async () => {
  const one = await client();
  const heard = await one
    .say("synthesize", { text: SHORT, voice: { name: `\u001b[31m${"x".repeat(100_000)}` } })
    .until("error");
  const { text } = heard.at(-1)!.data as { text: string };
  expect(text).toStartWith("there is no voice ");
  expect(text.length).toBeLessThan(450);
  expect(text).not.toMatch(/\p{Cc}/u);
  const other = await client();
  const pong = await other.say("ping", { text: [[["deep"]]] }).until("pong");
  expect(pong.at(-1)!.data).toEqual({ text: null });
});

test("a request is answered with one group, the engine's sound to the bit", async () => {
  const one = await client();
  for (const text of [SHORT, OTHER]) {
    const heard = await one.say("synthesize", { text }).until("audio-stop");
    expect(typesOf(heard)).toEqual(PLAIN);
    expect(soundOf(heard)).toEqual(await engineSays(text));
    const [start, ...chunks] = heard.slice(0, -1);
    expect(start.data).toEqual({ ...FORMAT, timestamp: 0 });
    let samples = 0;
    for (const { data, payload } of chunks) {
      expect(payload.length).toBeGreaterThan(0);
      expect(data).toEqual({ ...FORMAT, timestamp: Math.round(samples / 24) });
      samples += payload.length / 2;
    }
    expect(heard.at(-1)!.data).toEqual({ timestamp: Math.round(samples / 24) });
  }
});

test("requests on one connection are answered in turn", async () => {
  const one = await client();
  one.write(Buffer.concat([bytesOf("synthesize", { text: SHORT }), bytesOf("synthesize", { text: OTHER })]));
  expect(soundOf(await one.until("audio-stop"))).toEqual(await engineSays(SHORT));
  expect(soundOf(await one.until("audio-stop"))).toEqual(await engineSays(OTHER));
});

describe("a stream", () => {
  const PIECES = ["Dinn", "er is rea", "dy. ", "", "The kettle", " is on."];
  const begin = (one: Client) => {
    one.say("synthesize-start", {});
    for (const text of PIECES) one.say("synthesize-chunk", { text });
  };

  test("is one group; the whole text inside it is neither spoken nor waited for", async () => {
    const one = await client();
    const own = await engineSays(pieces(...PIECES));
    for (const repeats of [false, true]) {
      begin(one);
      if (repeats) one.say("synthesize", { text: PIECES.join("") });
      const heard = await one.say("synthesize-stop").until("synthesize-stopped");
      expect(typesOf(heard)).toEqual([...PLAIN, "synthesize-stopped"]);
      expect(soundOf(heard)).toEqual(own);
    }
    const plain = await one.say("synthesize", { text: SHORT }).until("audio-stop");
    expect(soundOf(plain)).toEqual(await engineSays(SHORT));
  });

  test("sounds before its text has ended", async () => {
    const one = await client();
    begin(one);
    expect((await one.until("audio-chunk")).at(-1)!.payload.length).toBeGreaterThan(0);
    one.say("synthesize-stop");
    expect((await one.until("synthesize-stopped")).at(-1)!.type).toBe("synthesize-stopped");
  });

  test("that its client leaves open, or begins twice, is refused", async () => {
    const one = await client();
    begin(one);
    one.socket.end();
    expect((await one.toTheEnd()).at(-1)).toMatchObject({
      type: "error",
      data: { text: "the connection ended inside a stream" },
    });
    const two = await client();
    two.say("synthesize-start", {}).say("synthesize-start", {});
    expect(await two.toTheEnd()).toMatchObject([{ type: "error", data: { code: "request-invalid" } }]);
  });
});

test.each(["", " \n", "🙂", "..."])("%j is answered with a little silence", async (text) => {
  const one = await client();
  const plain = await one.say("synthesize", { text }).until("audio-stop");
  one.say("synthesize-start", {}).say("synthesize-chunk", { text }).say("synthesize-stop");
  const streamed = await one.until("synthesize-stopped");
  expect([typesOf(plain), typesOf(streamed)]).toEqual([PLAIN, [...PLAIN, "synthesize-stopped"]]);
  for (const heard of [plain, streamed]) expect(soundOf(heard)).toEqual(Buffer.alloc(4_800));
});

test("describe and ping are answered at once while it speaks", async () => {
  const one = await client();
  one.say("synthesize", { text: LONG });
  await one.until("audio-chunk");
  one.say("describe").say("ping", { text: "Grüße" }).say("ping").say("select-program", { name: "qwen3-tts" });
  one.say("no-such-event", { a: 1 });
  const heard = await one.until("audio-stop");
  const answers = heard.filter(({ type }) => !type.startsWith("audio"));
  expect(answers.map(({ type }) => type)).toEqual(["info", "pong", "pong"]);
  expect(answers.slice(1).map(({ data }) => data)).toEqual([{ text: "Grüße" }, { text: null }]);
  expect(heard.findLastIndex(({ type }) => type === "pong")).toBeLessThan(heard.length / 2);
  const [program] = answers[0].data.tts;
  expect(program).toMatchObject({ name: "qwen3-tts", installed: true, supports_synthesize_streaming: true });
  expect(program.voices).toMatchObject([{ name: "starter", languages: ["en"], installed: true }]);
});

describe("a voice", () => {
  test.each([
    { name: "starter" },
    { name: "starter.en" },
    { name: "Starter.en-GB" },
    { language: "en" },
    { name: "default" },
    { name: "default.en", speaker: "starter" },
  ])("%j speaks", async (voice) => {
    const heard = await (await client())
      .say("synthesize", { text: SHORT, voice, text_format: "ssml" })
      .until("audio-stop");
    expect(soundOf(heard)).toEqual(await engineSays(SHORT));
  });

  test.each<[string, object]>([
    ["voice-unknown", { name: "starte" }],
    ["voice-unknown", { name: "../starter" }],
    ["voice-unknown", { name: "starter", speaker: "dog" }],
    ["language-unknown", { name: "starter.de" }],
    ["language-unknown", { language: "de" }],
  ])("%s: %j", async (code, voice) => {
    const one = await client();
    one.say("synthesize", { text: SHORT, voice });
    const heard = await one.toTheEnd();
    expect(heard).toMatchObject([{ type: "error", data: { code } }]);
  });
});

describe("what cannot be said whole ends with an error and the connection", () => {
  const failed = async (one: Client): Promise<Heard> => {
    const heard = await one.toTheEnd();
    expect(typesOf(heard)).not.toContain("audio-stop");
    return heard.at(-1)!;
  };

  test.each<[string, Error]>([
    ["stage-died", new TtsError("STAGE_DIED", "the vocoder of /home/me/models has ended")],
    ["input-unreadable", Object.assign(new Error(), { code: "EACCES", path: "/home/me", syscall: "open" })],
    ["internal", new Error("x is undefined in /home/me")],
  ])("a failure in mid-speech, %s: its details stay in the log", async (code, failure) => {
    const one = await client();
    served!.trouble.failure = failure;
    const { data } = await failed(one.say("synthesize", { text: LONG }));
    expect(data).toEqual({ text: "the speech failed; the server's log says why", code });
    expect(served!.told).toEqual([expect.stringMatching(/^warn Wyoming: 127\.0\.0\.1: .*\/home\/me/)]);
  });

  test("a server that ends, plain and streamed", async () => {
    const [one, two] = [await client(), await client()];
    one.say("synthesize", { text: LONG });
    two.say("synthesize-start", {}).say("synthesize-chunk", { text: LONG });
    await Promise.all([one.until("audio-chunk"), two.until("audio-chunk")]);
    await served!.service.end(0);
    for (const each of [one, two]) expect((await failed(each)).data.code).toBe("cancelled");
    expect((await failed((await client()).say("synthesize", { text: SHORT }))).data.code).toBe("ending");
  });

  test("a text that is too long, or without a text", async () => {
    const long = "Dinner is ready. ".repeat(13_000);
    const one = (await client()).say("synthesize", { text: long });
    expect((await failed(one)).data.code).toBe("text-too-long");
    const two = (await client()).say("synthesize-start", {});
    for (let i = 0; i < 2; i++) two.say("synthesize-chunk", { text: long.slice(long.length / 2) });
    expect((await failed(two)).data.code).toBe("text-too-long");
    for (const type of ["synthesize", "synthesize-chunk"]) {
      const { data } = await failed(
        (await client())
          .say("synthesize-start")
          .say(type, { text: 7 })
          .say("synthesize-stop")
          .say("synthesize", {}),
      );
      expect(data.code).toBe("request-invalid");
    }
  });

  test("more requests than may wait", async () => {
    const one = await client();
    one.write(Buffer.concat(Array.from({ length: 20 }, () => bytesOf("synthesize", { text: SHORT }))));
    expect((await one.toTheEnd()).at(-1)).toMatchObject({ type: "error", data: { code: "request-invalid" } });
  });
});

test("a server that is killed while it speaks leaves an event unfinished", async () => {
  const one = await client();
  let goOn = () => {};
  served!.trouble.stall = new Promise((resolve) => {
    goOn = resolve;
  });
  one.say("synthesize", { text: SHORT });
  const heard = await one.until("audio-chunk");
  await Bun.sleep(20);
  expect(one.isInsideEvent).toBe(true);
  heard.push(...(await one.say("describe").until("info")));
  expect(one.isInsideEvent).toBe(false);
  goOn();
  heard.push(...(await one.until("audio-stop")));
  expect(soundOf(heard)).toEqual(await engineSays(SHORT));
});

test("a client that leaves ends its speech within a frame or two", async () => {
  const one = await client();
  one.say("synthesize", { text: LONG });
  await one.until("audio-chunk");
  one.leave();
  for (let i = 0; i < 200 && served!.service.load.sounding > 0; i++) await Bun.sleep(10);
  expect(served!.service.load).toEqual({ sounding: 0, waiting: 0 });
  expect([...served!.service.counts.ended]).toEqual([["cancelled", 1]]);
  expect(served!.service.counts.frames).toBeLessThan(60);
  expect(served!.told).toEqual([]);
});

test("a client that leaves while it waits frees its place at once", async () => {
  const [one, two] = [await client(), await client()];
  await one.say("synthesize", { text: LONG.repeat(4) }).until("audio-chunk");
  two.say("synthesize", { text: LONG });
  for (let i = 0; i < 200 && served!.service.load.waiting === 0; i++) await Bun.sleep(5);
  expect(served!.service.load).toEqual({ sounding: 1, waiting: 1 });
  two.leave();
  for (let i = 0; i < 20 && served!.service.load.waiting > 0; i++) await Bun.sleep(10);
  expect(served!.service.load).toEqual({ sounding: 1, waiting: 0 });
  one.leave();
});

test("while a model is opened, voices are listed and requests wait", async () => {
  const one = await client();
  served!.trouble.isOpening = true;
  const [{ data }] = await one.say("describe").until("info");
  expect(data.tts[0].voices).toMatchObject([{ name: "default" }]);
  one.say("synthesize", { text: SHORT });
  await Bun.sleep(50);
  served!.trouble.isOpening = false;
  expect(soundOf(await one.until("audio-stop"))).toEqual(await engineSays(SHORT));
});
