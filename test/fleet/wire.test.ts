// What stands on the wire of a fleet, without a hub: names, messages, rates, what was heard, who makes a
// sound, and where the hub is.

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TtsError } from "../../src/errors.ts";
import { Heard } from "../../src/fleet/heard.ts";
import { makersAmong } from "../../src/fleet/making.ts";
import {
  type BoardState,
  readAnswer,
  readOrder,
  readOutcome,
  readReply,
  readSay,
  readState,
  writeOrder,
} from "../../src/fleet/messages.ts";
import { asName, isName, nameOfHost, roomsOf } from "../../src/fleet/names.ts";
import { SenderRates } from "../../src/fleet/rates.ts";
import { loadServer } from "../../src/fleet/settings.ts";
import { scratchFolder } from "../_support.ts";

const newFolder = () => mkdtempSync(join(scratchFolder(), "wire-"));

/** The error of one line that `work` ends with. */
function faultOf(work: () => unknown): TtsError {
  try {
    work();
  } catch (error) {
    if (!(error instanceof TtsError)) throw error;
    expect(error.inOneLine).not.toMatch(/\p{Cc}/u);
    return error;
  }
  throw new Error("it was taken");
}

test("rooms, boards and senders have names that fit into subjects, topics and file names", () => {
  expect(asName("the room", " Ground-Floor ")).toBe("ground-floor");
  expect(roomsOf("--to", "hallway, Attic,hallway")).toEqual(["hallway", "attic"]);
  for (const wrong of ["", ".", "*", ">", "a.b", "a b", "-a", "Küche", "a/b", "x".repeat(64), "a\n"])
    expect([wrong, isName(wrong)]).toEqual([wrong, false]);
  for (const wrong of ["a,,b", "a b", "tts.>", "../x", "$SYS", "\u0130"])
    expect(faultOf(() => roomsOf("--to", wrong)).code).toBe("USAGE");
  for (const host of ["pi4.local", "PI", "", "-", "büro", "a".repeat(64), ".".repeat(80), "x y"])
    expect([host, isName(nameOfHost(host))]).toEqual([host, true]);
  expect(nameOfHost("Pi4.local")).toBe("pi4-local");
});

const SAY = {
  id: "0b0e7c8e-0000-4000-8000-000000000000",
  sender: "desk",
  rooms: ["hallway"],
  moment: 1_000_000,
  latest: 1_060_000,
  freshUntil: 1_005_000,
  priority: "normal",
  repeat: 1,
  chime: "",
  dedupeMs: 0,
  mostWaitMs: 60_000,
  phrases: [`${"a".repeat(64)}.${"b".repeat(64)}`],
  loudness: -23.5,
  speed: 1,
};
const STATE: BoardState = {
  name: "pi",
  version: "1.0",
  rooms: ["hallway"],
  model: "starter",
  kind: "0123456789ab",
  rtf: 0.5,
  lanes: 1,
  waiting: 0,
  making: 0,
  lastError: "",
  lastErrorAt: 0,
  clock: { offsetMs: -1.5, errorMs: 0.5 },
  since: 1,
  at: 2,
};
const ANSWER = { board: "pi", state: "accepted", reason: "" };
const { at, id, rooms } = { ...SAY, at: 5 };
const OUTCOME = { id, board: "pi", rooms, what: "said", reason: "", seconds: 1.5, lateMs: 0, at };
const ORDER = { ask: "make", text: "Hello.", moment: 5, settings: { voice: "ryan", seed: 3 } };
const MADE = { phrases: SAY.phrases, seconds: 1, bytes: 5, loudness: null, model: "starter" };

const bytes = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const KINDS: readonly [name: string, read: (bytes: Uint8Array) => unknown, valid: object][] = [
  ["announcement", readSay, SAY],
  ["state of a board", readState, STATE],
  ["answer", readAnswer, ANSWER],
  ["outcome", readOutcome, OUTCOME],
  ["request", readOrder, ORDER],
  ["reply", readReply, { made: MADE }],
  ["reply", readReply, { failed: { code: "TEXT_EMPTY", message: "there is no text", hint: "" } }],
];
/** Wrong whatever they stand for. */
const WRONG = [undefined, {}, [[]], { a: 1 }, Number.MAX_VALUE, "\n"];
/** These need not be there. */
const FREE = ["model", "kind", "rtf", "loudness"];
/** Text for people, and figures that only they read. */
const LOOSE = [
  ...["version", "lastError", "reason", "model", "text", "message", "hint", "code"],
  ...["rtf", "loudness", "lastErrorAt", "since", "at", "seconds", "lateMs"],
];

