// The pure parts against the official implementation: tokenizer, prompt layouts and sampler. Also properties
// of the sampler alone.

import { describe, expect, test } from "bun:test";
import { TtsError } from "../src/errors.ts";
import { Sampler } from "../src/sampler.ts";
import {
  buildPrompt,
  languageId,
  type PromptRequest,
  speakerId,
  wrapInstruct,
  wrapReference,
  wrapText,
} from "../src/text/prompt.ts";
import { NONE, type Row, type SamplerSettings } from "../src/types.ts";
import { bundleOf, GoldenFile, greedily, maxDifference, readJson, tokenizerOf } from "./_support.ts";

describe("the tokenizer", () => {
  const tokenizer = () => tokenizerOf(bundleOf("tiny-custom"));

  test.each(readJson<{ text: string; ids: number[] }[]>("tokenizer.json"))(
    "gives the official ids for %j",
    ({ text, ids }) => {
      expect(Array.from(tokenizer().encode(text))).toEqual(ids);
    },
  );

  test("takes a text longer than any prompt", () => {
    const text = "Hello there, world. ".repeat(5_000);
    const ids = tokenizer().encode(text);
    expect(ids.length).toBeGreaterThan(text.length / 2);
    expect(Array.from(ids.subarray(0, 5))).toEqual([72, 101, 108, 108, 111]);
  });
});

interface PromptEntry {
  kind: "custom_voice" | "voice_design" | "base";
  size: string;
  text: string;
  input_ids: number[];
  speaker?: string;
  language: string;
  instruct?: string | null;
  instruct_ids?: number[] | null;
  non_streaming: boolean;
  ref_text?: string | null;
  ref_ids?: number[] | null;
  ref_code0?: number[] | null;
  x_vector?: [text: number, codec: number];
  prompt: [text: number, codec: number][];
  trailing: [text: number, codec: number][];
}

const title = (e: PromptEntry) => {
  const mode = e.non_streaming ? "whole" : "stream";
  const reference = e.ref_code0 ? `, ${e.ref_code0.length} reference frames` : "";
  const instruct = e.instruct ? ", instructed" : "";
  return `${e.kind} ${e.size} ${e.speaker ?? "x-vector or none"} ${e.language} ${mode}${instruct}${reference}: ${JSON.stringify(e.text)}`;
};

/** What the official code adds at one position when every embedding is its own id. */
function sums(row: Row, xVector: [number, number]): [number, number] {
  const [text, codec] = row.speaker ? xVector : [0, 0];
  return [text + (row.text === NONE ? 0 : row.text), codec + (row.codec === NONE ? 0 : row.codec)];
}

function requestOf(entry: PromptEntry): PromptRequest {
  const spec = bundleOf("tiny-custom").manifest.prompt;
  return {
    ids: entry.input_ids,
    instructIds: entry.instruct_ids ?? null,
    language: languageId(spec, entry.language, entry.speaker ?? ""),
    speaker: entry.kind === "base" ? "xVector" : speakerId(spec, entry.speaker ?? ""),
    mode: entry.non_streaming ? "whole" : "stream",
    reference: entry.ref_code0 ? { ids: entry.ref_ids!, codes0: entry.ref_code0 } : null,
  };
}

describe("prompt rows equal the official ones", () => {
  const entries = readJson<PromptEntry[]>("prompt-rows.json");

  test("all 144 layouts are here, in-context ones among them", () => {
    expect(entries.length).toBe(144);
    expect(entries.filter(({ ref_code0 }) => ref_code0).length).toBe(16);
  });

  test.each(entries.map((entry, i) => [i, title(entry), entry] as const))(
    "%i: %s",
    (_index, _title, entry) => {
      const tokenizer = tokenizerOf(bundleOf("tiny-custom"));
      expect(Array.from(tokenizer.encode(wrapText(entry.text)))).toEqual(entry.input_ids);
      if (entry.instruct_ids)
        expect(Array.from(tokenizer.encode(wrapInstruct(entry.instruct!)))).toEqual(entry.instruct_ids);
      if (entry.ref_ids)
        expect(Array.from(tokenizer.encode(wrapReference(entry.ref_text!)))).toEqual(entry.ref_ids);
      const { rows, trailing } = buildPrompt(bundleOf("tiny-custom").manifest.prompt, requestOf(entry));
      expect(rows.map((row) => sums(row, entry.x_vector ?? [Number.NaN, Number.NaN]))).toEqual(entry.prompt);
      expect(trailing.map((id) => [id, 0])).toEqual(entry.trailing);
      const frames = rows.filter(({ frame }) => frame !== NONE).map(({ frame }) => frame);
      expect(frames).toEqual(Array.from(entry.ref_code0 ?? [], (_, frame) => frame));
    },
  );

  test("prefixRows counts the rows at the start that no text changes, and is never all of them", () => {
    const { prompt: spec } = bundleOf("tiny-custom").manifest;
    for (const entry of entries) {
      const request = requestOf(entry);
      const { prefixRows, rows } = buildPrompt(spec, request);
      const other = buildPrompt(spec, {
        ...request,
        ids: Array.from(request.ids, (id, i) => (i < 3 ? id : id + 1)),
      }).rows;
      const same = rows.findIndex((row, i) => !Bun.deepEquals(row, other[i]));
      expect([title(entry), prefixRows]).toEqual([title(entry), same < 0 ? rows.length - 1 : same]);
    }
  });

  test.each([
    ["tiny-custom", false], // 0.6B: the official code drops instructions
    ["tiny-base", false],
    ["tiny-design", true],
  ])("%s takes instructions: %p", (checkpoint, takes) => {
    expect(bundleOf(checkpoint).manifest.prompt.takesInstruct).toBe(takes);
  });
});

