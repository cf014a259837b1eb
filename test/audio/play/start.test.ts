// When playing starts: simulated machines of every speed, whose player must never wait, and starts no later
// than it has to.

import { describe, expect, test } from "bun:test";
import {
  courseOf,
  knownCourse,
  neverWaits,
  type StartChoice,
  StartWatch,
} from "../../../src/audio/play/start.ts";

const FRAME_SECONDS = 0.08;

interface Run {
  /** Seconds of wall time per second of sound. */
  rtf: number;
  /** Seconds of each sentence, its text, and the pause before it. */
  sentences: { seconds: number; text: string; pauseSeconds?: number }[];
  gapSeconds?: number;
  choice?: StartChoice;
  leadSeconds?: number;
  /** Each piece takes up to this share longer or shorter than it should. */
  jitter?: number;
}

/** Pieces as they come: [seconds when, seconds of sound, sentence, whether it is a pause]. */
function pieces({ gapSeconds = 0.3, jitter = 0, rtf, sentences }: Run): [number, number, number, boolean][] {
  let [now, noise] = [0, 1];
  return sentences.flatMap(({ pauseSeconds = 0, seconds }, sentence) => {
    const out: [number, number, number, boolean][] = [];
    for (let left = pauseSeconds; left > 0; left -= 1) out.push([now, Math.min(left, 1), sentence, true]);
    now += gapSeconds;
    for (let left = Math.round(seconds / FRAME_SECONDS), size = 0; left > 0; left -= size) {
      size = Math.min(left, size === 0 ? 1 : size === 1 ? 2 : 4);
      noise = (noise * 16_807) % 2_147_483_647;
      now += size * FRAME_SECONDS * rtf * (1 + jitter * ((2 * noise) / 2_147_483_647 - 1));
      out.push([now, size * FRAME_SECONDS, sentence, false]);
    }
    return out;
  });
}

/** Plays what comes. */
function play(run: Run): { startSeconds: number; waitedSeconds: number; doneSeconds: number } {
  const all = pieces(run);
  const texts = run.sentences.map(({ text }) => text);
  const watch = new StartWatch(run.choice ?? "safe");
  watch.follow(
    courseOf({
      sentences: texts,
      pauses: new Map(run.sentences.map(({ pauseSeconds = 0 }, i) => [i, 1000 * pauseSeconds])),
      settings: { maxFrames: 2048 },
      summary: () => ({ firstAudioMs: 1000 * all[0][0] }),
    }),
  );
  let held = run.leadSeconds ?? 0.2;
  let startSeconds = all.at(-1)![0];
  for (const [atSeconds, seconds, sentence, isPause] of all) {
    watch.take(sentence, seconds, 1000 * atSeconds, isPause);
    held += seconds;
    if (!watch.isTime(held)) continue;
    startSeconds = atSeconds;
    break;
  }
  let [playedUntil, waitedSeconds] = [startSeconds + (run.leadSeconds ?? 0.2), 0];
  for (const [atSeconds, seconds] of all) {
    waitedSeconds += Math.max(0, atSeconds - playedUntil);
    playedUntil = Math.max(playedUntil, atSeconds) + seconds;
  }
  return { startSeconds, waitedSeconds, doneSeconds: all.at(-1)![0] };
}

const spoken = (seconds: number, perByte = 0.065) => ({
  seconds,
  text: "x".repeat(Math.round(seconds / perByte)),
});
const afterPause = (pauseSeconds: number, seconds: number) => ({ ...spoken(seconds), pauseSeconds });
const TEXTS: [string, Run["sentences"]][] = [
  ["one word", [spoken(0.5)]],
  ["a sentence", [spoken(4)]],
  ["three sentences", [spoken(3), spoken(6), spoken(2)]],
  ["a text with long pauses", [spoken(1), afterPause(6, 3), afterPause(0.5, 8), afterPause(3.5, 5)]],
  ["a pause first, then a long sentence", [afterPause(2.2, 1), spoken(12)]],
  ["a long text", Array.from({ length: 40 }, (_, i) => spoken(2 + ((i * 7) % 5)))],
];

describe.each(TEXTS)("%s", (_what, sentences) => {
  test.each([0.05, 0.4, 0.7, 0.9, 1, 1.1, 1.5, 2, 3, 8])("never waits at RTF %p", (rtf) => {
    for (const jitter of [0, 0.08]) expect(play({ rtf, sentences, jitter }).waitedSeconds).toBeLessThan(0.02);
  });
});

