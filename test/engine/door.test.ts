// The door for programs: cancelling at any moment, urgency, text in pieces, figures of each speech by itself,
// and types that satisfy each other.

import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { HostOptions, SpeakRequest } from "../../src/engine/options.ts";
import type {
  SpeechSettings as NarrowSettings,
  ClonedVoice as NarrowVoice,
} from "../../src/engine/request.ts";
import {
  type AudioChunk,
  type ClonedVoice,
  type Engine,
  loadVoice,
  type OpenOptions,
  open,
  provenanceOf,
  type SpeakOptions,
  type SpeechSettings,
  saveVoice,
} from "../../src/engine.ts";
import { bundleOf, GoldenFile, goldenCases, patient, scratchFolder } from "../_support.ts";

const TEXT = "The kettle is ready. The time is seven forty five.";
const LONG = "Please close the windows and turn off the lights. ".repeat(6);
/** How long an end "at once" may take. */
const AT_ONCE_MS = 250;

const engines: Engine[] = [];
async function openStarter(options: OpenOptions = {}): Promise<Engine> {
  const engine = await open({ model: bundleOf("starter").directory, ...options });
  engines.push(engine);
  return engine;
}
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

const greedily = { greedy: true, seed: 1 } as const;
const codesOf = (chunks: readonly AudioChunk[]) => chunks.flatMap((chunk) => Array.from(chunk.codes));
const golden = (name: string) => Array.from(new GoldenFile(`starter/${name}.safetensors`).ints("codes"));

/** How long `work` takes, in milliseconds. */
async function timed(work: Promise<unknown>): Promise<number> {
  const before = performance.now();
  await work;
  return performance.now() - before;
}

describe("a speech that is cancelled ends at once, without an error, and the engine speaks on", () => {
  const speaksOn = async (engine: Engine) =>
    expect(codesOf(await Array.fromAsync(engine.speak("Dinner is ready.", greedily)))).toEqual(
      golden("starter-00"),
    );

  test.each(["cancel", "signal"] as const)("by its %s, before it began", async (way) => {
    const engine = await openStarter();
    const controller = new AbortController();
    const speech = engine.speak(LONG, { ...greedily, signal: controller.signal });
    if (way === "cancel") speech.cancel();
    else controller.abort();
    expect(await Array.fromAsync(speech)).toEqual([]);
    expect(speech.summary()).toMatchObject({ stop: "cancelled", frames: 0 });
    await speaksOn(engine);
  });

  test.each(["cancel", "signal"] as const)("by its %s, while a chunk is awaited", async (way) => {
    const engine = await openStarter();
    const controller = new AbortController();
    const speech = engine.speak(LONG, { ...greedily, signal: controller.signal });
    const iterator = speech[Symbol.asyncIterator]();
    await iterator.next();
    const awaited = (async () => {
      while (!(await iterator.next()).done);
    })();
    if (way === "cancel") speech.cancel();
    else controller.abort();
    expect(await timed(awaited)).toBeLessThan(patient(AT_ONCE_MS));
    expect(speech.summary().stop).toBe("cancelled");
    await speaksOn(engine);
  });

  test("by leaving the iteration while a chunk is awaited", async () => {
    const engine = await openStarter();
    const iterator = engine.speak(LONG, greedily)[Symbol.asyncIterator]();
    const awaited = iterator.next();
    expect(await timed(iterator.return!(undefined))).toBeLessThan(patient(AT_ONCE_MS));
    await awaited;
    await speaksOn(engine);
  });

  test("while it waits in the queue behind others", async () => {
    const engine = await openStarter();
    const [before, queued] = [engine.speak(LONG, greedily), engine.speak(TEXT, greedily)];
    const listening = Array.fromAsync(before);
    const waiting = Array.fromAsync(queued);
    await new Promise((resolve) => setTimeout(resolve, 10));
    queued.cancel();
    expect(await timed(waiting)).toBeLessThan(patient(AT_ONCE_MS));
    expect(await waiting).toEqual([]);
    expect(codesOf(await listening).length).toBeGreaterThan(1_000);
    await speaksOn(engine);
  });

  test("in a long prompt, which is not computed to its end", async () => {
    const engine = await openStarter({ contextPositions: 9_216, prefixCache: "off" });
    const voice = ("ðə tˈaɪm. ".repeat(20) + "a".repeat(80)).slice(0, 280);
    const speech = engine.speak(voice, { ...greedily, rawText: true });
    const listening = Array.fromAsync(speech);
    speech.cancel();
    expect(await timed(listening)).toBeLessThan(patient(AT_ONCE_MS));
    await speaksOn(engine);
  });

  test("while its codes are decoded, or wait for their turn", async () => {
    const engine = await openStarter({ use: "decode" });
    const codes = new Int32Array(golden("starter-06").concat(golden("starter-01"), golden("starter-06")));
    const [first, second] = [engine.decode(codes), engine.decode(codes)];
    const iterator = first[Symbol.asyncIterator]();
    await iterator.next();
    const waiting = Array.fromAsync(second);
    second.cancel();
    expect(await timed(waiting)).toBeLessThan(patient(AT_ONCE_MS));
    first.cancel();
    expect((await iterator.next()).done).toBe(true);
    const whole = await Array.fromAsync(engine.decode(codes));
    expect(codesOf(whole)).toEqual(Array.from(codes));
  });

  test("a thousand times, and nothing is lost or left", async () => {
    const engine = await openStarter();
    for (let round = 0; round < 1_000; round++) {
      const speech = engine.speak(TEXT, greedily);
      const iterator = speech[Symbol.asyncIterator]();
      if (round % 3 > 0) await iterator.next();
      if (round % 2 > 0) speech.cancel();
      await iterator.return!(undefined);
    }
    await speaksOn(engine);
  });

  test("after its end, which changes nothing", async () => {
    const engine = await openStarter();
    const speech = engine.speak("Dinner is ready.", greedily);
    await Array.fromAsync(speech);
    speech.cancel();
    expect(speech.summary().stop).toBe("eos");
  });
});