/** The tiny talker's vocabulary: 256 codes, then control ids of which only EOS may be drawn. */
const TALKER = { size: 1280, codes: 256, eos: 358 };
const PLAIN: SamplerSettings = { greedy: false, temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };

/** A sampler that has passed the minimum length. */
function started(settings: SamplerSettings, vocabulary = TALKER, seed = 1, stream = 0): Sampler {
  const sampler = new Sampler(vocabulary);
  sampler.reset(settings, seed, stream);
  for (let i = 0; i < 2; i++) sampler.record(0);
  return sampler;
}

/** Reproducible, not flat, without ties. */
const bumpyLogits = (length: number) =>
  Float32Array.from({ length }, (_, i) => 3 * Math.sin(i * 1.7) + i / (2 * length));

describe("the sampler's distribution equals the official one", () => {
  interface Entry {
    repetition_penalty: number;
    temperature: number;
    top_k: number;
    top_p: number;
    generated: number;
  }
  const golden = new GoldenFile("tiny-custom/golden/sampler.safetensors");
  const entries = readJson<Entry[]>("tiny-custom/golden/sampler.json");

  test.each(entries.map((entry, i) => ({ i, ...entry })))(
    "$i: penalty $repetition_penalty, temperature $temperature, top-k $top_k, top-p $top_p, after $generated",
    (entry) => {
      const sampler = new Sampler(TALKER);
      const { repetition_penalty: repetitionPenalty, temperature, top_k: topK, top_p: topP } = entry;
      sampler.reset({ greedy: false, temperature, topK, topP, repetitionPenalty }, 1, 0);
      const history = golden.ints(`history_${entry.i}`);
      expect(history.length).toBe(entry.generated);
      for (const code of history) sampler.record(code);
      const ours = sampler.probabilities(golden.floats(`logits_${entry.i}`));
      expect(maxDifference(ours, golden.floats(`probabilities_${entry.i}`))).toBeLessThanOrEqual(1e-6);
    },
  );
});

