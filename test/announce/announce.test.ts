// An announcement from its text to its sound, with a clock, a voice and a player of its own: when it begins,
// what is asked of the voice, what interrupts it, and what a clock that is set meanwhile changes.

import { beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Announcement,
  announce,
  prepare,
  type SpokenPiece,
  type Voice,
} from "../../src/announce/announce.ts";
import { chime } from "../../src/announce/chime.ts";
import { PhraseCache, phraseKey } from "../../src/announce/phrases.ts";
import { queueFolder, takeTurn } from "../../src/announce/queue.ts";
import type { Part } from "../../src/announce/template.ts";
import { appointment, parseQuietHours } from "../../src/announce/times.ts";
import { SAMPLE_RATE_HZ } from "../../src/types.ts";
import { scratchFolder } from "../_support.ts";

const NOON = new Date(2026, 5, 1, 12, 0, 0).getTime();

/** A clock that runs only while somebody sleeps. */
class FakeClock {
  private ms = NOON;
  private ranMs = 0;
  /** What happens when it comes to a moment, once each. */
  readonly events: [atMs: number, happens: () => void][] = [];
  now = () => new Date(this.ms);
  monotonicMs = () => this.ranMs;
  async sleep(ms: number) {
    this.ms += ms;
    this.ranMs += ms;
    for (const [i, [at, happens]] of this.events.entries())
      if (this.ranMs >= at) {
        this.events.splice(i, 1);
        happens();
        break;
      }
    await Bun.sleep(0);
  }
  set(ms: number) {
    this.ms = ms;
  }
}

let clock: FakeClock;
let folder = "";
let phrases: PhraseCache;
let heard: Float32Array[] = [];
let volumes: (number | null)[] = [];
let beganAt = 0;
let spoken: string[] = [];
let finished = false;
let rested = 0;

beforeEach(() => {
  const home = mkdtempSync(join(scratchFolder(), "announce-"));
  [clock, folder] = [new FakeClock(), queueFolder(home)];
  phrases = new PhraseCache(join(home, "phrases"));
  [heard, volumes, spoken, beganAt, finished] = [[], [], [], 0, false];
});

const tone = (seconds: number) =>
  Float32Array.from({ length: seconds * SAMPLE_RATE_HZ }, (_, i) => Math.sin(i / 5) / 2);

const speech = (seconds: number): SpokenPiece => ({ samples: tone(seconds), isPause: false });
const pause = (seconds: number): SpokenPiece => ({
  samples: new Float32Array(seconds * SAMPLE_RATE_HZ),
  isPause: true,
});

/** Each part is a second of a tone, which takes `madeInMs` to make. */
const voice = (madeInMs = 0): Voice => ({
  keyOf: ({ text }) => phraseKey({ text }),
  speak: ({ text }) => ({
    isWhole: true,
    words: [],
    async *[Symbol.asyncIterator]() {
      spoken.push(text);
      if (text === "fails") throw new Error("no voice");
      if (madeInMs > 0) await clock.sleep(madeInMs);
      yield speech(1);
    },
  }),
  rest: () => {
    rested = clock.now().getTime();
  },
  speed: 1,
  shaped: (words) => words,
  openPlayer: async (volume) => {
    volumes.push(volume);
    return {
      async write(samples) {
        if (samples.length > 0 && heard.length === 0) beganAt = clock.now().getTime();
        heard.push(samples.slice());
      },
      finish: async () => {
        finished = true;
      },
      abandon: () => {},
    };
  },
});
const samplesHeard = () => heard.reduce((sum, samples) => sum + samples.length, 0);
const secondsHeard = () => samplesHeard() / SAMPLE_RATE_HZ;
const part = (text: string): Part => ({ text, fresh: false });
const plain = (text = "Dinner."): Announcement => ({
  parts: [part(text)],
  appointment: null,
  mostLateMs: 300_000,
  quietHours: [],
  nightVolume: null,
  dedupeMs: 0,
  priority: "normal",
  mostWaitMs: 1_000,
  start: "safe",
  repeat: 1,
  before: new Float32Array(0),
  after: new Float32Array(0),
});
const say = (changes: Partial<Announcement> = {}, madeInMs = 0) =>
  announce({ ...plain(), ...changes }, voice(madeInMs), { folder, phrases, clock });
const by = (time: string) => appointment("--by", time, clock.now(), 300_000);

