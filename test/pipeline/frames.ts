// For every combination of backends: nothing is allocated per frame. Everything that the three stages do for
// a frame runs thousands of times, and the JavaScript heap must stay the same.

import { heapStats } from "bun:jsc";
import { expect } from "bun:test";
import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import type { OpenOptions } from "../../src/backends/stage.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { VOCODERS } from "../../src/backends/vocoder/index.ts";
import { VOCODER_CHUNK_FRAMES } from "../../src/config.ts";
import { createMailboxMemory, Mailbox } from "../../src/pipeline/mailbox.ts";
import { createRingMemory, Ring } from "../../src/pipeline/ring.ts";
import { createSignalMemory, Signals } from "../../src/pipeline/signals.ts";
import { Sampler } from "../../src/sampler.ts";
import { Embedder } from "../../src/stages/embed.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import { bundleOf, named, sharedFloats } from "../_support.ts";

/** Enough for the compiler to finish, and for buffers that grow once. */
const WARM_UP_FRAMES = 2_000;
/** A sentence: the talker starts anew. */
const SENTENCE_FRAMES = 500;
/** Decoding is what takes the time; some hundred chunks show as much as thousands. */
const DECODED_EVERY = 20;
const SETTINGS = { greedy: false, temperature: 0.9, topK: 50, topP: 0.95, repetitionPenalty: 1.05 };

/**
 * Blocks of the heap come 16 kB at a time. Until a collection, every allocation takes new ones, even if it is
 * no longer used.
 */
const SLACK_BYTES = 4 * 16_384;

export const bundle = () => bundleOf("tiny-custom");
/** Backends of code predictor and vocoder, and the number of frames. */
export type Combination = [predictor: string, vocoder: string, frames: number, optionsOf: () => OpenOptions];

export function leavesNoTrace(
  predictorName: string,
  vocoderName: string,
  frames: number,
  optionsOf: () => OpenOptions,
): void {
  const { manifest } = bundle();
  const { codecVocabulary, codes, hidden } = manifest.shape;
  const options = optionsOf();
  const [predictor, vocoder] = [
    named(PREDICTORS, predictorName).open(options),
    named(VOCODERS, vocoderName).open(options),
  ];
  const talker = TALKERS[0].open(options);
  const embedder = new Embedder(bundle());
  const mailbox = new Mailbox(createMailboxMemory(1, hidden), new Signals(createSignalMemory()));
  const ring = new Ring(createRingMemory(0));
  const own = new Sampler({ size: codecVocabulary, codes, eos: manifest.prompt.codec.eos });
  const theirs = new Sampler({ size: codes, codes, eos: -1 });
  own.reset(SETTINGS, 1, 0);
  theirs.reset({ ...SETTINGS, topP: predictor.drawsInside ? 1 : SETTINGS.topP }, 1, 1);
  const draw = (_row: number, _group: number, logits: Float32Array) => theirs.draw(logits);
  const chances = {
    settings: () => theirs.settings,
    draft: (_row: number, _group: number, ahead: number, values: Float32Array) => theirs.guess(values, ahead),
    noise: (_row: number, target: Float32Array) => theirs.noise(target),
  };
  const [rows, inputs, state, logits] = [3 * hidden, hidden, hidden, codecVocabulary].map(sharedFloats);
  const lane = new Int32Array(1);
  const chunk = new Int32Array(VOCODER_CHUNK_FRAMES * CODES_PER_FRAME);
  const samples = new Float32Array(VOCODER_CHUNK_FRAMES * SAMPLES_PER_FRAME);
  rows.forEach((_, i) => {
    rows[i] = Math.sin(i);
  });

  const frame = (count: number) => {
    if (count % SENTENCE_FRAMES === 0) talker.prefill(0, rows, 0, 3, state, logits);
    mailbox.hidden.set(state);
    mailbox.codes[0] = own.draw(logits) % codes;
    predictor.predict(1, mailbox.hidden, mailbox.codes, draw, chances);
    embedder.feedback(mailbox.codes, 0, mailbox.feedback, 0);
    ring.pushFrame(1, mailbox.codes, 0, -1);
    inputs.set(mailbox.feedback);
    embedder.addText(manifest.prompt.text.ttsPad, inputs, 0);
    talker.step(lane, 1, inputs, state, logits);
    if (ring.filled < VOCODER_CHUNK_FRAMES) return;
    if (count % DECODED_EVERY !== 0) return ring.release(VOCODER_CHUNK_FRAMES);
    for (let i = 0; i < VOCODER_CHUNK_FRAMES; i++) ring.copyCodes(i, chunk, i * CODES_PER_FRAME);
    vocoder.decode(0, chunk, VOCODER_CHUNK_FRAMES, samples);
    ring.release(VOCODER_CHUNK_FRAMES);
  };

  for (let count = 0; count < WARM_UP_FRAMES; count++) frame(count);
  Bun.gc(true);
  const before = heapStats();
  for (let count = 0; count < frames; count++) frame(count);
  const after = heapStats();
  expect(after.heapCapacity - before.heapCapacity).toBeLessThan(SLACK_BYTES);
  expect(after.extraMemorySize - before.extraMemorySize).toBeLessThan(SLACK_BYTES);
  for (const stage of [talker, predictor, vocoder, embedder]) stage.close();
}