describe("the sampler", () => {
  const logits = bumpyLogits(TALKER.size);
  const draws = (seed: number, stream: number, count = 200) => {
    const sampler = started(PLAIN, TALKER, seed, stream);
    return Array.from({ length: count }, () => sampler.draw(logits));
  };

  test("draws the same from the same seed and stream", () => {
    expect(draws(42, 3)).toEqual(draws(42, 3));
  });

  test.each([
    ["stream", 42, 4],
    ["seed", 43, 3],
    ["upper half of the seed", 42 + 2 ** 32, 3],
  ])("draws other codes from another %s", (_what, seed, stream) => {
    expect(draws(seed, stream)).not.toEqual(draws(42, 3));
  });

  test.each([
    ["greedy", greedily(1.3)],
    ["sampled", { ...PLAIN, topK: 50, repetitionPenalty: 1.3 }],
    ["sampled with top-p", { ...PLAIN, topP: 0.9 }],
  ])("guesses what comes several draws ahead, and changes nothing by it: %s", (_how, settings) => {
    const [guessing, drawing] = [started(settings), started(settings)];
    for (let turn = 0; turn < 20; turn++) {
      // a penalty moves on with the draws: only the next one is known for certain
      const sure = settings.repetitionPenalty === 1 ? 3 : 1;
      const guesses = [0, 1, 2].map((ahead) => guessing.guess(logits, ahead));
      const drawn = Array.from({ length: sure }, () => drawing.draw(logits));
      expect(guesses.slice(0, sure)).toEqual(drawn);
      for (const code of drawn) expect(guessing.draw(logits)).toBe(code);
    }
  });

  test("keeps everything that ties with the k-th best", () => {
    const tied = new Float32Array(TALKER.size).fill(-5);
    tied.set([1, 3, 2, 2, 2, 1]);
    const kept = started({ ...PLAIN, topK: 2 }).probabilities(tied);
    expect(Array.from(kept.keys()).filter((id) => kept[id] > 0)).toEqual([1, 2, 3, 4]);
  });

  test("greedy takes the first of equal maxima", () => {
    const tied = new Float32Array(TALKER.size);
    for (const id of [7, 9, 200]) tied[id] = 4;
    expect(started(greedily(1)).draw(tied)).toBe(7);
  });

  test.each([
    ["greedy", greedily(1)],
    ["sampled", PLAIN],
  ])("%s, ends a sentence at the third code at the earliest", (_how, settings) => {
    const certain = new Float32Array(TALKER.size);
    certain[TALKER.eos] = 1000;
    const sampler = new Sampler(TALKER);
    sampler.reset(settings, 5, 0);
    const codes = [sampler.draw(certain), sampler.draw(certain), sampler.draw(certain)];
    expect(codes.map((code) => code === TALKER.eos)).toEqual([false, false, true]);
  });

  test("never draws a suppressed id, however likely, over 10,000 draws", () => {
    const tempting = logits.slice();
    tempting.fill(50, TALKER.codes);
    tempting[TALKER.eos] = 2;
    const sampler = started({ ...PLAIN, temperature: 1.5 });
    const drawn = new Set(Array.from({ length: 10_000 }, () => sampler.draw(tempting)));
    expect([...drawn].filter((id) => id >= TALKER.codes)).toEqual([TALKER.eos]);
    expect(drawn.size).toBeGreaterThan(200);
  });

  test("makes codes already drawn less likely, by the same amount however often they came", () => {
    const flat = new Float32Array(TALKER.size).fill(1);
    const once = started({ ...PLAIN, repetitionPenalty: 2 }).probabilities(flat);
    const often = started({ ...PLAIN, repetitionPenalty: 2 });
    for (let i = 0; i < 10; i++) often.record(0);
    expect(once[0]).toBeLessThan(once[1]);
    expect(often.probabilities(flat)[0]).toBe(once[0]);
  });

  test("forgets its history at a reset", () => {
    const sampler = started({ ...PLAIN, repetitionPenalty: 2 });
    sampler.reset({ ...PLAIN, repetitionPenalty: 2 }, 1, 0);
    const flat = sampler.probabilities(new Float32Array(TALKER.size).fill(1));
    expect(flat[0]).toBe(flat[1]);
    expect(flat[TALKER.eos]).toBe(0);
  });

  test.each([
    ["greedy", greedily(1)],
    ["sampled", PLAIN],
    ["sampled with top-k", { ...PLAIN, topK: 50 }],
    ["sampled with top-p", { ...PLAIN, topP: 0.9 }],
  ])("refuses logits that are all NaN: %s", (_how, settings) => {
    const draw = () => started(settings).draw(new Float32Array(TALKER.size).fill(Number.NaN));
    expect(draw).toThrow(TtsError);
    expect(draw).toThrow(/NaN/);
  });

  test("draws each code as often as its probability says", () => {
    const vocabulary = { size: 40, codes: 40, eos: -1 };
    const settings = { ...PLAIN, temperature: 0.8, topK: 25, topP: 0.95 };
    const sampler = started(settings, vocabulary, 2024);
    const few = bumpyLogits(vocabulary.size);
    const expected = sampler.probabilities(few);
    const count = 100_000;
    const seen = new Float64Array(vocabulary.size);
    for (let i = 0; i < count; i++) seen[sampler.draw(few)]++;
    const kept = Array.from(expected.keys()).filter((id) => expected[id] > 0);
    const chiSquare = kept.reduce(
      (sum, id) => sum + (seen[id] - count * expected[id]) ** 2 / (count * expected[id]),
      0,
    );
    expect(kept.length).toBeGreaterThan(8);
    expect(Array.from(seen.keys()).filter((id) => seen[id] > 0 && expected[id] === 0)).toEqual([]);
    // The mean is kept - 1, the deviation sqrt(2 (kept - 1)): five deviations are allowed, and too exact is
    // suspicious.
    const freedom = kept.length - 1;
    expect(chiSquare).toBeLessThan(freedom + 5 * Math.sqrt(2 * freedom));
    expect(chiSquare).toBeGreaterThan(freedom / 10);
  });
});