test("what was said once is not asked of the voice again", async () => {
  expect(await say()).toMatchObject({ what: "said", cached: 0, seconds: 1 });
  expect(await say()).toMatchObject({ what: "said", cached: 1, madeMs: 0 });
  expect([spoken, secondsHeard(), finished]).toEqual([["Dinner."], 2, true]);
  await say({ parts: [part("Dinner."), part("It is seven.")] });
  expect(spoken).toEqual(["Dinner.", "It is seven."]);
});

test("what changes a voice leaves the chime alone, and what is kept", async () => {
  const before = chime("before");
  const half: Voice = {
    ...voice(),
    async *shaped(words) {
      for await (const samples of words) yield samples.map((sample) => sample / 2);
    },
  };
  for (let i = 0; i < 2; i++) {
    heard = [];
    await announce({ ...plain(), before }, half, { folder, phrases, clock });
    const all = heard.flatMap((samples) => Array.from(samples));
    expect(all.slice(0, before.length)).toEqual(Array.from(before));
    const peak = Math.max(...all.slice(before.length));
    expect(peak).toBeGreaterThan(0.24);
    expect(peak).toBeLessThan(0.26);
  }
});

test("what is prepared is heard later", async () => {
  const outcome = await prepare([part("Dinner.")], voice(700), { phrases, clock });
  expect(outcome).toMatchObject({ what: "prepared", seconds: 1, madeMs: 700 });
  expect(secondsHeard()).toBe(0);
  expect(await say()).toMatchObject({ cached: 1 });
});

test("chimes and repetitions", async () => {
  const [before, after] = [chime("before"), chime("after")];
  const { seconds } = await say({ before, after, repeat: 3 });
  expect(seconds).toBe(secondsHeard());
  expect(samplesHeard()).toBe(before.length + after.length + 5 * SAMPLE_RATE_HZ);
  expect(spoken).toHaveLength(1);
});

test("a voice that fails is heard as an error, and nothing is kept", async () => {
  await expect(say({ parts: [part("Dinner."), part("fails")] })).rejects.toThrow("no voice");
  await expect(say({ parts: [part("fails")] })).rejects.toThrow("no voice");
  expect(phrases.list()).toHaveLength(1);
  expect((await takeTurn(folder, "normal", 0)).waitedMs).toBeLessThan(1_000); // the turn has ended
});

test("a sentence that did not end by itself is not kept", async () => {
  const cut: Voice = { ...voice(), speak: (one) => ({ ...voice().speak(one), isWhole: false }) };
  await announce(plain(), cut, { folder, phrases, clock });
  expect([phrases.list(), secondsHeard()]).toEqual([[], 1]);
});

describe("a time", () => {
  test("is met to the millisecond; the sound is made before", async () => {
    expect(await say({ appointment: by("12:02") }, 90_000)).toMatchObject({ what: "said", lateMs: 0 });
    expect(beganAt).toBe(NOON + 120_000);
    expect(rested).toBeLessThan(NOON + 100_000); // no model stays open while it waits
  });

  test("that comes before the sound is made: it says how late", async () => {
    expect(await say({ appointment: by("12:02") }, 130_000)).toMatchObject({
      ...{ what: "said", lateMs: 10_000, madeMs: 130_000 },
    });
    expect(beganAt).toBe(NOON + 130_000);
  });

  test("that has long passed when the sound is made is dropped", async () => {
    expect(await say({ appointment: by("12:02") }, 420_000)).toMatchObject({ what: "late", lateMs: 300_000 });
    expect(volumes).toEqual([]);
  });

  test("that has passed before", async () => {
    expect(await say({ appointment: by("11:57") })).toMatchObject({ what: "said", lateMs: 180_000 });
    clock.set(NOON);
    expect(await say({ appointment: by("11:50") })).toMatchObject({ what: "late", lateMs: 600_000 });
    expect(secondsHeard()).toBe(1);
  });

  test("is that of the clock on the wall, which is set forward meanwhile", async () => {
    clock.events.push([30_000, () => clock.set(NOON + 118_500)]);
    await say({ appointment: by("12:02") });
    expect(beganAt).toBe(NOON + 120_000);
    expect(clock.monotonicMs()).toBeLessThan(40_000);
  });

  test("or beyond it: then it is late, or too late", async () => {
    clock.events.push([30_000, () => clock.set(NOON + 150_000)]);
    expect(await say({ appointment: by("12:02") })).toMatchObject({ what: "said", lateMs: 30_000 });
    clock.set(NOON);
    clock.events.push([clock.monotonicMs() + 30_000, () => clock.set(NOON + 600_000)]);
    expect(await say({ appointment: by("12:02") })).toMatchObject({ what: "late", lateMs: 480_000 });
  });

  test("or is set back", async () => {
    clock.events.push([60_000, () => clock.set(NOON)]);
    await say({ appointment: by("12:02") });
    expect(beganAt).toBe(NOON + 120_000);
    expect(clock.monotonicMs()).toBeGreaterThan(175_000);
  });
});

