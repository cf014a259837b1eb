// Signs of life in long work that completes no slice: long prompts, and a vocoder that hears a reference.

import { expect, test } from "bun:test";
import { openBackend } from "../../src/backends/open.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { PROMPT_PIECE_ROWS, VOCODER_CHUNK_FRAMES } from "../../src/config.ts";
import { open } from "../../src/engine.ts";
import { Prefill } from "../../src/stages/prefill.ts";
import { createTimelineMemory, Track } from "../../src/stages/timeline.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import { bundleOf, GoldenFile, openOptions } from "../_support.ts";

test("a long prompt gives one after every piece, and the same results as its pieces", () => {
  const [from, count] = [40, 40 + 2 * PROMPT_PIECE_ROWS + 1];
  const options = openOptions(bundleOf("starter"), 2, { contextPositions: count + 8 });
  const talker = openBackend(TALKERS, "auto", options).stage;
  const rows = Float32Array.from({ length: count * talker.hidden }, (_, i) => Math.sin(i * i) / 10);
  const results = () => ({
    hidden: new Float32Array(talker.hidden),
    logits: new Float32Array(talker.codecVocabulary),
  });
  const [filled, stepped] = [results(), results()];
  let pieces = 0;
  const onPiece = () => pieces++;
  const track = new Track(createTimelineMemory().talker);
  const prefill = new Prefill({
    talker,
    track,
    ...filled,
    onPiece,
    choice: "off",
    cacheDir: "",
    identity: "",
  });
  expect(prefill.fill(0, { rows, count, prefixRows: from, lasting: false, alone: false }, 0)).toBe(true);
  expect(pieces).toBe(4);
  expect(track.sum("prefill").rows).toBe(count);
  for (const [start, end] of [
    [0, from],
    [from, from + PROMPT_PIECE_ROWS],
    [from + PROMPT_PIECE_ROWS, count - 1],
    [count - 1, count],
  ])
    talker.prefill(1, rows, start, end, stepped.hidden, stepped.logits);
  expect(filled).toEqual(stepped);
  talker.close();
});

test("a prompt that leaves no position for a frame is refused before anything is computed", () => {
  const count = 2 * PROMPT_PIECE_ROWS;
  const talker = openBackend(
    TALKERS,
    "auto",
    openOptions(bundleOf("starter"), 1, { contextPositions: count }),
  ).stage;
  const results = {
    hidden: new Float32Array(talker.hidden),
    logits: new Float32Array(talker.codecVocabulary),
  };
  let pieces = 0;
  const onPiece = () => pieces++;
  const track = new Track(createTimelineMemory().talker);
  const prefill = new Prefill({
    talker,
    track,
    ...results,
    onPiece,
    choice: "off",
    cacheDir: "",
    identity: "",
  });
  const input = {
    rows: new Float32Array((count + 9) * talker.hidden),
    count: count + 9,
    prefixRows: 40,
    lasting: false,
    alone: true,
  };
  expect(() => prefill.fill(0, input, 0)).toThrow(
    `the prompt has ${count + 9} positions, the talker's context holds ${count}`,
  );
  expect(pieces).toBe(0);
  talker.close();
});

test("hearing a reference gives one after every chunk", async () => {
  const reference = new GoldenFile("tiny-base/golden/reference.safetensors");
  const [codes, xVector] = [reference.ints("codes"), reference.floats("x_vector")];
  const { directory, manifest } = bundleOf("tiny-base");
  const voice = { name: "gold", codes, xVector, text: "Hello.", codebookSize: manifest.shape.codes };
  const engine = await open({ model: directory });
  for await (const _ of engine.speak("Hello.", { voice, greedy: true, maxFrames: 2 }));
  const { signs, written } = engine.timeline.tracks.vocoder;
  expect(signs - written).toBe(Math.ceil(codes.length / CODES_PER_FRAME / VOCODER_CHUNK_FRAMES));
  await engine.close();
});
