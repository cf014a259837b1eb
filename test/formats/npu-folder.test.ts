// The manifest of a folder of NPU models: a whole folder is read; a damaged, foreign or unfinished one is
// refused with one clear failure.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bundle } from "../../src/formats/bundle.ts";
import {
  assertNpuFolderFits,
  assertNpuFolderSuits,
  isNpuFolder,
  NPU_MANIFEST,
  type NpuManifest,
  newNpuManifest,
  npuPartPath,
  openNpuFolder,
  readNpuSelfTest,
} from "../../src/formats/npu-folder.ts";
import { safetensorsHeader } from "../../src/formats/safetensors.ts";
import { type Json, scratchFolder } from "../_support.ts";

const FRAMES = 2;
const SOURCE = { "model.safetensors": { bytes: 8, sha256: "aa" }, "config.json": { bytes: 2, sha256: "bb" } };

const manifest = (): NpuManifest =>
  newNpuManifest({
    target: "rknn",
    chip: "rk3588",
    cores: null,
    tensors: "f32",
    name: "some model",
    frames: FRAMES,
    multiplications: { npu: 30, all: 40 },
    vocoder: [
      {
        file: "vocoder-front.onnx",
        runs: "cpu",
        inputs: [
          { name: "codes", shape: [FRAMES, 16] },
          { name: "position", shape: [1] },
        ],
        outputs: [{ name: "vectors", shape: [1, 8, FRAMES] }],
      },
      {
        file: "vocoder.onnx",
        runs: "npu",
        inputs: [
          { name: "vectors", shape: [1, 8, FRAMES] },
          { name: "state.entry", shape: [1, 8, 6] },
        ],
        outputs: [
          { name: "samples", shape: [1, 1, FRAMES * 1_920] },
          { name: "next.entry", shape: [1, 8, 6] },
        ],
      },
    ],
    predictor: { step: null, heads: null, frame: null },
    selfTest: { file: "self-test.safetensors", leastSnrDb: 20 },
    source: SOURCE,
  });

function selfTest(frames: number, samples: number): Uint8Array {
  const codes = new Uint8Array(Int32Array.from({ length: 16 * frames }, (_, i) => i).buffer);
  const sound = new Uint8Array(new Float32Array(samples).fill(0.5).buffer);
  const tensors = [
    { name: "codes", dtype: "I32" as const, shape: [frames, 16], chunks: () => [codes] },
    { name: "samples", dtype: "F32" as const, shape: [samples], chunks: () => [sound] },
  ];
  return Buffer.concat([safetensorsHeader(tensors), codes, sound]);
}

/** A folder as a conversion leaves it, with one value of its manifest changed; undefined removes the key. */
function newFolder(path = "", value: unknown = undefined): string {
  const folder = mkdtempSync(join(scratchFolder(), "npu-"));
  const json = JSON.parse(JSON.stringify(manifest())) as Json;
  if (path !== "") {
    const keys = path.split(".");
    const parent = keys.slice(0, -1).reduce((object, key) => object[key] as Json, json);
    parent[keys.at(-1)!] = value;
  }
  writeFileSync(join(folder, NPU_MANIFEST), JSON.stringify(json));
  writeFileSync(join(folder, "vocoder-front.onnx"), "a graph");
  writeFileSync(join(folder, "vocoder.onnx"), "a graph");
  writeFileSync(join(folder, "self-test.safetensors"), selfTest(4, 4 * 1_920));
  return folder;
}

const refusal = (message: RegExp, hint = /tts convert DIR --target rknn(\|axcl)? -o FOLDER/) =>
  expect.objectContaining({
    code: "NPU_MODEL_INVALID",
    message: expect.stringMatching(message),
    hint: expect.stringMatching(hint),
  });

