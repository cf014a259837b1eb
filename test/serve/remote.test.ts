// The engine in a process of its own: it sounds as the one of this process does, hands over no more than is
// taken, and is replaced when it dies or hangs. Real processes.

import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { open } from "../../src/engine.ts";
import { RemoteSource } from "../../src/serve/remote/index.ts";
import { Service, type SpeechRequest } from "../../src/serve/service.ts";
import { bundleOf, patient, rejectionOf, scratchFolder } from "../_support.ts";

const TEXT = "Dinner is ready. The kettle is hot.";
const LONG = "Please close the windows and turn off the lights. ".repeat(40);
const greedily = { greedy: true, seed: 1 } as const;
const STARTER = bundleOf("starter").directory;

const opened: Service[] = [];
afterEach(async () => {
  for (const service of opened.splice(0)) await service.end(0);
});

interface Served {
  service: Service;
  source: RemoteSource;
  told: string[];
  /** The id of the engine's current process. */
  pid(): number;
}

async function serve(stageTimeoutMs = 120_000, model = STARTER): Promise<Served> {
  const told: string[] = [];
  const note = (line: string) => void told.push(line);
  const tell = { info: note, warn: note, debug: note };
  const options = { model, cacheDir: scratchFolder(), prefixCache: "memory", stageTimeoutMs } as const;
  const source = new RemoteSource(options, tell, () => {});
  const service = new Service(source, { voicesDir: scratchFolder() });
  opened.push(service);
  await source.opened;
  const pid = () => Number(told.findLast((line) => /process \d+\)?$/.test(line))!.match(/(\d+)\)?$/)![1]);
  return { service, source, told, pid };
}

const request = (given: Partial<SpeechRequest> = {}): SpeechRequest => ({
  text: TEXT,
  client: "one",
  options: greedily,
  ...given,
});

async function heard(sound: AsyncIterable<Float32Array>): Promise<number[]> {
  return (await Array.fromAsync(sound)).flatMap((samples) => [...samples]);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(10);
}

const isThere = (pid: number) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

test("sound, words, settings and what cannot be read are those of the engine itself", async () => {
  await using engine = await open({ model: STARTER, cacheDir: scratchFolder() });
  const { service } = await serve();
  for (const text of [TEXT, "A snowman ☃ stands <prosody>outside</prosody> at 7:30 pm."]) {
    const own = engine.speak(text, { ...greedily, sideBySide: false });
    const samples = (await Array.fromAsync(own)).flatMap((chunk) => [...chunk.samples]);
    const speech = await service.speak(request({ text }));
    expect(await heard(speech)).toEqual(samples);
    expect([...speech.words]).toEqual([...own.words]);
    expect([[...speech.unread], [...speech.ignored]]).toEqual([[...own.unread], [...own.ignored]]);
    expect(speech.settings).toEqual(own.settings);
    const { frames, stop, seed, model } = own.summary();
    expect(speech.summary()).toMatchObject({ frames, stop, seed, model });
  }
});

test("a text in pieces is asked for as it is needed, and its writer knows when nobody reads on", async () => {
  const { service } = await serve();
  await using engine = await open({ model: STARTER, cacheDir: scratchFolder() });
  const pieces = async function* () {
    for (const piece of TEXT.match(/.{1,7}/g)!) yield piece;
  };
  const own = await Array.fromAsync(engine.speak(pieces(), { ...greedily, sideBySide: false }));
  expect(await heard(await service.speak(request({ text: pieces() })))).toEqual(
    own.flatMap((chunk) => [...chunk.samples]),
  );

  let [asked, left] = [0, false];
  const endless = (async function* () {
    try {
      for (;;) {
        asked++;
        yield "One more sentence. ";
      }
    } finally {
      left = true;
    }
  })();
  for await (const _ of await service.speak(request({ text: endless }))) {
    await Bun.sleep(200);
    break;
  }
  await until(() => left);
  expect(asked).toBeLessThan(12);

  const broken = (async function* () {
    yield "One sentence. ";
    throw new Error("the pen broke");
  })();
  expect((await rejectionOf(service.speak(request({ text: broken })))).message).toBe("the pen broke");
  expect((await rejectionOf(service.speak(request({ text: " " })))).code).toBe("TEXT_EMPTY");
});

