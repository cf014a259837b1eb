// Rockchip's chips: which of them a folder is for, what its graphs and its build script have for each, and
// what the command and the backend refuse.

import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { openFolder } from "../../../src/backends/npu/_folder.ts";
import { npuReadme, toolkitFiles } from "../../../src/convert/npu/_toolkits.ts";
import { vocoderNpuGraph } from "../../../src/convert/npu/vocoder.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { newNpuManifest } from "../../../src/formats/npu-folder.ts";
import { RKNN_CHIP_NAMES, type RknnChip } from "../../../src/npu-vendors.ts";
import { rootWith } from "../../_board.ts";
import { npuFolderOf } from "../../_npu.ts";
import { bundleOf, openOptions, STARTER } from "../../_support.ts";
import { newFolder, shell } from "../../cli/_tts.ts";

const manifestFor = (chip: RknnChip, cores: number | null = null) =>
  newNpuManifest({
    ...{
      target: "rknn",
      chip,
      cores,
      tensors: "f32",
      name: "some model",
      frames: 4,
      multiplications: null,
      source: {},
    },
    vocoder: [{ file: "vocoder.onnx", runs: "npu", inputs: [], outputs: [] }],
    predictor: { step: null, heads: null, frame: null },
    selfTest: { file: "self-test.safetensors", leastSnrDb: 20 },
  });
const scriptFor = (...wanted: Parameters<typeof manifestFor>) => toolkitFiles(manifestFor(...wanted))[0][1];

describe.each(RKNN_CHIP_NAMES)("%s", (chip) => {
  test("is the toolkit's platform, and the README's title and command", () => {
    expect(scriptFor(chip)).toContain(`target_platform="${chip}"`);
    const readme = npuReadme(manifestFor(chip), "npu");
    expect(readme).toStartWith(`# some model for the NPU of an ${chip.toUpperCase()}\n`);
    expect(readme).toContain(`tts convert --target rknn --chip ${chip}`);
  });

  test("has the sine that its NPU has, and else none", () => {
    const checkpoint = openCheckpoint(STARTER);
    const ranges = { scales: [1, 1, 1, 1, 1], folds: {} };
    const { nodes } = vocoderNpuGraph(checkpoint, {
      ...{ frames: 4, target: "rknn", chip, end: "samples", ranges },
    });
    checkpoint.close();
    expect(nodes.some(({ type }) => type === "Sin")).toBe(chip === "rk3576");
  });
});

test("one core of several is a file for one core; all other files are as the toolkit makes them", () => {
  for (const [chip, cores] of [
    ["rk3588", 1],
    ["rk3576", 1],
  ] as const)
    expect(scriptFor(chip, cores)).toContain("single_core_mode=True");
  for (const [chip, cores] of [
    ["rk3588", 3],
    ["rk3588", null],
    ["rk3562", 1],
  ] as const)
    expect(scriptFor(chip, cores)).not.toContain("single_core_mode");
});

test("a board with another chip does not open the models, and says for which chip they are", () => {
  const bundle = bundleOf("tiny-custom");
  const options = openOptions(bundle, 1, { npu: npuFolderOf(bundle, "rknn") });
  const board = (chip: string) =>
    rootWith({ "proc/device-tree/compatible": `some,board\0rockchip,${chip}\0` });
  expect(openFolder(options, "rknn", board("rk3588s")).manifest.chip).toBe("rk3588");
  expect(() => openFolder(options, "rknn", board("rk3576"))).toThrow(
    /was built for the NPU of an rk3588, and this board has an rk3576/,
  );
});

test.each<[string, string, RegExp]>([
  [
    "another chip",
    "--target rknn --chip rk3399",
    /--chip is "rk3399"; choose one of rk3588, rk3576, rk3566, rk3568, rk3562/,
  ],
  ["a chip of another target", "--target axcl --chip rk3588", /--chip is for --target rknn, not for axcl/],
  ["cores of another target", "--target axcl --cores 1", /--cores is for --target rknn, not for axcl/],
  ["a chip without a target", "-o out --chip rk3588", /--chip is for an NPU; add --target/],
  [
    "more cores than the chip has",
    "--target rknn --chip rk3576 --cores 3",
    /--cores \(rk3576\) is 3; give a whole number from 1 to 2/,
  ],
])("refuses %s", async (_what, options, message) => {
  const folder = newFolder();
  const { status, stderr } = await shell(`$TTS convert ${STARTER} ${options}`, folder);
  expect([status, stderr.trimEnd().split("\n").length]).toEqual([2, 1]);
  expect(stderr).toMatch(message);
  expect(readdirSync(folder)).toEqual([]);
});
