// The timeline: rings that overwrite their oldest slices, sums that keep everything, and one clock for all
// threads.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { monotonicMs } from "../../ffi/libc.ts";
import { type Engine, open } from "../../src/engine.ts";
import { createTimelineMemory, TIMELINE_SLICES, Timeline, Track } from "../../src/stages/timeline.ts";
import { bundleOf } from "../_support.ts";

/** Slice number i lasts from 10 i to 10 i + 1 and has i + 1 rows. */
function recordMany(track: Track, from: number, count: number): void {
  for (let i = from; i < from + count; i++) track.record("step", 10 * i, 10 * i + 1, i + 1);
}

describe("a track", () => {
  test("gives back what was recorded, from any number on", () => {
    const track = new Track(createTimelineMemory().talker);
    track.record("prefill", 1, 3.5, 17);
    recordMany(track, 1, 3);
    expect(track.written).toBe(4);
    expect(track.since(0)[0]).toEqual({ kind: "prefill", startMs: 1, endMs: 3.5, rows: 17 });
    expect(track.since(2).map(({ rows }) => rows)).toEqual([3, 4]);
    expect(track.since(4)).toEqual([]);
  });

  test("overwrites the oldest slices and keeps the sums", () => {
    const track = new Track(createTimelineMemory().vocoder);
    const count = 2 * TIMELINE_SLICES + 5;
    recordMany(track, 0, count);
    const slices = track.since(0);
    expect(slices.length).toBe(TIMELINE_SLICES - 1); // the writer may be writing one more
    expect(slices.map(({ startMs }) => startMs)).toEqual(
      slices.map((_, i) => 10 * (count - slices.length + i)),
    );
    expect(track.sum("step")).toEqual({ ms: count, rows: (count * (count + 1)) / 2 });
    expect(track.sum("decode")).toEqual({ ms: 0, rows: 0 });
  });

  test("goes on where its counter wraps", () => {
    const memory = createTimelineMemory().predictor;
    const before = 2 ** 32 - 3;
    new Uint32Array(memory.count)[0] = before;
    const track = new Track(memory);
    recordMany(track, 0, 5);
    expect(track.written).toBe(2);
    expect(track.since(before).map(({ rows }) => rows)).toEqual([1, 2, 3, 4, 5]);
  });

  test("is read by others while it is written", () => {
    const memory = createTimelineMemory();
    const writer = new Track(memory.predictor);
    const reader = new Timeline(memory);
    writer.record("predict", 5, 7, 2);
    expect(reader.tracks.predictor.since(0)).toEqual([{ kind: "predict", startMs: 5, endMs: 7, rows: 2 }]);
    expect(reader.sums()).toEqual({
      talker: { ms: 0, rows: 0 },
      predictor: { ms: 2, rows: 2 },
      vocoder: { ms: 0, rows: 0 },
    });
  });
});

describe("the stages' timeline", () => {
  const FRAMES = 12;
  let engine: Engine;
  let [startMs, endMs] = [0, 0];
  beforeAll(async () => {
    engine = await open({ model: bundleOf("starter").directory });
    startMs = monotonicMs();
    for await (const _ of engine.speak("The kettle is ready.", { greedy: true, maxFrames: FRAMES }));
    endMs = monotonicMs();
  });
  afterAll(() => engine.close());
  const slices = (stage: "talker" | "predictor" | "vocoder") => engine.timeline.tracks[stage].since(0);
  const ofTalker = (kind: string) => slices("talker").filter((slice) => slice.kind === kind);

  test("holds every prefill, step, predictor frame and chunk", () => {
    expect(ofTalker("prefill").length).toBe(1);
    expect(ofTalker("step").length).toBe(FRAMES);
    expect(slices("predictor").length).toBe(FRAMES);
    expect(slices("vocoder").reduce((sum, { rows }) => sum + rows, 0)).toBe(FRAMES);
  });

  test("runs by one clock: all of it happened while we waited, and each predictor frame inside the talker's exchange", () => {
    for (const stage of ["talker", "predictor", "vocoder"] as const) {
      for (const slice of slices(stage)) {
        expect(slice.startMs).toBeGreaterThanOrEqual(startMs);
        expect(slice.endMs).toBeGreaterThanOrEqual(slice.startMs);
        expect(slice.endMs).toBeLessThanOrEqual(endMs);
      }
    }
    const exchanges = ofTalker("exchange");
    slices("predictor").forEach((frame, i) => {
      expect(frame.startMs).toBeGreaterThanOrEqual(exchanges[i].startMs);
      expect(frame.endMs).toBeLessThanOrEqual(exchanges[i].endMs);
    });
  });

  test("has one slice at a time on each track", () => {
    for (const stage of ["talker", "predictor", "vocoder"] as const) {
      const track = slices(stage);
      for (let i = 1; i < track.length; i++)
        expect(track[i].startMs).toBeGreaterThanOrEqual(track[i - 1].endMs);
    }
  });
});
