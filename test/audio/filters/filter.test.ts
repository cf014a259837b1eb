// A sink behind filters: everything arrives, in order, and what a filter kept back passes the later ones.

import { expect, test } from "bun:test";
import { type Filter, filtered, later } from "../../../src/audio/filters/filter.ts";
import type { Sink } from "../../../src/audio/sink.ts";

/** Gives every sample one push late, plus `offset`. */
function late(offset: number): Filter {
  let kept = new Float32Array(0);
  return {
    push(samples) {
      const ready = kept;
      kept = samples.map((sample) => sample + offset);
      return ready;
    },
    end: () => kept,
  };
}

function recorder(): { sink: Sink; heard: number[]; ends: string[] } {
  const [heard, ends]: [number[], string[]] = [[], []];
  const sink: Sink = {
    write: async (samples) => void heard.push(...samples),
    finish: async () => void ends.push("finished"),
    abandon: () => void ends.push("abandoned"),
  };
  return { sink, heard, ends };
}

test("sound passes all filters in their order, to the last sample", async () => {
  const { ends, heard, sink } = recorder();
  const behind = filtered(sink, [late(1), late(10)]);
  await behind.write(Float32Array.of(1, 2));
  await behind.write(Float32Array.of(3));
  expect(heard).toEqual([]);
  await behind.finish();
  expect(heard).toEqual([12, 13, 14]);
  expect(ends).toEqual(["finished"]);
});

test("without filters it is the sink itself", () => {
  const { sink } = recorder();
  expect(filtered(sink, [])).toBe(sink);
});

test("abandoning it abandons the sink", () => {
  const { ends, sink } = recorder();
  filtered(sink, [late(0)]).abandon();
  expect(ends).toEqual(["abandoned"]);
});

test("a filter that is made later is made once, when the first sound comes", async () => {
  const made: string[] = [];
  const filter = later(() => {
    made.push("made");
    return late(1);
  });
  expect(made).toEqual([]);
  filter.push(Float32Array.of(1));
  filter.push(Float32Array.of(2));
  expect([...filter.end()]).toEqual([3]);
  expect(made).toEqual(["made"]);
});
