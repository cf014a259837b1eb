// The moments of announcements that come faster than they can be said.

import { expect, test } from "bun:test";
import type { Priority } from "../../src/announce/queue.ts";
import { Plan } from "../../src/fleet/plan.ts";

const of = (moment: number, priority: Priority = "normal") => ({ moment, latest: moment + 10_000, priority });

test("one follows the other with a gap, and a free board waits for nobody", () => {
  const plan = new Plan();
  expect(plan.place(of(1_000), 2_000)).toBe(1_000);
  expect(plan.place(of(1_100), 3_000)).toBe(3_500);
  expect(plan.place(of(60_000), 1_000)).toBe(60_000);
  expect(plan.place(of(61_200), 1_000)).toBe(61_500);
});

test("higher ones wait for what sounds alone, lower ones for all, urgent ones for nothing", () => {
  const plan = new Plan();
  expect(plan.place(of(1_000), 2_000)).toBe(1_000);
  expect(plan.place(of(1_100), 1_000)).toBe(3_500);
  expect(plan.place(of(1_200, "high"), 1_000)).toBe(3_500);
  expect(plan.place(of(1_300, "low"), 1_000)).toBe(5_000);
  expect(plan.place(of(1_400, "urgent"), 1_000)).toBe(1_400);
});

test("one that would be too late takes no place", () => {
  const plan = new Plan();
  expect(plan.place(of(0), 60_000)).toBe(0);
  expect(plan.place(of(100), 1_000)).toBeNull();
  expect(plan.place({ ...of(200), latest: 90_000 }, 1_000)).toBe(60_500);
});
