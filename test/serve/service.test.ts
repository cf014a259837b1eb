// The service behind all protocols, on a real engine: places and shares, urgency, endings, voices and counts.

import { afterEach, describe, expect, test } from "bun:test";
import { type Engine, open } from "../../src/engine.ts";
import { Refusal, Service, type SpeechRequest } from "../../src/serve/service.ts";
import { bundleOf, scratchFolder } from "../_support.ts";

const SHORT = "Dinner is ready.";
const LONG = "Please close the windows and turn off the lights. ".repeat(8);
const greedily = { greedy: true, seed: 1 } as const;
/** Sentences of a second: enough to overlap. */
const briefly = { ...greedily, maxFrames: 12 };

const opened: Service[] = [];
afterEach(async () => {
  for (const service of opened.splice(0)) await service.end(0);
});

async function serve(places?: number): Promise<{ service: Service; engine: Engine }> {
  const engine = await open({ model: bundleOf("starter").directory });
  const service = new Service(
    { engine, close: () => engine.close() },
    { voicesDir: scratchFolder(), places },
  );
  opened.push(service);
  return { service, engine };
}

const request = (given: Partial<SpeechRequest> = {}): SpeechRequest => ({
  text: SHORT,
  client: "one",
  options: greedily,
  ...given,
});

async function heard(sound: AsyncIterable<Float32Array>): Promise<number[]> {
  return (await Array.fromAsync(sound)).flatMap((samples) => [...samples]);
}

test("a speech sounds as the engine's own, and is counted", async () => {
  const { engine, service } = await serve();
  const own = await Array.fromAsync(engine.speak(SHORT, greedily));
  const speech = await service.speak(request());
  expect(service.load).toEqual({ sounding: 1, waiting: 0 });
  expect(await heard(speech)).toEqual(own.flatMap(({ samples }) => [...samples]));
  expect(service.load).toEqual({ sounding: 0, waiting: 0 });
  const { counts } = service;
  expect([...counts.ended]).toEqual([["eos", 1]]);
  expect(counts.frames).toBe(speech.summary().frames);
  expect(speech.words.map(({ text }) => text)).toEqual(["Dinner", "is", "ready."]);
});

test("words follow the speed of the sound", async () => {
  const { service } = await serve();
  const [usual, slow] = [await service.speak(request()), await service.speak(request({ speed: 0.8 }))];
  const [samples, slowSamples] = [await heard(usual), await heard(slow)];
  expect(slowSamples.length / samples.length).toBeCloseTo(1 / 0.8, 3);
  expect(slow.words.map(({ start }) => start)).toEqual(usual.words.map(({ start }) => start / 0.8));
});

describe("places", () => {
  test("are bounded, and the last ones are for other clients", async () => {
    const { service } = await serve(4);
    const long = await Promise.all([1, 2, 3].map(() => service.speak(request({ text: LONG }))));
    const refusal = async (client: string) => {
      const error = await service.speak(request({ client })).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Refusal);
      return error as Refusal;
    };
    expect((await refusal("one")).reason).toBe("share");
    const other = await service.speak(request({ client: "two" }));
    expect(await refusal("three")).toMatchObject({ reason: "busy", retryAfterSeconds: 1 });
    for (const speech of [...long, other]) speech.cancel();
    await heard(await service.speak(request()));
    expect([...service.counts.refusals]).toEqual([
      ["share", 1],
      ["busy", 1],
    ]);
  });

  test("are free again after a failure, a break and an abort", async () => {
    const { service } = await serve(1);
    const abort = new AbortController();
    const aborted = service.speak(request({ text: LONG, signal: abort.signal }));
    abort.abort();
    expect(await aborted.catch(({ code }) => code)).toBe("CANCELLED");
    expect(await service.speak(request({ text: " " })).catch(({ code }) => code)).toBe("TEXT_EMPTY");
    expect(await service.speak(request({ voice: "dog" })).catch(({ code }) => code)).toBe("VOICE_UNKNOWN");
    for await (const _ of await service.speak(request({ text: LONG }))) break;
    expect((await heard(await service.speak(request()))).length).toBeGreaterThan(0);
    expect(Object.fromEntries(service.counts.ended)).toEqual({ cancelled: 1, eos: 1 });
  });
});

test("an announcement comes before long reads, which go on side by side", async () => {
  const { service } = await serve();
  const order: string[] = [];
  const ask = async (name: string, given: Partial<SpeechRequest>) => {
    const speech = await service.speak(request(given));
    order.push(name);
    await heard(speech);
    order.push(`${name} ends`);
  };
  const read = { text: LONG, options: briefly };
  const first = ask("read", read);
  while (order.length === 0) await Bun.sleep(1);
  await Promise.all([first, ask("second read", read), ask("announcement", {})]);
  expect(order.slice(0, 4)).toEqual(["read", "announcement", "announcement ends", "second read"]);
  expect(order.slice(4).toSorted()).toEqual(["read ends", "second read ends"]);
});

test("clients take turns, and the speeches of one come in their order", async () => {
  const { service } = await serve();
  const order: string[] = [];
  const ask = async (client: string, name: string, follow?: () => Promise<void>) => {
    const speech = await service.speak(request({ client }));
    order.push(name);
    const next = follow?.(); // before its place is free again
    await heard(speech);
    await next;
  };
  await Promise.all([
    ask("a", "a1", () => ask("a", "a4")),
    ask("a", "a2"),
    ask("a", "a3"),
    ask("b", "b1", () => ask("b", "b2", () => ask("b", "b3"))),
  ]);
  expect(order).toEqual(["a1", "b1", "a2", "b2", "a3", "b3", "a4"]);
});

test("what sounds may finish, what waits is ended, and nothing more is taken on", async () => {
  const { service } = await serve();
  const sounds = await service.speak(request({ text: LONG, options: briefly }));
  const waits = service.speak(request({ text: LONG, options: briefly })).catch(({ code }) => code);
  const all = heard(sounds);
  const ended = service.end();
  expect(service.state).toBe("ending");
  expect(await waits).toBe("CANCELLED");
  expect(await service.speak(request()).catch(({ reason }) => reason)).toBe("ending");
  await all;
  await ended;
  expect(sounds.summary().stop).toBe("length");
});