describe("a whole folder", () => {
  test("is read as it was written", () => {
    const folder = newFolder();
    expect(isNpuFolder(folder)).toBe(true);
    expect(openNpuFolder(folder, "rknn")).toEqual({ directory: folder, manifest: manifest() });
  });

  test("may have graphs of the code predictor", () => {
    const step = {
      file: "predictor-step.onnx",
      runs: "npu",
      inputs: [{ name: "x", shape: [2, 8] }],
      outputs: [{ name: "hidden", shape: [1, 8] }],
    };
    expect(openNpuFolder(newFolder("predictor.step", step), "rknn").manifest.predictor).toEqual({
      step,
      heads: null,
      frame: null,
    } as never);
  });

  test("names the graph for parts on the CPU, and the toolkit's model for parts on the NPU", () => {
    const folder = openNpuFolder(newFolder(), "rknn");
    const [front, vocoder] = folder.manifest.vocoder;
    expect(npuPartPath(folder, front)).toBe(join(folder.directory, "vocoder-front.onnx"));
    const built = join(folder.directory, "vocoder.rknn");
    expect(() => npuPartPath(folder, vocoder)).toThrow(
      refusal(/vocoder\.rknn is missing/, /build it: .*README\.md says how/),
    );
    writeFileSync(built, "");
    expect(() => npuPartPath(folder, vocoder)).toThrow(refusal(/vocoder\.rknn is empty/, /build it/));
    writeFileSync(built, "a model");
    expect(npuPartPath(folder, vocoder)).toBe(built);
  });

  test("gives its self-test", () => {
    const { codes, samples } = readNpuSelfTest(openNpuFolder(newFolder(), "rknn"));
    expect(Array.from(codes)).toEqual(Array.from({ length: 64 }, (_, i) => i));
    expect(samples.length).toBe(4 * 1_920);
    expect(samples.every((sample) => sample === 0.5)).toBe(true);
  });

  test("fits a bundle of the same checkpoint, and no other", () => {
    const folder = openNpuFolder(newFolder(), "rknn");
    const bundle = (source: unknown) =>
      ({ directory: "", manifest: { name: "another", source } }) as unknown as Bundle;
    assertNpuFolderFits(folder, bundle(SOURCE));
    for (const source of [
      { ...SOURCE, "config.json": { bytes: 2, sha256: "cc" } },
      { ...SOURCE, "lexicon.tsv": { bytes: 2, sha256: "cc" } },
    ]) {
      expect(() => assertNpuFolderFits(folder, bundle(source))).toThrow(
        refusal(/was made of some model, whose (config\.json|lexicon\.tsv)/),
      );
    }
  });
});

describe("the chip of a folder", () => {
  test("is rk3588 where an older manifest names none, and no other target has one", () => {
    expect(openNpuFolder(newFolder("chip"), "rknn").manifest.chip).toBe("rk3588");
    const axcl = openNpuFolder(newFolder("target", "axcl"), "axcl").manifest;
    expect([axcl.chip, axcl.cores]).toEqual([null, null]);
  });

  test("goes with the cores of a run and with the type of the tensors, which older manifests lack, too", () => {
    const read = (path: string, value?: unknown) => openNpuFolder(newFolder(path, value), "rknn").manifest;
    expect([read("cores").cores, read("cores", 3).cores]).toEqual([null, 3]);
    expect([read("tensors").tensors, read("tensors", "f16").tensors]).toEqual(["f32", "f16"]);
  });

  test.each<[string, string, string]>([
    ["rk3588", "rk3576", "--chip rk3576"],
    ["rk3576", "rk3588", "--chip rk3588"],
    ["rk3566", "rk3562", "--chip rk3562"],
    ["rk3588", "rk3399", "takes no such models: rk3588, rk3576, rk3566, rk3568, rk3562 do"],
  ])("%s does not suit a board with an %s", (chip, board, hint) => {
    const folder = openNpuFolder(newFolder("chip", chip), "rknn");
    expect(() => assertNpuFolderSuits(folder, board)).toThrow(
      expect.objectContaining({
        code: "NPU_MODEL_INVALID",
        message: `${folder.directory} was built for the NPU of an ${chip}, and this board has an ${board}`,
        hint: expect.stringContaining(hint),
      }),
    );
  });

  test.each<[string, string]>([
    ["rk3588", "rk3588"],
    ["rk3566", "rk3568"],
    ["rk3568", "rk3566"],
    ["rk3576", ""],
  ])("%s suits a board with the chip %j", (chip, board) => {
    assertNpuFolderSuits(openNpuFolder(newFolder("chip", chip), "rknn"), board);
  });
});

