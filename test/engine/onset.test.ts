// The silence at the start of a speech: how it counts in the figures, and leaving it out.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { firstHeard } from "../../src/audio/onset.ts";
import { type AudioChunk, type Engine, open, SAMPLES_PER_FRAME, type Sounding } from "../../src/engine.ts";
import { bundleOf, silentCodes as silent } from "../_support.ts";

const TEXT = "Please close the windows and turn off the lights. ".repeat(4); // several prompts
const GREEDILY = { greedy: true, seed: 1 } as const;
const LEAD = 240;
const FRAME_MS = 80;

let engine: Engine;
beforeAll(async () => {
  engine = await open({ model: bundleOf("starter").directory });
});
afterAll(() => engine.close());

async function heard(speech: Sounding) {
  const chunks: AudioChunk[] = await Array.fromAsync(speech);
  const samples = Float32Array.from(chunks.flatMap((chunk) => [...chunk.samples]));
  return { chunks, samples, codes: chunks.flatMap((chunk) => [...chunk.codes]), summary: speech.summary() };
}

describe("a speech without the silence at its start", () => {
  test("is the same speech from shortly before its first sound on, with all codes", async () => {
    const whole = await heard(engine.speak(TEXT, GREEDILY));
    const trimmed = await heard(engine.speak(TEXT, { ...GREEDILY, trimStart: true }));
    const onset = firstHeard(whole.samples);
    expect(onset).toBeGreaterThan(LEAD);
    expect(trimmed.samples).toEqual(whole.samples.slice(onset - LEAD)); // pauses stay
    expect(trimmed.codes).toEqual(whole.codes);
    expect(trimmed.chunks.at(-1)!.sentence).toBeGreaterThan(0);
    expect(trimmed.summary.frames).toBe(whole.summary.frames);
    expect(trimmed.summary.audioSeconds).toBeCloseTo(trimmed.samples.length / 24_000, 3);
    expect(whole.summary.firstHeardMs).toBeCloseTo(whole.summary.firstAudioMs + onset / 24, 2);
    expect(trimmed.summary.firstHeardMs).toBeCloseTo(trimmed.summary.firstAudioMs + LEAD / 24, 2);
  });

  test("hands out its silent frames without samples, as they come", async () => {
    const spoken = await heard(engine.speak("Dinner is ready.", GREEDILY));
    const codes = Int32Array.from([...silent(10), ...spoken.codes]);
    const whole = await heard(engine.decode(codes));
    const trimmed = await heard(engine.decode(codes, { trimStart: true }));
    const onset = firstHeard(whole.samples);
    expect(onset).toBeGreaterThan(10 * SAMPLES_PER_FRAME);
    expect(whole.summary.firstHeardMs - whole.summary.firstAudioMs).toBeGreaterThan(10 * FRAME_MS);
    expect(trimmed.samples).toEqual(whole.samples.slice(onset - LEAD));
    expect(trimmed.codes).toEqual([...codes]);
    expect(trimmed.chunks[0].samples.length).toBe(0);
    expect(trimmed.chunks[0].codes.length).toBeLessThan(codes.length);
  });

  test("has no samples where all of it is silent, and says so in its figures", async () => {
    const trimmed = await heard(engine.decode(Int32Array.from(silent(9)), { trimStart: true }));
    expect(trimmed.codes).toEqual(silent(9));
    expect(trimmed.samples.length).toBe(0);
    const nothing = { frames: 9, audioSeconds: 0, rtf: 0, firstAudioMs: 0, firstHeardMs: 0 };
    expect(trimmed.summary).toMatchObject(nothing);
    const whole = await heard(engine.decode(Int32Array.from(silent(9))));
    expect(whole.summary).toMatchObject({ frames: 9, audioSeconds: 0.72, firstHeardMs: 0 });
    expect(whole.summary.firstAudioMs).toBeGreaterThan(0);
  });
});