describe("in quiet hours", () => {
  const quietHours = parseQuietHours("--quiet-hours", "12:01-12:10");

  test("nothing is made or said, and a time counts when it comes", async () => {
    expect((await say({ quietHours, appointment: by("12:01") })).what).toBe("quiet");
    expect((await say({ quietHours, appointment: by("12:09:59") })).what).toBe("quiet");
    expect(spoken).toEqual([]);
    expect((await say({ quietHours })).what).toBe("said");
    expect((await say({ quietHours, appointment: by("12:10") })).what).toBe("said");
  });

  test("also when they begin while it waits", async () => {
    expect((await say({ quietHours }, 60_000)).what).toBe("quiet");
    expect([spoken, heard]).toEqual([["Dinner."], []]);
  });

  test("it is said quietly on demand", async () => {
    await say({ quietHours, nightVolume: 0.3 });
    await say({ quietHours, nightVolume: 0.3, appointment: by("12:01") });
    expect(volumes).toEqual([null, 0.3]);
  });
});

test("the same text within some seconds is dropped, another one is not", async () => {
  const dedupeMs = 10_000;
  expect((await say({ dedupeMs })).what).toBe("said");
  expect((await say({ dedupeMs })).what).toBe("repeated");
  expect((await say({ dedupeMs, parts: [part("Lunch.")] })).what).toBe("said");
  expect((await say()).what).toBe("said");
  clock.set(NOON + 60_000);
  expect((await say({ dedupeMs })).what).toBe("said");
});

describe("on a machine that makes a second of sound in two, it begins early enough never to break off", () => {
  /** Pieces of a quarter of a second; a pause takes no time to make. */
  const slow = (speed: number, pieces: SpokenPiece[]) => ({
    ...voice(),
    speed,
    speak: () => ({
      isWhole: true,
      words: [],
      async *[Symbol.asyncIterator]() {
        for (const piece of pieces) {
          if (!piece.isPause) await clock.sleep(500);
          yield piece;
        }
      },
    }),
  });
  const startedMs = async (bytes: number, pieces: SpokenPiece[], speed = 1) => {
    await announce(plain("x".repeat(bytes)), slow(speed, pieces), { folder, phrases, clock });
    return beganAt - NOON;
  };
  const words = (count: number) => Array.from({ length: count }, () => speech(0.25));

  test("also when it is played faster than it is spoken", async () => {
    const usual = await startedMs(60, words(18));
    expect(usual).toBeWithin(4_500, 6_500);
    clock.set(NOON);
    heard = [];
    expect(await startedMs(61, words(18), 1.4)).toBeGreaterThan(usual + 500);
  });

  test("a pause does not count as sound that is made fast", async () => {
    const paused = [...words(4), pause(3), ...words(36)]; // 20 s to make, 13 s to play
    expect(await startedMs(134, paused)).toBeGreaterThan(7_000);
  });
});

