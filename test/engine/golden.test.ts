// Every golden run through the program interface, from text and names to all official codes and the official
// sound. Models of random weights speak with a copy of their codec whose sound is not clipped.

import { afterAll, expect, test } from "bun:test";
import { type Engine, open, type SpeakOptions } from "../../src/engine.ts";
import { bundleOf, type GoldenCase, type GoldenFile, goldenCases, goldenFile } from "../_support.ts";
import { editedBundle, MAX_RELATIVE_ERROR, quiet, relativeError } from "../conformance/vocoder.ts";

const engines = new Map<string, Promise<Engine>>();
function engineFor(checkpoint: string): Promise<Engine> {
  const engine = engines.get(checkpoint) ?? open({ model: editedBundle(checkpoint, quiet).directory });
  engines.set(checkpoint, engine);
  return engine;
}
afterAll(async () => {
  for (const engine of engines.values()) await (await engine).close();
});

function optionsOf(goldenCase: GoldenCase, golden: GoldenFile): SpeakOptions {
  const {
    instruct,
    kind,
    language,
    max_new_tokens,
    non_streaming_mode = true,
    ref_text,
    speaker,
  } = goldenCase;
  const voice = () => {
    const codes = golden.has("ref_codes") ? golden.ints("ref_codes") : null;
    const { codes: codebookSize } = bundleOf(goldenCase.checkpoint).manifest.shape;
    return { name: "golden", text: ref_text ?? "", xVector: golden.floats("x_vector"), codes, codebookSize };
  };
  return {
    greedy: true,
    language,
    instruct,
    maxFrames: max_new_tokens - 1,
    textMode: non_streaming_mode ? "whole" : "stream",
    speaker: speaker === "" ? "none" : speaker,
    voice: kind === "base" ? voice() : undefined,
  };
}

test.each(goldenCases().map((goldenCase) => [goldenCase.name, goldenCase] as const))(
  "%s",
  async (name, goldenCase) => {
    const golden = goldenFile(goldenCase);
    const speech = (await engineFor(goldenCase.checkpoint)).speak(
      goldenCase.text,
      optionsOf(goldenCase, golden),
    );
    const chunks = await Array.fromAsync(speech);
    expect(chunks.flatMap(({ codes }) => Array.from(codes))).toEqual(Array.from(golden.ints("codes")));
    expect(speech.summary().stop).toBe(name === "eos" ? "eos" : "length");
    const samples = Float32Array.from(chunks.flatMap((chunk) => Array.from(chunk.samples)));
    expect(relativeError(samples, golden.floats("audio"))).toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
  },
);
