// Turns and their order, and what was said before. Processes that are killed are tested in test/cli.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { noteSaid, wasSaid } from "../../src/announce/dedupe.ts";
import { type Priority, queueFolder, type Turn, takeTurn } from "../../src/announce/queue.ts";
import { isHeld, tryHold } from "../../src/io/held-file.ts";
import { scratchFolder } from "../_support.ts";

let folder = "";
const turns: Turn[] = [];
beforeEach(() => {
  folder = queueFolder(mkdtempSync(join(scratchFolder(), "queue-")));
});
afterEach(() => {
  for (const turn of turns.splice(0)) turn.end();
});
const take = async (priority: Priority = "normal", mostWaitMs = 20_000) => {
  const turn = await takeTurn(folder, priority, mostWaitMs);
  turns.push(turn);
  return turn;
};

test("one speaks at a time", async () => {
  const first = await take();
  await expect(take("normal", 100)).rejects.toThrow("nothing was said");
  await expect(take("urgent", 0)).rejects.toThrow("nothing was said");
  first.end();
  first.end(); // does nothing
  expect((await take()).waitedMs).toBeLessThan(1_000);
});

test("who is more important goes first, then who came first", async () => {
  const first = await take();
  const order: string[] = [];
  const wait = async (priority: Priority, name: string) => {
    const turn = await take(priority);
    order.push(name);
    turn.end();
  };
  const all: Promise<void>[] = [];
  for (const [priority, name] of [
    ["low", "low"],
    ["normal", "normal 1"],
    ["high", "high"],
    ["normal", "normal 2"],
    ["urgent", "urgent"],
  ] as const) {
    all.push(wait(priority, name));
    await Bun.sleep(5);
  }
  expect(first.isWanted()).toBe(true);
  first.end();
  await Promise.all(all);
  expect(order).toEqual(["urgent", "high", "normal 1", "normal 2", "low"]);
  expect(readdirSync(join(folder, "tickets"))).toEqual([]);
});

test("one that has a time goes before others of its priority, and interrupts nobody", async () => {
  const first = await take();
  const order: string[] = [];
  const wait = async (name: string, priority: Priority, isDue: boolean) => {
    const turn = await takeTurn(folder, priority, 20_000, isDue);
    order.push(name);
    turn.end();
  };
  const all: Promise<void>[] = [];
  for (const [name, priority, isDue] of [
    ["normal", "normal", false],
    ["due", "normal", true],
    ["high", "high", false],
    ["due later", "normal", true],
  ] as const) {
    all.push(wait(name, priority, isDue));
    await Bun.sleep(5);
  }
  expect(first.isWanted()).toBe(false);
  first.end();
  await Promise.all(all);
  expect(order).toEqual(["high", "due", "due later", "normal"]);
});

test("only an urgent one interrupts, and not another urgent one", async () => {
  const first = await take("urgent");
  const second = take("urgent");
  await Bun.sleep(50);
  expect(first.isWanted()).toBe(false);
  first.end();
  const turn = await second;
  const high = take("high");
  await Bun.sleep(50);
  expect(turn.isWanted()).toBe(false);
  turn.end();
  await high;
});

test("sixteen wait at most", async () => {
  const first = await take();
  const waiting = Array.from({ length: 16 }, () => take("low"));
  await Bun.sleep(50);
  await expect(take("urgent")).rejects.toThrow("16 announcements wait already: nothing was said");
  first.end();
  for (const one of waiting) (await one).end();
});

test("tickets of the dead do not count", async () => {
  for (let i = 0; i < 20; i++) writeFileSync(join(folder, "tickets", `0-1-00000000000000${i % 10}-${i}`), "");
  expect((await take("low")).waitedMs).toBeLessThan(1_000);
});

test("the folder is for its owner alone, and elsewhere if the cache cannot be written", () => {
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  chmodSync(folder, 0o755);
  queueFolder(join(folder, ".."));
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(queueFolder(file)).toContain(`qwen3-tts-${process.getuid?.()}`);
});

test("a held file is held until it is released", () => {
  const path = join(folder, "one");
  const held = tryHold(path)!;
  expect([isHeld(path), tryHold(path)]).toEqual([true, null]);
  held.release();
  expect([isHeld(path), isHeld(join(folder, "none"))]).toEqual([false, false]);
});

test("what was said a while ago is said again; a clock that was set back hides nothing", () => {
  const at = (seconds: number) => new Date(1_000_000_000_000 + 1_000 * seconds);
  expect(wasSaid(folder, "Door open.", 60_000, at(0))).toBe(false);
  noteSaid(folder, "Door open.", at(0));
  expect(wasSaid(folder, "Door open.", 60_000, at(59.9))).toBe(true);
  expect(wasSaid(folder, "Door open.", 60_000, at(60))).toBe(false);
  expect(wasSaid(folder, "Door closed.", 60_000, at(1))).toBe(false);
  expect(wasSaid(folder, "Door open.", 60_000, at(-1))).toBe(false);
  noteSaid(folder, "Door closed.", at(90_000)); // forgets what is older than a day
  expect(readdirSync(join(folder, "said"))).toHaveLength(1);
  expect(readdirSync(join(folder, "said"))[0]).toMatch(/^[0-9a-f]{64}$/);
});

test("a damaged note of what was said counts for nothing", () => {
  mkdirSync(join(folder, "said"), { recursive: true });
  noteSaid(folder, "Door open.", new Date());
  const [name] = readdirSync(join(folder, "said"));
  writeFileSync(join(folder, "said", name), "yesterday");
  expect(wasSaid(folder, "Door open.", 60_000, new Date())).toBe(false);
});