test.each(KINDS)("an %s with any wrong field is refused in one line", (title, read, valid) => {
  expect(read(bytes(valid))).toBeDefined();
  for (const key of Object.keys(valid).filter((name) => name !== "ask")) {
    for (const value of WRONG) {
      if (LOOSE.includes(key) && (value === "\n" || value === Number.MAX_VALUE)) continue;
      if (FREE.includes(key) && value === undefined) continue;
      if (key === "settings" && value !== undefined && !Array.isArray(value)) continue;
      if (["made", "failed"].includes(key) && value === undefined) continue;
      const fault = faultOf(() => read(bytes({ ...valid, [key]: value })));
      expect([key, value, fault.code]).toEqual([key, value, "REQUEST_INVALID"]);
      expect(fault.message).toContain(title);
    }
  }
});

test.each([
  ["id is", { id: "x" }],
  ["id is", { id: "../../../../etc/passwd" }],
  ["sender is", { sender: "a.b" }],
  ["rooms has 17 entries", { rooms: Array(17).fill("a") }],
  ['rooms has "B"', { rooms: ["a", "B"] }],
  ["moment", { moment: -1 }],
  ["moment", { moment: 1.5 }],
  ["latest is before moment", { latest: 999_999 }],
  ["latest is 7 hours after moment", { latest: 1_000_000 + 7 * 3_600_000 }],
  ["priority", { priority: "loud" }],
  ["repeat", { repeat: 21 }],
  ["chime", { chime: "x" }],
  ["dedupeMs", { dedupeMs: -1 }],
  ["mostWaitMs", { mostWaitMs: 1e12 }],
  ["phrases has 0 entries", { phrases: [] }],
  ["phrases has 257 entries", { phrases: Array(257).fill(SAY.phrases[0]) }],
  ["phrases has what is no phrase", { phrases: ["../x"] }],
  ["phrases has what is no phrase", { phrases: ["a".repeat(64)] }],
  ["speed is 0.4", { speed: 0.4 }],
  ["speed is 2.1", { speed: 2.1 }],
])("an announcement is refused: %s", (message, wrong) => {
  expect(faultOf(() => readSay(bytes({ ...SAY, ...wrong }))).message).toContain(message);
});

test("what is no message at all is refused, however it is broken", () => {
  const valid = KINDS.map(([, , value]) => bytes(value));
  let seed = 1;
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  const broken = Array.from({ length: 2_000 }, (_, i) => {
    const copy = Buffer.from(valid[i % valid.length]);
    for (let n = 0; n <= random(4); n++) copy[random(copy.length)] = random(256);
    return random(3) === 0 ? copy.subarray(0, random(copy.length)) : copy;
  });
  const fixed = ["", "{", "null", "[]", "1", '"x"', "\u0000", `{"a":"${"x".repeat(70_000)}"}`].map(bytes);
  for (const message of [...broken, ...fixed])
    for (const [, read] of KINDS) {
      try {
        read(message);
      } catch (error) {
        expect(error).toBeInstanceOf(TtsError);
      }
    }
  expect(faultOf(() => readSay(bytes("x".repeat(70_000)))).message).toContain("70000 bytes");
});

test("nothing that a stranger writes moves the cursor of who reads it", () => {
  const evil = "a\u001b[2J\r\nb";
  expect(readState(bytes({ ...STATE, lastError: evil, version: evil, model: evil }))).toMatchObject({
    ...{ lastError: "a [2J b", version: "a [2J b", model: "a [2J b" },
  });
  expect(readAnswer(bytes({ ...ANSWER, reason: evil })).reason).toBe("a [2J b");
  expect(readAnswer(bytes({ ...ANSWER, reason: "x".repeat(5_000) })).reason).toHaveLength(1_000);
  const reply = readReply(bytes({ failed: { code: "NO_SUCH", message: evil, hint: evil } }));
  if (!("failed" in reply)) throw new Error("it did not fail");
  expect([reply.failed.code, reply.failed.exitStatus, reply.failed.inOneLine]).toEqual([
    "INTERNAL",
    1,
    "a [2J b; a [2J b",
  ]);
});

test("an order is read as it was written, and its text has a most length", () => {
  const order = { text: "Hello.", moment: 5, settings: { voice: "x", language: "de", instruct: "calm" } };
  expect(readOrder(bytes(writeOrder(order)))).toEqual(order);
  expect(readOrder(bytes(writeOrder("ping")))).toBe("ping");
  const long = { ...order, text: "ü".repeat(5_001) };
  expect(faultOf(() => readOrder(bytes(writeOrder(long)))).message).toContain("10002 bytes");
});

test("a sender speaks in a burst, then at its rate; each for itself, and what is refused costs nothing", () => {
  const rates = new SenderRates({ senderBurst: 3, senderPerMinute: 60, senders: 2 });
  const taken = (sender: string, times: readonly number[]) => times.map((ms) => rates.take(sender, ms));
  expect(taken("a", [0, 0, 0, 0, 500, 999])).toEqual([true, true, true, false, false, false]);
  expect(taken("b", [0])).toEqual([true]);
  expect(taken("a", [1_000, 1_500, 2_000, 2_500, 3_000])).toEqual([true, false, true, false, true]);
  expect(taken("a", [10_000, 9_000, 10_000, 10_000])).toEqual([true, true, true, false]);
  expect(taken("c", [10_000])).toEqual([true]); // now b, which spoke longest ago, is forgotten
  expect(taken("a", [10_000])).toEqual([false]);
});

