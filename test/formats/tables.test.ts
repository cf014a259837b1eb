// The heads inside the tables of a bundle: how they are stored beside each weight type, and how close they
// stay to those of the checkpoint. A damaged head is refused before ggml sees it, which would end the
// process.

import { describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadLlama } from "../../ffi/llama.ts";
import { loadOnnxRuntime } from "../../ffi/onnxruntime.ts";
import { predictorLlama } from "../../src/backends/predictor/llama.ts";
import type { WeightType } from "../../src/config.ts";
import { writeTables } from "../../src/convert/tables.ts";
import type { Bundle } from "../../src/formats/bundle.ts";
import { type Checkpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import {
  byteLength,
  type Dtype,
  parseSafetensors,
  safetensorsHeader,
  type TensorToWrite,
} from "../../src/formats/safetensors.ts";
import { TABLE, Tables } from "../../src/formats/tables.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import { bundleOf, checkpointFolder, openOptions, scratchFolder } from "../_support.ts";

const CHECKPOINT = "tiny-custom";
const HEADS = CODES_PER_FRAME - 1;

let folders = 0;
/** A bundle with the layers of the f32 bundle and the tables file that `write` makes. */
function bundleWith(write: (path: string) => void): Bundle {
  const { directory, manifest } = bundleOf(CHECKPOINT);
  const folder = join(scratchFolder(), `tables-${folders++}`);
  mkdirSync(folder);
  copyFileSync(join(directory, "predictor.gguf"), join(folder, "predictor.gguf"));
  write(join(folder, "tables.safetensors"));
  return { directory: folder, manifest };
}

function convertTables(
  path: string,
  type: WeightType,
  change: (checkpoint: Checkpoint) => Checkpoint = (same) => same,
  talker: WeightType = "f32",
): void {
  loadLlama();
  loadOnnxRuntime("");
  const checkpoint = openCheckpoint(checkpointFolder(CHECKPOINT));
  writeTables(path, change(checkpoint), { talker, predictor: type }, 1, () => {});
  checkpoint.close();
}

const headOf = (path: string, group = 1) =>
  parseSafetensors(readFileSync(path), path).get(TABLE.head(group))!;

/** The logits of all groups for a fixed hidden state, always continued with code 0. */
function logitsOf(bundle: Bundle): Float32Array {
  const { codes, hidden } = bundle.manifest.shape;
  const predictor = predictorLlama.open(openOptions(bundle));
  const logits = new Float32Array(HEADS * codes);
  const state = Float32Array.from({ length: hidden }, (_, i) => Math.sin(i));
  predictor.predict(1, state, new Int32Array(CODES_PER_FRAME), (_row, group, values) => {
    logits.set(values, (group - 1) * codes);
    return 0;
  });
  predictor.close();
  return logits;
}

describe("heads beside layers", () => {
  const { codes, predictorHidden: width } = bundleOf(CHECKPOINT).manifest.shape;
  const exact = logitsOf(bundleOf(CHECKPOINT));

  // The last number: rms of the error of all logits as a share of their rms.
  test.each<[WeightType, Dtype, number, number]>([
    ["f32", "F32", width, 0],
    ["f16", "F16", width, 1e-3],
    ["bf16", "F16", width, 1e-3],
    ["q8_0", "U8", (width / 32) * 34, 0.01],
    ["q4_0", "U8", (width / 32) * 18, 0.12],
    ["q4_k_m", "U8", (width / 32) * 18, 0.12],
    ["iq4_nl", "U8", (width / 32) * 18, 0.12],
  ])(
    "of type %s are %s [codes, %i] and give these logits up to rounding",
    (type, dtype, rowLength, tolerance) => {
      const bundle = bundleWith((path) => convertTables(path, type));
      expect(headOf(join(bundle.directory, "tables.safetensors"))).toMatchObject({
        dtype,
        shape: [codes, rowLength],
      });
      const logits = logitsOf(bundle);
      const rms = (value: (i: number) => number) =>
        Math.sqrt(logits.reduce((sum, _, i) => sum + value(i) ** 2, 0));
      expect(rms((i) => logits[i] - exact[i]) / rms((i) => exact[i])).toBeLessThanOrEqual(tolerance);
    },
  );

  test("of a width that blocks do not fill stay f32", () => {
    const path = join(scratchFolder(), "narrow.safetensors");
    convertTables(path, "q4_0", (checkpoint) => {
      const { predictor, weights } = checkpoint;
      const take: typeof weights.take = (name, shape) => {
        if (!name.includes("lm_head")) return weights.take(name, shape);
        return {
          name,
          dtype: "F32",
          shape: [...shape],
          bytes: new Uint8Array(byteLength({ dtype: "F32", shape: [...shape] })),
          file: "",
          offset: 0,
        };
      };
      return {
        ...checkpoint,
        predictor: { ...predictor, hidden: 48 },
        weights: Object.assign(Object.create(weights), { take }),
      };
    });
    expect(headOf(path)).toMatchObject({ dtype: "F32", shape: [codes, 48] });
  });
});

describe("a damaged head", () => {
  const { codes, predictorHidden: width } = bundleOf(CHECKPOINT).manifest.shape;
  const [q8, q4] = [(width / 32) * 34, (width / 32) * 18];

  /**
   * The f32 bundle with head 3 of another type and shape in its tables, filled with one byte; null drops the
   * head.
   */
  function withHead(head: { dtype: string; shape: number[] } | null, fill = 0): Bundle {
    const source = join(bundleOf(CHECKPOINT).directory, "tables.safetensors");
    const tensors: TensorToWrite[] = [];
    for (const { name, dtype, shape, bytes } of parseSafetensors(readFileSync(source), source).values()) {
      const damaged = name === TABLE.head(3);
      if (damaged && head === null) continue;
      const entry = (damaged ? head : { dtype, shape }) as { dtype: TensorToWrite["dtype"]; shape: number[] };
      tensors.push({
        name,
        ...entry,
        chunks: () => [damaged ? Buffer.alloc(byteLength(entry), fill) : bytes],
      });
    }
    const data = tensors.flatMap(({ chunks }) => [...chunks()]);
    return bundleWith((path) => writeFileSync(path, Buffer.concat([safetensorsHeader(tensors), ...data])));
  }

  test.each<[string, { dtype: string; shape: number[] } | null]>([
    ["that is missing", null],
    ["with a code too few", { dtype: "F32", shape: [codes - 1, width] }],
    ["with a code too many", { dtype: "U8", shape: [codes + 1, q4] }],
    ["that is narrower", { dtype: "F32", shape: [codes, width - 32] }],
    ["that is turned over", { dtype: "F16", shape: [width, codes] }],
    ["without rows", { dtype: "U8", shape: [0, q8] }],
    ["of no shape", { dtype: "U8", shape: [] }],
    ["with an axis too many", { dtype: "U8", shape: [codes, width / 32, 18] }],
    ["with a block cut short", { dtype: "U8", shape: [codes, q4 - 1] }],
    ["with blocks of no known size", { dtype: "U8", shape: [codes, (width / 32) * 20] }],
    ["with bytes instead of numbers", { dtype: "U8", shape: [codes, width] }],
    ["with a type that none has", { dtype: "BF16", shape: [codes, width] }],
    ["with another type that none has", { dtype: "I8", shape: [codes, q8] }],
  ])("%s is refused", (_what, head) => {
    const wrong = expect.objectContaining({
      code: "BUNDLE_INVALID",
      message: expect.stringContaining("table predictor.head.3"),
    });
    expect(() => predictorLlama.open(openOptions(withHead(head)))).toThrow(wrong);
  });

  test.each([
    ["q4_0", q4],
    ["q8_0", q8],
  ])("whose %s blocks are rubbish is only wrong", (_type, rowLength) => {
    for (const byte of [0xff, 0x7f, 0x00])
      logitsOf(withHead({ dtype: "U8", shape: [codes, rowLength] }, byte));
  });

  test("leaves nothing open", () => {
    const bundle = withHead(null);
    const round = () => expect(() => predictorLlama.open(openOptions(bundle))).toThrow("predictor.head.3");
    for (let i = 0; i < 30; i++) round();
    Bun.gc(true);
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 100; i++) round();
    Bun.gc(true);
    expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(8);
  });
});