test("a fast machine starts with the second piece", () => {
  const { startSeconds } = play({ rtf: 0.05, sentences: [spoken(4)], gapSeconds: 0.02 });
  expect(startSeconds).toBeCloseTo(0.02 + 3 * FRAME_SECONDS * 0.05);
});

test("a slow machine starts long before all the sound is there", () => {
  const sentences = Array.from({ length: 10 }, () => spoken(5));
  const { doneSeconds, startSeconds } = play({ rtf: 1.5, sentences });
  // 50 s of sound take 78 s: nobody can start before 28 s
  expect(startSeconds).toBeGreaterThan(28);
  expect(startSeconds).toBeLessThan(0.62 * doneSeconds);
});

test("a slow machine starts earlier where pauses give it time", () => {
  const sentences = [spoken(3), afterPause(8, 3), afterPause(8, 3)];
  const { doneSeconds, startSeconds, waitedSeconds } = play({ rtf: 2, sentences });
  expect(waitedSeconds).toBeLessThan(0.02);
  expect(doneSeconds).toBeGreaterThan(18);
  expect(startSeconds).toBeLessThan(6); // the first sentence takes that long
});

test("a text that is spoken more slowly than others shows it in its first sentences", () => {
  const slow = Array.from({ length: 10 }, () => spoken(6, 0.12));
  expect(play({ rtf: 1.3, sentences: slow }).waitedSeconds).toBeLessThan(0.02);
});

test("now starts at once, and then waits; complete waits for the end", () => {
  const run: Run = { rtf: 2, sentences: [spoken(4)] };
  expect(play({ ...run, choice: "now" })).toMatchObject({ startSeconds: pieces(run)[0][0] });
  expect(play({ ...run, choice: "now" }).waitedSeconds).toBeGreaterThan(3);
  const complete = play({ ...run, choice: "complete" });
  expect(complete.startSeconds).toBe(complete.doneSeconds);
});

test("no sentence is expected to be longer than its limit of frames", () => {
  const sentences = ["x".repeat(1000), "x"];
  const speech = { sentences, pauses: new Map(), summary: () => ({ firstAudioMs: 0 }) };
  const course = courseOf({ ...speech, settings: { maxFrames: 25 } });
  expect(course.seconds([0.5])).toEqual([2, 0.075]);
});

test("the length of codes is known to the frame", () => {
  const watch = new StartWatch("safe");
  watch.follow(knownCourse([10]));
  watch.take(0, 0.08, 0);
  expect(watch.prospect(0.1)).toBe(null); // one piece tells no speed
  watch.take(0, 0.32, 640);
  expect(watch.prospect(0.4)).toMatchObject({
    leftSeconds: [9.6],
    speed: expect.closeTo(0.9 * 0.5),
    gapSeconds: 0,
  });
});

test("sound that is played faster is spoken for less long", () => {
  const watch = new StartWatch("safe", 2);
  watch.follow(knownCourse([10]));
  watch.take(0, 1, 0);
  watch.take(0, 1, 500);
  expect(watch.prospect(1)).toMatchObject({ leftSeconds: [4], speed: expect.closeTo(0.9) });
});

test.each([
  [{ heldSeconds: 0, leftSeconds: [], pauseSeconds: [], speed: 1, gapSeconds: 1 }, true],
  [{ heldSeconds: 1, leftSeconds: [10], pauseSeconds: [], speed: 1, gapSeconds: 0 }, true],
  [{ heldSeconds: 1, leftSeconds: [10], pauseSeconds: [], speed: 0.9, gapSeconds: 0 }, false],
  [{ heldSeconds: 2, leftSeconds: [10], pauseSeconds: [], speed: 0.9, gapSeconds: 0 }, true],
  [{ heldSeconds: 0.1, leftSeconds: [10], pauseSeconds: [], speed: 2, gapSeconds: 0 }, false], // a piece too late
  [{ heldSeconds: 1, leftSeconds: [0, 10], pauseSeconds: [], speed: 9, gapSeconds: 2 }, false], // a sentence too late
  // a pause before it gives it time
  [{ heldSeconds: 1, leftSeconds: [0, 10], pauseSeconds: [0, 2, 0], speed: 9, gapSeconds: 2 }, true],
])("%j: %p", (prospect, expected) => {
  expect(neverWaits(prospect)).toBe(expected);
});