test("what was waiting at the hub counts at the time at which it was sent", () => {
  const rates = new SenderRates({ senderBurst: 2, senderPerMinute: 60, senders: 2 });
  expect([0, 60_000, 120_000, 180_000, 240_000].map((ms) => rates.take("a", ms))).toEqual(
    Array(5).fill(true),
  );
});

test("what has begun is known after a restart too; what came to nothing only in this process", () => {
  const folder = join(newFolder(), "heard");
  const heard = new Heard(folder);
  heard.note("begun-00");
  heard.pass("dropped-0");
  expect(["begun-00", "dropped-0", "other-000"].map((name) => heard.has(name))).toEqual([true, true, false]);
  expect(readdirSync(folder)).toEqual(["begun-00"]);
  const later = new Heard(folder);
  expect(["begun-00", "dropped-0"].map((name) => later.has(name))).toEqual([true, false]);
  const nowhere = new Heard("/proc/no-such");
  expect(() => nowhere.note("begun-00")).toThrow();
  expect(nowhere.has("begun-00")).toBe(true);
});

test("a sound is made by an idle and fast board, with the model that most boards have", () => {
  const board = (name: string, model: string | null, making: number, rtf: number | null) => ({
    ...{ ...STATE, name, model, making, rtf },
  });
  const boards = [
    board("odd", "other", 0, 0.01),
    board("player", null, 0, null),
    board("busy", "starter", 2, 0.1),
    board("unknown", "starter", 0, null),
    board("slow", "starter", 0, 0.9),
    board("fast", "starter", 0, 0.2),
    board("also-fast", "starter", 0, 0.2),
  ];
  const names = (model?: string) => makersAmong(boards, model).map(({ name }) => name);
  expect(names()).toEqual(["also-fast", "fast", "slow", "unknown", "busy", "odd"]);
  expect(names("other")).toEqual(["odd"]);
  expect(names("none")).toEqual([]);
});

/** A configuration folder whose config.json holds this. */
function configured(text?: string): { TTS_CONFIG: string } {
  const folder = newFolder();
  mkdirSync(folder, { recursive: true });
  if (text !== undefined) writeFileSync(join(folder, "config.json"), text);
  return { TTS_CONFIG: folder };
}

test("an option names the hub before TTS_FLEET, and that before config.json", () => {
  const file = configured('{"fleet": {"url": "tls://file:1", "user": "me", "password": "p"}}');
  const variable = { ...file, TTS_FLEET: "nats://variable" };
  expect(loadServer("fleet", undefined, file)).toMatchObject({ url: "tls://file:1", user: "me" });
  expect(loadServer("fleet", undefined, variable)).toMatchObject({ url: "nats://variable:4222", user: "me" });
  expect(loadServer("fleet", "option", variable)?.url).toBe("nats://option:4222");
  expect(loadServer("fleet", "nats://[::1]:99", variable)?.url).toBe("nats://[::1]:99");
  expect(loadServer("fleet", undefined, configured())).toBeNull();
  expect(loadServer("mqtt", undefined, { ...file, TTS_MQTT: "mqtts://b" })?.url).toBe("mqtts://b:8883");
  const inUrl = loadServer("fleet", "nats://you:a%40b%@hub", file);
  expect(inUrl).toMatchObject({ url: "nats://hub:4222", user: "you", password: "a%40b%" });
  expect(loadServer("fleet", "nats://you:a%40b@hub", file)?.password).toBe("a@b");
});

test.each([
  ["http://hub", undefined],
  ["nats://me:secret@hub:99999", undefined],
  ["me:secret@hub:99999", undefined],
  ["nats://me:sec@ret@hub/x", undefined],
  ["nats://me:secret@hub/?x=1", undefined],
  ["nats://", undefined],
  ["ws://me:secret@hub", undefined],
  [undefined, "{"],
  [undefined, "[]"],
  [undefined, '{"fleet": {"password": secret}}'],
  [undefined, '{"fleet": {"password": 12345}}'],
  [undefined, '{"fleet": {"password": ["secret"]}}'],
  [undefined, '{"fleet": {"pasword": "secret"}}'],
  [undefined, '{"fleet": "nats://me:secret@hub"}'],
  [undefined, '{"hub": {"password": "secret"}}'],
])("an address of a hub %j with a file %j is refused, without a password", (url, file) => {
  const fault = faultOf(() => loadServer("fleet", url, configured(file)));
  expect(fault.code).toBe("USAGE");
  for (const word of ["secret", "12345", "sec@", "ret@"]) expect(fault.inOneLine).not.toContain(word);
});