test("an abort ends a speech that waits and one that sounds, with its figures", async () => {
  const { service } = await serve();
  const abort = new AbortController();
  const waits = service.speak(request({ text: LONG, signal: abort.signal }));
  abort.abort();
  expect((await rejectionOf(waits)).code).toBe("CANCELLED");
  const second = new AbortController();
  const sounds = await service.speak(request({ text: LONG, signal: second.signal }));
  for await (const _ of sounds) second.abort();
  expect(sounds.summary()).toMatchObject({ stop: "cancelled" });
  expect(sounds.summary().msPerFrame.talker).toBeGreaterThan(0);
  expect(service.load).toEqual({ sounding: 0, waiting: 0 });
  expect((await heard(await service.speak(request()))).length).toBeGreaterThan(0);
});

test("a slow reader holds up nobody, and nothing piles up for it", async () => {
  const { service } = await serve();
  const slow = await service.speak(request({ text: LONG }));
  const taken = slow[Symbol.asyncIterator]();
  await taken.next();
  const before = process.memoryUsage().rss;
  const whole = await heard(await service.speak(request({ client: "two" })));
  await Bun.sleep(500);
  expect(await heard(await service.speak(request({ client: "two" })))).toEqual(whole);
  // a minute of sound takes 5.8 MB; it has made at most two sentences and four chunks
  expect(slow.summary().audioSeconds).toBeLessThan(3);
  expect(process.memoryUsage().rss - before).toBeLessThan(60e6);
  await taken.return?.(undefined);
});

test("a model that cannot be opened is the source's failure", async () => {
  const failure = await rejectionOf(serve(120_000, "no-such-model"));
  expect(failure.code).toBe("MODEL_UNKNOWN");
});

describe("the engine's process", () => {
  test("is replaced when it is killed: speeches fail, others are refused, and it sounds as before", async () => {
    const { pid, service, source } = await serve();
    const expected = await heard(await service.speak(request()));
    const speech = await service.speak(request({ text: LONG }));
    const first = pid();
    const failed = rejectionOf(heard(speech));
    process.kill(first, "SIGKILL");
    expect((await failed).code).toBe("STAGE_DIED");
    expect(service.state).toBe("opening");
    expect(await service.speak(request()).catch(({ reason }) => reason)).toBe("opening");
    const startMs = performance.now();
    await until(() => source.engine !== null);
    expect(performance.now() - startMs).toBeLessThan(patient(10_000));
    expect(await heard(await service.speak(request()))).toEqual(expected);
    expect(pid()).not.toBe(first);
  });

  test("is replaced when it gives no sign of life", async () => {
    const { pid, service, source, told } = await serve(patient(700));
    const speech = await service.speak(request({ text: LONG }));
    const first = pid();
    const failed = rejectionOf(heard(speech));
    process.kill(first, "SIGSTOP");
    expect((await failed).code).toBe("STAGE_TIMEOUT");
    await until(() => source.engine !== null);
    expect(isThere(first)).toBe(false);
    expect(told.filter((line) => /^the engine has given no sign/.test(line)).length).toBe(1);
    expect((await heard(await service.speak(request()))).length).toBeGreaterThan(0);
  });

  test("ends with the service", async () => {
    const { pid, service } = await serve();
    await service.end();
    await until(() => !isThere(pid()));
  });
});

test("many speeches leave nothing behind", async () => {
  const { service } = await serve();
  const files = () => readdirSync("/proc/self/fd").length;
  await heard(await service.speak(request()));
  const before = files();
  const { signal } = new AbortController();
  for (let i = 0; i < 200; i++)
    for await (const _ of await service.speak(request({ text: "Yes.", signal }))) if (i % 10 > 0) break;
  expect(files()).toBeLessThanOrEqual(before);
  expect(service.load).toEqual({ sounding: 0, waiting: 0 });
  expect(process.listenerCount("exit")).toBeLessThan(8);
});