test("a predictor that is opened and closed 200 times leaves nothing behind", () => {
  const bundle = bundleWith((path) => convertTables(path, "q4_0"));
  const round = () => predictorLlama.open(openOptions(bundle, 2, { threads: 2 })).close();
  for (let i = 0; i < 50; i++) round();
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 200; i++) round();
  Bun.gc(true);
  expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(8);
});

describe("the text table beside a talker", () => {
  const { hidden, textVocabulary } = bundleOf(CHECKPOINT).manifest.shape;
  const rowsOf = ({ directory, manifest }: Bundle) => {
    const tables = Tables.open({ directory, manifest });
    const table = tables.table(TABLE.text, textVocabulary, hidden);
    const values = new Float32Array(textVocabulary * hidden);
    for (let row = 0; row < textVocabulary; row++) table.copyRow(row, values, row * hidden);
    table.addRow(1, values, 0);
    tables.close();
    return values;
  };
  const exact = rowsOf(bundleOf(CHECKPOINT));

  // the last number: rms of the error as a share of the rms of the values
  test.each<[WeightType, Dtype, number, number]>([
    ["f32", "F32", hidden, 0],
    ["bf16", "F16", hidden, 3e-4],
    ["q8_0", "F16", hidden, 3e-4],
    ["q4_0", "U8", (hidden / 32) * 34, 6e-3],
    ["iq4_nl", "U8", (hidden / 32) * 34, 6e-3],
  ])("in %s is stored as %s", (type, dtype, row, largest) => {
    const bundle = bundleWith((path) => convertTables(path, "f32", undefined, type));
    const path = join(bundle.directory, "tables.safetensors");
    expect(parseSafetensors(readFileSync(path), path).get(TABLE.text)).toMatchObject({
      dtype,
      shape: [textVocabulary, row],
    });
    const rows = rowsOf(bundle);
    const rms = (values: Float32Array) =>
      Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
    const error = rms(rows.map((value, i) => value - exact[i])) / rms(exact);
    expect(error).toBeLessThanOrEqual(largest);
    if (largest > 0) expect(error).toBeGreaterThan(0);
  });
});