describe("a folder is refused", () => {
  test("without a manifest", () => {
    expect(isNpuFolder(scratchFolder())).toBe(false);
    expect(() => openNpuFolder(scratchFolder(), "rknn")).toThrow(refusal(/npu\.json is missing/));
  });

  test("for another target", () => {
    expect(() => openNpuFolder(newFolder(), "axcl")).toThrow(
      refusal(/holds models for rknn, not for axcl/, /--target axcl/),
    );
  });

  test.each(["{", "[]", "null", ""])("whose manifest is %j", (content) => {
    const folder = newFolder();
    writeFileSync(join(folder, NPU_MANIFEST), content);
    expect(() => openNpuFolder(folder, "rknn")).toThrow(refusal(/npu\.json/));
  });

  test.each(["vocoder-front.onnx", "self-test.safetensors"])("that lacks %s", (file) => {
    const folder = newFolder();
    rmSync(join(folder, file));
    expect(() => openNpuFolder(folder, "rknn")).toThrow(refusal(new RegExp(`${file} is missing`)));
  });

  test.each<[string, unknown, RegExp]>([
    ["format", "qwen3-tts-bundle", /is not a manifest of NPU models/],
    ["version", 2, /format version 2, this program reads 1/],
    ["target", "cuda", /target is "cuda", not one of rknn, axcl/],
    ["chip", "rk3399", /chip is "rk3399", not one of rk3588, rk3576, rk3566, rk3568, rk3562/],
    ["cores", 4, /cores is 4, not a whole number from 1 to 3/],
    ["tensors", "f64", /tensors is "f64", not one of f32, f16/],
    ["multiplications", { npu: 50, all: 40 }, /multiplications\.npu is 50, not a whole number from 1 to 40/],
    ["name", 7, /name is 7/],
    ["frames", 0, /frames is 0/],
    ["frames", 5, /frames is 5/],
    ["frames", 4, /reads codes \[2,16\], which is given as \[4,16\]/],
    ["vocoder", {}, /vocoder is \{\}, not a list of objects/],
    ["vocoder", [], /samples are \[\]/],
    ["vocoder.0.file", "../front.onnx", /no plain name/],
    ["vocoder.0.file", "front.bin", /not an \.onnx/],
    ["vocoder.0.runs", "gpu", /vocoder\.0\.runs is "gpu"/],
    ["vocoder.1.inputs.0.name", "state/1", /no plain name/],
    ["vocoder.1.inputs.0.name", "other", /reads other \[1,8,2\], which nothing gives/],
    ["vocoder.1.inputs.0.shape", [1, 8, 3], /reads vectors \[1,8,3\], which is given as \[1,8,2\]/],
    ["vocoder.1.inputs.0.shape", [1, 8, -2], /shape is \[1,8,-2\]/],
    ["vocoder.1.inputs.1.shape", [1, 8, 7], /reads state\.entry \[1,8,7\], which is given as \[1,8,6\]/],
    ["vocoder.1.outputs.0.shape", [1, 1, 1_920], /samples are \[1,1,1920\], not 3840/],
    ["vocoder.1.outputs.0.shape", [65_536, 65_536], /which is no model's/],
    ["vocoder.1.outputs.0.shape", [1, 1, 1, 1, 3_840], /which is no model's/],
    ["predictor", null, /predictor is null/],
    ["predictor.step", "predictor.onnx", /predictor\.step is "predictor\.onnx"/],
    ["selfTest.file", "/etc/passwd", /no plain name/],
    ["selfTest.leastSnrDb", -1, /leastSnrDb is -1/],
    ["source.config.json", "aa", /is not an object|not an object/],
  ])("with %s = %j", (path, value, message) => {
    const folder =
      path === "source.config.json" ? newFolder("source", { config: value }) : newFolder(path, value);
    expect(() => openNpuFolder(folder, "rknn")).toThrow(refusal(message));
  });

  test.each<[string, Uint8Array]>([
    ["cut off", selfTest(4, 4 * 1_920).subarray(0, 900)],
    ["no safetensors", Buffer.from("some words that are none")],
    ["empty", new Uint8Array()],
    ["of too few samples", selfTest(4, 1_920)],
    ["of no whole runs", selfTest(3, 3 * 1_920)],
    ["without frames", selfTest(0, 0)],
  ])("whose self-test is %s", (_what, content) => {
    const folder = newFolder();
    writeFileSync(join(folder, "self-test.safetensors"), content);
    expect(() => readNpuSelfTest(openNpuFolder(folder, "rknn"))).toThrow(
      refusal(/self-test\.safetensors is damaged/, /tts convert DIR/),
    );
  });
});