test("the most urgent waiting sentence starts first, and equals keep their order", async () => {
  const engine = await openStarter();
  const heard: string[] = [];
  // One sentence each, so long that a busy machine does not let this thread miss a whole one.
  const slow = `${"please close the windows, and turn off the lights, ".repeat(3)}now.`;
  const begun = Promise.withResolvers<void>();
  const listen = async (name: string, text: string, priority: number) => {
    for await (const _ of engine.speak(text, { ...greedily, priority })) {
      if (!heard.includes(name)) heard.push(name);
      begun.resolve();
    }
  };
  const long = listen("long", LONG, 0);
  await begun.promise;
  await Promise.all([
    long,
    listen("usual", slow, 0),
    listen("later", slow, -5),
    listen("urgent", slow, 10),
    listen("usual too", slow, 0),
  ]);
  expect(heard).toEqual(["long", "urgent", "usual", "usual too", "later"]);
  expect(() => engine.speak(TEXT, { priority: 1_000_001 })).toThrow("the priority is 1000001");
});

test("a speech that is not spoken side by side leaves the other lanes to others", async () => {
  const engine = await openStarter({ lanes: 2 });
  const mostRows = async (...speeches: SpeakOptions[]) => {
    const { talker } = engine.timeline.tracks;
    const from = talker.written;
    await Promise.all(speeches.map((options) => Array.fromAsync(engine.speak(LONG, options))));
    return Math.max(...talker.since(from).map(({ kind, rows }) => (kind === "step" ? rows : 0)));
  };
  const options = { ...greedily, maxFrames: 20 };
  expect(await mostRows(options)).toBe(2);
  expect(await mostRows({ ...options, sideBySide: false })).toBe(1);
  expect(await mostRows({ ...options, sideBySide: false }, { ...options, sideBySide: false })).toBe(2);
});

test("two speeches at once each have their own figures", async () => {
  const engine = await openStarter({ prefixCache: "off" });
  const short = engine.speak("Dinner is ready.", greedily);
  const long = engine.speak(LONG, { ...greedily, maxFrames: 20 });
  await Promise.all([Array.fromAsync(short), Array.fromAsync(long)]);
  const [one, other] = [short.summary(), long.summary()];
  expect([one.frames * 16, one.stop]).toEqual([golden("starter-00").length, "eos"]);
  expect([other.frames, other.stop]).toEqual([20 * long.sentences.length, "length"]);
  const alone = engine.speak("Dinner is ready.", greedily);
  await Array.fromAsync(alone);
  expect(one.prompt.rows).toBe(alone.summary().prompt.rows);
  expect(other.prompt.rows).toBeGreaterThan(3 * one.prompt.rows);
  for (const { msPerFrame } of [one, other])
    for (const ms of Object.values(msPerFrame)) expect(ms).toBeGreaterThan(0);
});

