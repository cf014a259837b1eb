// How many drafts a pass takes: as many as pay, by their luck of late and by what a pass costs.

import { expect, test } from "bun:test";
import { DraftWindow } from "../../../src/backends/predictor/draft-window.ts";

const PASS_MS = [1, 1.3, 1.6, 1.9];

/** Frames in which the draft of each position is right that often, in a regular pattern. */
function frames(window: DraftWindow, count: number, shares: readonly number[]): number[] {
  const due = shares.map(() => 0);
  return Array.from({ length: count }, () => {
    window.beginFrame();
    for (let pass = 0; pass < 6; pass++) {
      for (let i = 0; i < window.drafts; i++) {
        due[i] += shares[i];
        const right = due[i] >= 1;
        if (right) due[i]--;
        window.note(1 + i, right);
        if (!right) break;
      }
    }
    return window.drafts;
  });
}

test("drafts that are always right are taken, as many as there may be", () => {
  expect(frames(new DraftWindow(PASS_MS, "auto"), 40, [1, 1, 1]).at(-1)).toBe(3);
});

test("drafts that are never right are given up within a sentence, and tried again now and then", () => {
  const taken = frames(new DraftWindow(PASS_MS, "auto"), 400, [0, 0, 0]);
  expect(taken.indexOf(0)).toBeGreaterThan(0);
  expect(taken.indexOf(0)).toBeLessThan(20);
  const later = taken.slice(100).filter((drafts) => drafts > 0);
  expect(later.length).toBeGreaterThan(3);
  expect(later.length).toBeLessThan(20);
});

test("a model that becomes easier to guess gets drafts again", () => {
  const window = new DraftWindow(PASS_MS, "auto");
  expect(frames(window, 100, [0, 0, 0]).at(-2)).toBe(0);
  expect(frames(window, 400, [1, 1, 1]).at(-1)).toBe(3);
});

test("where more rows cost too much, no draft is taken", () => {
  expect(frames(new DraftWindow([1, 2.1, 3.2, 4.3], "auto"), 40, [1, 1, 1]).at(-1)).toBe(0);
});

test("on: always one at least; off, or nothing proven: none", () => {
  expect(Math.min(...frames(new DraftWindow(PASS_MS, "on"), 200, [0, 0, 0]))).toBe(1);
  expect(frames(new DraftWindow(PASS_MS, "off"), 3, [])).toEqual([0, 0, 0]);
  expect(frames(new DraftWindow([1], "on"), 3, [])).toEqual([0, 0, 0]);
});

test("pretended codes take as many drafts as they need, or more where that is cheaper", () => {
  const drafts = (passMs: number[], codes: number) => new DraftWindow(passMs, "auto", codes).drafts;
  expect([drafts(PASS_MS, 1.5), drafts(PASS_MS, 2.5), drafts(PASS_MS, 4)]).toEqual([1, 2, 3]);
  expect(drafts([1, 2, 2.9, 2.2], 2.5)).toBe(3);
  expect(drafts([1], 2.5)).toBe(0);
});

test("the tally is that of the last frame", () => {
  const window = new DraftWindow(PASS_MS, "on");
  window.beginFrame();
  window.note(1, true);
  window.note(2, false);
  expect([Array.from(window.tally.tried), Array.from(window.tally.right)]).toEqual([
    [1, 1, 0],
    [1, 0, 0],
  ]);
  window.beginFrame();
  expect(Array.from(window.tally.tried)).toEqual([0, 0, 0]);
});
