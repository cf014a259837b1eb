import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { Garbage } from "../../src/pipeline/garbage.ts";

const COUNT = 1_000;

/** Little enough that no collection starts by itself. */
function litter(): void {
  Array.from({ length: COUNT }, (_, i) => new Map([[i, i]])).length = 0;
}

test("garbage is collected once 250 frames were made, and again only after as many", () => {
  const garbage = new Garbage();
  const maps = () => heapStats().objectTypeCounts.Map ?? 0;
  garbage.grow(250);
  garbage.collect();
  const clean = maps();
  litter();
  garbage.grow(249);
  garbage.collect();
  expect(maps() - clean).toBeGreaterThan(COUNT / 2);
  garbage.grow(1);
  garbage.collect();
  expect(maps() - clean).toBeLessThan(COUNT / 4);
});
