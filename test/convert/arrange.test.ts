// Weights in the order of this processor's kernels: the same bits as libllama makes of a plain bundle, from a
// file that is mapped, and a clear word where the processor is another one.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cpuCode, loadLlama } from "../../ffi/llama.ts";
import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { BUNDLE_FILES, type Bundle, openBundle } from "../../src/formats/bundle.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import {
  bundleNamed,
  convertFolder,
  copyOfCheckpoint,
  failureOf,
  named,
  openOptions,
  STARTER,
  sharedFloats,
} from "../_support.ts";

const ROWS = 21;

/** A prompt and two steps of the talker, and the logits of a frame of the predictor. */
function compute(bundle: Bundle) {
  const options = openOptions(bundle);
  const talker = TALKERS[0].open(options);
  const rows = sharedFloats((ROWS + 2) * talker.hidden);
  for (let i = 0; i < rows.length; i++) rows[i] = Math.sin(i * 1.3);
  const [hidden, logits] = [sharedFloats(talker.hidden), sharedFloats(talker.codecVocabulary)];
  talker.prefill(0, rows, 0, ROWS, hidden, logits);
  const results = [hidden.slice(), logits.slice()];
  for (let step = 0; step < 2; step++) {
    const inputs = rows.slice((ROWS + step) * talker.hidden, (ROWS + step + 1) * talker.hidden);
    talker.step(Int32Array.of(0), 1, sharedCopy(inputs), hidden, logits);
    results.push(hidden.slice(), logits.slice());
  }
  talker.close();
  const predictor = named(PREDICTORS, "llama").open(options);
  const codes = new Int32Array(CODES_PER_FRAME);
  predictor.predict(1, hidden, codes, (_row, _group, values) => {
    results.push(values.slice());
    return values.indexOf(Math.max(...values));
  });
  predictor.close();
  return results;
}

function sharedCopy(values: Float32Array): Float32Array {
  const copy = sharedFloats(values.length);
  copy.set(values);
  return copy;
}

describe("arranged weights", () => {
  test.each(["q4_0", "q8_0", "iq4_nl"] as const)("%s: the bits of a plain bundle", (weights) => {
    const plain = bundleNamed(`starter-${weights}`, STARTER, weights);
    const arranged = convertFolder(STARTER, `arranged-${weights}`, weights, true);
    expect(plain.manifest.arranged).toBeNull();
    const { code, files } = arranged.manifest.arranged ?? { code: cpuCode(), files: [] };
    expect(code).toBe(cpuCode());
    // which types have such kernels depends on the processor
    for (const name of [BUNDLE_FILES.talker, BUNDLE_FILES.predictorGguf])
      expect([
        name,
        readFileSync(join(arranged.directory, name)).equals(readFileSync(join(plain.directory, name))),
      ]).toEqual([name, !files.includes(name)]);
    if (weights === "q4_0") expect(files).toEqual([BUNDLE_FILES.talker, BUNDLE_FILES.predictorGguf]);
    expect(compute(arranged)).toEqual(compute(plain));
  });

  test("f32 has no other order", () => {
    expect(
      convertFolder(copyOfCheckpoint("tiny-custom", "arranged-f32"), "f32", "f32", true).manifest.arranged,
    ).toBeNull();
  });

  test("for another processor are refused", () => {
    const { directory } = convertFolder(STARTER, "arranged-elsewhere", "q4_0", true);
    const path = join(directory, BUNDLE_FILES.manifest);
    writeFileSync(path, readFileSync(path, "utf8").replace(cpuCode(), "another"));
    const bundle = openBundle(directory);
    expect(failureOf(() => TALKERS[0].open(openOptions(bundle)))).toMatchObject({
      code: "BUNDLE_INVALID",
      message: `${join(directory, BUNDLE_FILES.talker)} is laid out for another processor or library (another)`,
      hint: "convert the checkpoint again here",
    });
  });
});

test("the CPU code is named with what it uses", () => {
  loadLlama();
  expect(cpuCode()).toMatch(/^(x64|arm64), ggml \S+ \w+: .*\bREPACK\b/);
});