describe("an urgent one interrupts", () => {
  /** Asks for an urgent turn after `afterMs` of sound. */
  const interruptAfter = (afterMs: number) => {
    let turn: ReturnType<typeof takeTurn> | undefined;
    clock.events.push([
      afterMs,
      () => {
        turn = takeTurn(folder, "urgent", 10_000);
      },
    ]);
    return async () => (await turn!).end();
  };
  /** Tones and silences in turn, in which words may be known. */
  const words = (seconds: number[], spans: { start: number; end: number }[] = []) => ({
    ...voice(),
    speak: () => ({
      isWhole: true,
      words: spans,
      async *[Symbol.asyncIterator]() {
        for (const [i, length] of seconds.entries()) yield i % 2 === 0 ? speech(length) : pause(length);
      },
    }),
  });

  test("at the next silence", async () => {
    const end = interruptAfter(1_000);
    const outcome = await announce(plain(), words([2, 0.2, 3]), { folder, phrases, clock });
    expect(outcome.what).toBe("interrupted");
    expect(secondsHeard()).toBeCloseTo(2.02, 5);
    expect(finished).toBe(true);
    await end();
  });

  const interruptedAt = async (afterMs: number, voice: Voice, changes: Partial<Announcement> = {}) => {
    heard = [];
    const end = interruptAfter(clock.monotonicMs() + afterMs);
    const { seconds, what } = await announce({ ...plain(), ...changes }, voice, { folder, phrases, clock });
    expect(what).toBe("interrupted");
    expect(secondsHeard()).toBeCloseTo(seconds, 5);
    await end();
    return seconds;
  };
  async function* tones(seconds: number) {
    yield tone(seconds);
  }
  const SPANS = [
    { start: 0, end: 0.4 },
    { start: 0.4, end: 1.9 },
    { start: 1.9, end: 5 },
  ];

  /** A word ends somewhere in a frame, in its quietest place. */
  const near = (seconds: number, expected: number) => expect(Math.abs(seconds - expected)).toBeLessThan(0.1);

  test("at the end of the word where words are known, also of a kept phrase, a repetition and other speeds", async () => {
    // half a second is given ahead: after 1 s it is the word that ends after 1.9 s
    near(await interruptedAt(1_000, words([5], SPANS)), 1.9);
    await announce(plain(), words([5], SPANS), { folder, phrases, clock });
    near(await interruptedAt(1_000, words([5], SPANS)), 1.9);
    near(await interruptedAt(7_000, words([5], SPANS), { repeat: 2 }), 6 + 1.9);
    const before = tone(1);
    near(await interruptedAt(2_000, words([5], SPANS), { before }), 1 + 1.9);
    const fast = { ...words([5], SPANS), speed: 1.25, shaped: () => tones(4) };
    near(await interruptedAt(600, fast), 1.9 / 1.25);
  });

  test("where it is quiet near the end of the word, and at once between words", async () => {
    const spans = [
      { start: 0, end: 2 },
      { start: 4, end: 6 },
    ];
    near(await interruptedAt(1_000, words([2.04, 2, 2], spans)), 2.05);
    near(await interruptedAt(2_500, words([2.04, 2, 2], spans)), 3.1);
  });

  test("soon where a word does not end", async () => {
    const seconds = await interruptedAt(1_000, words([30], [{ start: 0, end: 30 }]));
    expect(seconds).toBeGreaterThan(2.5);
    expect(seconds).toBeLessThan(3.5);
  });

  test("soon where there is no silence, with its sound faded out", async () => {
    const end = interruptAfter(1_000);
    expect(await announce(plain(), words([30]), { folder, phrases, clock })).toMatchObject({
      what: "interrupted",
    });
    expect(secondsHeard()).toBeGreaterThan(2.5);
    expect(secondsHeard()).toBeLessThan(3.5);
    expect(Math.abs(heard.at(-1)!.at(-1)!)).toBeLessThan(0.01);
    await end();
  });
});

test("the player is given half a second more than has been heard, at most", async () => {
  let most = 0;
  const ahead = { ...voice() };
  ahead.openPlayer = async () => ({
    async write(samples) {
      heard.push(samples);
      most = Math.max(most, 1_000 * secondsHeard() - clock.monotonicMs());
    },
    finish: async () => {},
    abandon: () => {},
  });
  await announce({ ...plain(), repeat: 5 }, ahead, { folder, phrases, clock });
  expect(secondsHeard()).toBe(9);
  expect(most).toBeLessThan(560);
});

test("chimes begin and end softly, and are not loud", () => {
  for (const kind of ["before", "after"] as const) {
    const samples = chime(kind);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    expect(peak).toBeGreaterThan(0.05);
    expect(peak).toBeLessThan(0.5);
    expect(Math.abs(samples[0])).toBeLessThan(1e-3);
    expect(Math.abs(samples.at(-1)!)).toBeLessThan(1e-3);
    expect(samples.every(Number.isFinite)).toBe(true);
  }
});

test("only what was heard counts as said, and a place that cannot be written costs nothing more", async () => {
  const dumb: Voice = {
    ...voice(),
    openPlayer: async () => ({
      write: async () => {},
      finish: () => Promise.reject(new Error("no loudspeaker")),
      abandon: () => {},
    }),
  };
  const request = { ...plain(), dedupeMs: 60_000 };
  await expect(announce(request, dumb, { folder, phrases, clock })).rejects.toThrow("no loudspeaker");
  expect(await announce(request, voice(), { folder, phrases, clock })).toMatchObject({ what: "said" });
  expect(await announce(request, voice(), { folder, phrases, clock })).toMatchObject({ what: "repeated" });
  rmSync(join(folder, "said"), { recursive: true });
  writeFileSync(join(folder, "said"), "");
  const losses: unknown[] = [];
  const outcome = await announce(request, voice(), { folder, phrases, clock }, (loss) => losses.push(loss));
  expect([outcome.what, losses.length]).toEqual(["said", 1]);
});