describe("a text that comes in pieces", () => {
  async function* pieces(
    parts: readonly string[],
    after: (index: number) => Promise<unknown> = async () => {},
  ) {
    for (const [i, part] of parts.entries()) {
      yield part;
      await after(i);
    }
  }

  test("sounds while the rest is still being written, sentence by sentence", async () => {
    const engine = await openStarter();
    const { promise: heard, resolve } = Promise.withResolvers<void>();
    const text = pieces(["Dinner is", " ready. The time is ", "seven forty five."], (i) =>
      i === 1 ? heard : Promise.resolve(),
    );
    const speech = engine.speak(text, greedily);
    const chunks: AudioChunk[] = [];
    for await (const chunk of speech) {
      chunks.push(chunk);
      if (chunk.sentence === 0) resolve(); // without this the text would not go on
    }
    expect(codesOf(chunks.filter(({ sentence }) => sentence === 0))).toEqual(golden("starter-00"));
    expect(speech.sentences).toEqual(["dˈɪnɝ ˈɪz rˈɛdi.", "ðə tˈaɪm ˈɪz sˈɛvən fˈɔrti fˈaɪv."]);
    expect(speech.summary().stop).toBe("eos");
  });

  test("may be a list, may hold what cannot be spoken, and has the codes of its sentences", async () => {
    const engine = await openStarter();
    const speech = engine.speak(["… ", "Dinner is ready.\n\n", "☃ ", "Hello"], greedily);
    const chunks = await Array.fromAsync(speech);
    expect(codesOf(chunks.filter(({ sentence }) => sentence === 0))).toEqual(golden("starter-00"));
    expect(speech.sentences.length).toBe(2);
    expect(speech.unread).toEqual(["☃"]);
  });

  test.each([
    ["nothing to speak", ["", " ", "\n"], "TEXT_EMPTY"],
    ["only symbols", ["☃", "! "], "TEXT_EMPTY"],
    ["no text", [5 as never], "USAGE"],
  ])("of %s is an error", async (_title, parts, code) => {
    const engine = await openStarter();
    await expect(Array.fromAsync(engine.speak(parts))).rejects.toMatchObject({ code });
  });

  test("whose writer fails says so after what was complete", async () => {
    const engine = await openStarter();
    const failing = pieces(["Dinner is ready. The ", ""], async (i) => {
      if (i === 0) throw new Error("the line is cut");
    });
    const chunks: AudioChunk[] = [];
    const listening = (async () => {
      for await (const chunk of engine.speak(failing, greedily)) chunks.push(chunk);
    })();
    await expect(listening).rejects.toThrow("the line is cut");
    expect(codesOf(chunks)).toEqual(golden("starter-00"));
  });

  test("whose reader leaves tells its writer, and one that never comes can be cancelled", async () => {
    const engine = await openStarter();
    let told = false;
    async function* endless() {
      try {
        for (;;) yield "Dinner is ready. ";
      } finally {
        told = true;
      }
    }
    for await (const _ of engine.speak(endless(), greedily)) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(told).toBe(true);
    const never = engine.speak(
      pieces([""], () => new Promise(() => {})),
      greedily,
    );
    const listening = Array.fromAsync(never);
    await new Promise((resolve) => setTimeout(resolve, 10));
    never.cancel();
    expect(await timed(listening)).toBeLessThan(patient(AT_ONCE_MS));
  });

  test("is read no further ahead than it is spoken", async () => {
    const engine = await openStarter();
    let written = 0;
    function* many() {
      for (; written < 1_000; written++) yield "Dinner is ready. ";
    }
    const iterator = engine.speak(many(), greedily)[Symbol.asyncIterator]();
    await iterator.next();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(written).toBeLessThan(10);
    await iterator.return!(undefined);
  });
});

