// What messages to rooms mean, and what the broker keeps of rooms.

import { describe, expect, test } from "bun:test";
import { TtsError } from "../../../src/errors.ts";
import { readStatus, statusesOf } from "../../../src/fleet/mqtt/_rooms.ts";
import { readSay } from "../../../src/fleet/mqtt/_say.ts";
import { readTopic } from "../../../src/fleet/mqtt/_topics.ts";

const say = (message: string | object) =>
  readSay("tts/hall/say", Buffer.from(typeof message === "string" ? message : JSON.stringify(message)));

describe("a message to a room", () => {
  test.each<[string | object, object]>([
    ["Dinner is ready.", { text: "Dinner is ready." }],
    ["{time}: dinner is ready.", { text: "{time}: dinner is ready." }],
    [' {"text": "Hi."}', { text: "Hi." }],
    [{ text: "Hi.", by: null, chime: false }, { text: "Hi." }],
    [
      { text: "Hi.", max_late: 90, max_wait: "2min", dedupe: 1.5 },
      { text: "Hi.", maxLateMs: 90_000, maxWaitMs: 120_000, dedupeMs: 1_500 },
    ],
    [
      { text: "Hi.", voice: "anna", language: "de", instruct: "softly", seed: 7, speed: 1.2, id: "a" },
      { text: "Hi.", voice: "anna", language: "de", instruct: "softly", seed: 7, speed: 1.2, id: "a" },
    ],
  ])("%j is understood", (message, asked) => {
    expect(say(message)).toEqual({ id: "", ...asked } as ReturnType<typeof say>);
  });

  test.each<[string | object, RegExp]>([
    ['{"text": "Hi.",}', /begins as JSON and is none/],
    ['{"text"', /begins as JSON and is none/],
    [{ by: "07:00" }, /text is missing, not a string/],
    [{ text: 7 }, /text is 7, not a string/],
    [{ text: ["Hi."] }, /text is \["Hi\."\], not a string/],
    [{ text: "Hi.", txet: "x" }, /there is no "txet", did you mean text\?/],
    [`{"text": "Hi.", "__proto__": {}}`, /there is no "__proto__"/],
    [{ text: "Hi.", by: "25:00" }, /by is "25:00"; give a local time/],
    [{ text: "Hi.", by: 7 }, /by is 7, not a string/],
    [{ text: "Hi.", max_late: "soon" }, /max_late is "soon"; give 0 to 6h/],
    [{ text: "Hi.", max_wait: -1 }, /max_wait is "-1"/],
    [{ text: "Hi.", dedupe: 1e9 }, /dedupe is "1000000000"/],
    [{ text: "Hi.", priority: "now" }, /priority is "now", not one of low, normal, high, urgent/],
    [{ text: "Hi.", repeat: 21 }, /repeat is 21, not a whole number from 1 to 20/],
    [{ text: "Hi.", chime: "yes" }, /chime is "yes", not true or false/],
    [{ text: "Hi.", speed: 9 }, /speed is 9, not 0\.7 to 1\.4/],
    [{ text: "Hi.", seed: -1 }, /seed is -1/],
    [{ text: "Hi.", instruct: "x".repeat(2_001) }, /instruct has 2001 characters/],
    [{ text: "Hi.", id: "x".repeat(65) }, /id has 65 characters/],
  ])("%j is refused in one line", (message, reason) => {
    let refusal: unknown;
    try {
      say(message);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(TtsError);
    const line = (refusal as TtsError).inOneLine;
    expect(line).toMatch(reason);
    expect([line.includes("\n"), line.length < 400]).toEqual([false, true]);
  });
});

test.each([
  ["tts/hall/say", { kind: "say", room: "hall" }],
  ["tts/all/status", { kind: "status", room: "all" }],
  ["tts/_bridge/attic", { kind: "bridge", bridge: "attic" }],
  ["tts/_bridge/say", { kind: "bridge", bridge: "say" }],
  ["tts/Hall/say", { kind: "say", room: "hall" }],
  ["tts/hall/outcome", { kind: "other" }],
  ["tts/hall/say/x", { kind: "other" }],
  ["tts//say", { kind: "other" }],
])("the topic %s is %j", (topic, meaning) => {
  expect<object>(readTopic(topic)).toEqual(meaning);
});

describe("rooms that the broker keeps", () => {
  const [DAY_MS, NOW_MS] = [86_400_000, Date.parse("2026-11-29T12:00:00Z")];
  const board = (name: string, rooms: string[], waiting = 0) => ({ name, rooms, waiting });

  test("have their boards, and the most that one of them has waiting", () => {
    const boards = [board("b", ["hall"], 2), board("a", ["hall", "attic"], 1), board("worker", [])];
    const since = "2026-11-29T12:00:00.000Z";
    expect(Object.fromEntries(statusesOf(boards, new Map(), NOW_MS))).toEqual({
      all: { state: "ready", boards: ["a", "b"], waiting: 2, since },
      hall: { state: "ready", boards: ["a", "b"], waiting: 2, since },
      attic: { state: "ready", boards: ["a"], waiting: 1, since },
    });
  });

  test("keep since when they are empty, for a week", () => {
    const first = statusesOf([board("a", ["hall"])], new Map(), NOW_MS);
    const gone = statusesOf([], first, NOW_MS + 1_000);
    expect(gone.get("hall")).toEqual({
      ...{ state: "empty", boards: [], waiting: 0 },
      since: "2026-11-29T12:00:01.000Z",
    });
    const read = readStatus(JSON.stringify(gone.get("hall")))!;
    expect(read).toEqual(gone.get("hall")!);
    const later = (days: number) => [
      ...statusesOf([], new Map([["hall", read]]), NOW_MS + days * DAY_MS).keys(),
    ];
    expect([later(6), later(8)]).toEqual([["all", "hall"], ["all"]]);
  });

  test.each([
    "",
    "x",
    "[]",
    "null",
    '{"state":"full"}',
    '{"state":"ready","boards":[],"waiting":0,"since":"?"}',
  ])("nothing is made of %j", (text) => {
    expect(readStatus(text)).toBeNull();
  });
});
