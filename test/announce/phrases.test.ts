// The phrase cache: what comes back, what is refused, what goes when room is needed, and that nothing of it
// tells a text.

import { beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { PhraseCache, phraseKey, seedOf } from "../../src/announce/phrases.ts";
import { toS16le } from "../../src/audio/pcm.ts";
import { scratchFolder } from "../_support.ts";

let folder = "";
let cache: PhraseCache;
beforeEach(() => {
  folder = join(mkdtempSync(join(scratchFolder(), "phrases-")), "phrases");
  cache = new PhraseCache(folder);
});
const sound = (samples: number) => ({
  samples: Float32Array.from({ length: samples }, (_, i) => Math.sin(i / 7) * 1.01),
  words: [{ start: 0, end: 0.25 }],
});
const key = (text: string) => phraseKey({ text });
const pathOf = (text: string) => join(folder, `${key(text)}.phrase`);
const days = (count: number) => new Date(Date.now() - count * 86_400_000);

test("a phrase comes back with its words, and the samples that a player got the first time", () => {
  const { samples, words } = sound(5_000);
  cache.put(key("Dinner."), { samples, words }, false);
  const kept = cache.get(key("Dinner."))!;
  expect([toS16le(kept.samples), kept.words]).toEqual([toS16le(samples), words]);
  expect(cache.get(key("Lunch."))).toBeNull();
});

test("keys and seeds depend on everything, and are the same every time", () => {
  expect(key("Dinner.")).toMatch(/^[0-9a-f]{64}$/);
  expect(key("Dinner.")).toBe(key("Dinner."));
  expect(phraseKey({ text: "Dinner.", seed: 1 })).not.toBe(phraseKey({ text: "Dinner.", seed: 2 }));
  expect(seedOf("Dinner.")).toBe(seedOf("Dinner."));
  expect(seedOf("Dinner.")).not.toBe(seedOf("Lunch."));
  expect(Number.isSafeInteger(seedOf("Dinner."))).toBe(true);
});

test("files are for their owner alone, and do not tell the text", () => {
  cache.put(key("Dinner."), sound(10), false);
  expect([statSync(folder).mode & 0o777, statSync(pathOf("Dinner.")).mode & 0o777]).toEqual([0o700, 0o600]);
  expect(readFileSync(pathOf("Dinner.")).includes("Dinner")).toBe(false);
  expect(readdirSync(folder).join()).not.toContain("Dinner");
});

describe("a damaged phrase is none, and is removed", () => {
  const damages: [string, (path: string) => void][] = [
    ["a changed sample", (path) => change(path, 100)],
    ["a changed sum", (path) => change(path, 20)],
    ["another beginning", (path) => change(path, 0)],
    ["another length", (path) => change(path, 8)],
    ["half of it", (path) => truncateSync(path, 150)],
    ["half of its header", (path) => truncateSync(path, 20)],
    ["nothing in it", (path) => truncateSync(path, 0)],
    ["the name of another one", (path) => renameSync(pathOf("Lunch."), path)],
  ];
  const change = (path: string, at: number) => {
    const bytes = readFileSync(path);
    bytes[at] ^= 1;
    writeFileSync(path, bytes);
  };
  test.each(damages)("%s", (_what, damage) => {
    for (const text of ["Dinner.", "Lunch."]) cache.put(key(text), sound(100), false);
    damage(pathOf("Dinner."));
    expect(cache.get(key("Dinner."))).toBeNull();
    expect(existsSync(pathOf("Dinner."))).toBe(false);
    cache.put(key("Dinner."), sound(100), false);
    expect(cache.get(key("Dinner."))?.samples).toHaveLength(100);
  });
});

test("other files in the folder do no harm", () => {
  cache.put(key("Dinner."), sound(10), false);
  for (const name of ["notes.txt", ".phrase.part-999999-00000000", `${key("x")}.phrase`])
    writeFileSync(join(folder, name), "x");
  expect(cache.list()).toHaveLength(1);
  cache.put(key("Lunch."), sound(10), false);
  expect(existsSync(join(folder, ".phrase.part-999999-00000000"))).toBe(false); // a killed writer's
  expect(existsSync(pathOf("x"))).toBe(false); // damaged
  expect(cache.list()).toHaveLength(2);
});

describe("room is made", () => {
  const limited = (limits: { phraseBytes?: number; phraseFiles?: number }) =>
    new PhraseCache(folder, {
      phraseBytes: 1e6,
      phraseFiles: 100,
      phraseMs: 60 * 86_400_000,
      freshPhraseMs: 2 * 86_400_000,
      ...limits,
    });
  const used = (text: string, when: Date) => utimesSync(pathOf(text), when, when);
  const texts = () => ["a", "b", "c", "d"].filter((text) => existsSync(pathOf(text)));

  test("by the last use, up to a number of files", () => {
    const small = limited({ phraseFiles: 3 });
    for (const text of ["a", "b", "c"]) small.put(key(text), sound(10), false);
    used("a", days(1));
    used("b", days(3));
    used("c", days(2));
    small.put(key("d"), sound(10), false);
    expect(texts()).toEqual(["a", "c", "d"]);
    small.get(key("c"));
    used("d", days(0.5));
    small.put(key("b"), sound(10), false);
    expect(texts()).toEqual(["b", "c", "d"]);
  });

  test("and up to a number of bytes; fresh ones go first, kept ones never", () => {
    const small = limited({ phraseBytes: 3_500 });
    for (const text of ["a", "b", "c"]) small.put(key(text), sound(500), text === "b");
    expect(small.keep(key("a"))).toBe(true);
    used("a", days(50));
    used("c", days(1));
    small.put(key("d"), sound(500), false);
    expect(texts()).toEqual(["a", "c", "d"]);
    small.put(key("b"), sound(500), false);
    expect(texts()).toEqual(["a", "b", "d"]);
  });

  test("by age", () => {
    for (const text of ["a", "b", "c"]) cache.put(key(text), sound(10), text === "b");
    used("a", days(59));
    used("b", days(3));
    used("c", days(61));
    cache.put(key("d"), sound(10), false);
    expect(texts()).toEqual(["a", "d"]);
  });

  test("clear removes all but the kept ones, or these too", () => {
    for (const text of ["a", "b"]) cache.put(key(text), sound(10), false);
    cache.keep(key("b"));
    expect(cache.keep(key("c"))).toBe(false);
    expect(cache.list().find(({ kept }) => kept)?.key).toBe(key("b"));
    expect(cache.clear(false).map((phrase) => phrase.key)).toEqual([key("a")]);
    expect(cache.clear(true).map((phrase) => phrase.key)).toEqual([key("b")]);
    expect(readdirSync(folder)).toEqual([]);
  });
});

test("a cache that cannot be written is read", () => {
  cache.put(key("Dinner."), sound(10), false);
  const blocked = new PhraseCache(pathOf("Dinner."));
  expect(() => blocked.put(key("Lunch."), sound(10), false)).toThrow(/EEXIST|ENOTDIR/);
  expect(blocked.get(key("Lunch."))).toBeNull();
  expect(() => blocked.list()).toThrow("ENOTDIR");
  expect(() => blocked.clear(true)).toThrow("ENOTDIR");
  if (process.getuid?.() === 0) return; // root writes anywhere
  chmodSync(folder, 0o500);
  expect(cache.get(key("Dinner."))?.samples).toHaveLength(10);
  expect(() => cache.put(key("Lunch."), sound(10), false)).toThrow("EACCES");
});