describe("an engine", () => {
  test("that was closed refuses everything, and ends what is under way", async () => {
    const samples = new GoldenFile("tiny-base/golden/reference.safetensors").floats("audio_24k");
    const engine = await open({ model: bundleOf("tiny-base").directory, use: "encode" });
    const encoding = engine.encode(samples, 0);
    await engine.close();
    await expect(encoding).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(engine.encode(samples, 0)).rejects.toMatchObject({ code: "CANCELLED" });
    expect(() => engine.speak(TEXT)).toThrow(expect.objectContaining({ code: "CANCELLED" }));
    expect(() => engine.decode(new Int32Array(16))).toThrow(expect.objectContaining({ code: "CANCELLED" }));
  });

  test("gives up a recording whose signal is aborted", async () => {
    const samples = new GoldenFile("tiny-base/golden/reference.safetensors").floats("audio_24k");
    await using engine = await open({ model: bundleOf("tiny-base").directory, use: "encode" });
    const reason = new Error("no longer wanted");
    await expect(engine.encode(samples, 0, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const encoding = engine.encode(samples, 0, { signal: controller.signal });
    controller.abort(reason);
    await expect(encoding).rejects.toBe(reason);
    expect((await engine.encode(samples, 0)).codes.length).toBeGreaterThan(0);
  });

  test("takes a voice that a program saves, loads and speaks with", async () => {
    const reference = new GoldenFile("tiny-base/golden/reference.safetensors");
    const { text } = goldenCases().find(({ kind, ref_text }) => kind === "base" && ref_text)!;
    await using engine = await open({ model: bundleOf("tiny-base").directory });
    const { codes, xVector } = await engine.encode(reference.floats("audio_24k"), 0);
    const taken = { name: "gold", text: "Hello.", codes, xVector, codebookSize: engine.manifest.shape.codes };
    const path = join(scratchFolder(), "gold.voice.json");
    saveVoice(path, { ...taken, provenance: provenanceOf(engine, { recordingSeconds: 2 }) });
    const voice = loadVoice(path);
    expect(voice).toMatchObject({
      ...taken,
      provenance: { recordingSeconds: 2, model: engine.manifest.name },
    });
    const speak = async (voice: ClonedVoice) =>
      codesOf(await Array.fromAsync(engine.speak(text, { voice, greedy: true, maxFrames: 5 })));
    expect(await speak(voice)).toEqual(await speak(taken));
    expect(() => saveVoice("/no/such/folder/voice.json", voice)).toThrow(
      expect.objectContaining({ code: "OUTPUT_FAILED" }),
    );
  });

  test("shows its timeline to be read", async () => {
    const engine = await openStarter();
    await Array.fromAsync(engine.speak("Dinner is ready.", greedily));
    const { talker } = engine.timeline.tracks;
    expect(talker.since(0).length).toBe(talker.written);
    expect(talker.sum("step").rows * 16).toBe(golden("starter-00").length);
  });
});

test("the types of the door satisfy the narrower ones behind it", () => {
  // The compiler is the judge: each of these lines must be a legal assignment.
  const accept = {
    options: (given: OpenOptions): HostOptions => given,
    request: (given: SpeakOptions): SpeakRequest => given,
    voice: (given: ClonedVoice): NarrowVoice => given,
    settings: (given: NarrowSettings): SpeechSettings => given,
    settingsBack: (given: SpeechSettings): NarrowSettings => given,
  };
  expect(Object.keys(accept).length).toBe(5);
});

describe("what is spoken first", () => {
  const first = { text: "Dinner is ready.", options: greedily };

  test("begins while the engine opens, and is the speech that speak would give", async () => {
    const engine = await openStarter({ first });
    expect(engine.first!.sentences).toHaveLength(1);
    expect(codesOf(await Array.fromAsync(engine.first!))).toEqual(golden("starter-00"));
    const { firstAudioMs, stop, wallSeconds } = engine.first!.summary();
    expect(stop).toBe("eos");
    expect(firstAudioMs).toBeGreaterThan(0);
    expect(firstAudioMs).toBeLessThanOrEqual(1000 * wallSeconds);
    expect(() => engine.first![Symbol.asyncIterator]()).toThrow("a speech can be listened to once");
    expect(codesOf(await Array.fromAsync(engine.speak(first.text, greedily)))).toEqual(golden("starter-00"));
  });

  test("is for an engine that speaks", async () => {
    const failure = await openStarter({ first, use: "decode" }).catch((error) => error);
    expect(failure).toMatchObject({ code: "USAGE", message: 'open: first is spoken, but use is "decode"' });
  });

  test("is what it was at the call", async () => {
    const changing = { text: first.text, options: { greedy: true, seed: 1 } };
    const opening = openStarter({ first: changing });
    changing.options.seed = -5;
    expect(codesOf(await Array.fromAsync((await opening).first!))).toEqual(golden("starter-00"));
  });

  test("an engine without it has none", async () => {
    expect((await openStarter()).first).toBeNull();
  });

  test("may be left alone or cancelled: others speak on", async () => {
    const engine = await openStarter({ first: { text: LONG, options: greedily } });
    const speak = () => Array.fromAsync(engine.speak(first.text, { ...greedily, priority: 1 }));
    engine.first!.cancel();
    expect(codesOf(await speak())).toEqual(golden("starter-00"));
    expect(await Array.fromAsync(engine.first!)).toEqual([]);
    expect(engine.first!.summary().stop).toBe("cancelled");
    const busy = await openStarter({ first: { text: LONG, options: greedily } });
    expect(codesOf(await Array.fromAsync(busy.speak(first.text, greedily)))).toEqual(golden("starter-00"));
  });

  test.each([
    ["SPEAKER_UNKNOWN", { text: "Hello.", options: { speaker: "nobody" } }, 'there is no speaker "nobody"'],
    ["TEXT_EMPTY", { text: " " }, "the text is blank"],
    ["USAGE", { text: 7 }, "open: first.text is 7"],
    ["USAGE", {}, "open: first has no text"],
    ["USAGE", { text: "Hello.", options: { seed: -1 } }, "the seed is -1"],
    ["USAGE", { text: "Hello.", options: { voice: {} } }, "open: voice.name is undefined"],
    ["USAGE", { text: "Hello.", options: { sped: 2 } }, "open: there is no option first.options.sped"],
  ])("%s for %o fails the opening", async (code, wrong, message) => {
    // biome-ignore lint/suspicious/noExplicitAny: callers without types
    const failure = await openStarter({ first: wrong as any }).catch((error) => error);
    expect(failure).toMatchObject({ code });
    expect(failure.message).toContain(message);
  });
});
