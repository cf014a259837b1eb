// What tts doctor knows of a folder of NPU models from its files: the chip, the toolkit, the NPU's share, and
// why the models do not suit this board.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type NpuManifest, newNpuManifest } from "../../src/formats/npu-folder.ts";
import { vocoderMultiplications } from "../../src/machine/frame-cost.ts";
import { describeNpuFolder } from "../../src/machine/npu-folders.ts";
import type { RknnChip } from "../../src/npu-vendors.ts";
import { STARTER, scratchFolder } from "../_support.ts";

const SPEED = { bandwidth: 1e10, vocoder: 1e10 };
/** As the toolkit ends a model. */
const TAIL = (chip: string) =>
  `{"graph":[],"output_num":9,"target_platform":["${chip}"],"version":"2.5.0","virtual_tensor":[]}`;
const MODEL_BYTES = 1_000_000;

function folderWith(content: Partial<NpuManifest> = {}, chip = "rk3588"): string {
  const folder = mkdtempSync(join(scratchFolder(), "npu-facts-"));
  const manifest = newNpuManifest({
    ...{ target: "rknn", chip: "rk3588", cores: null, tensors: "f32", name: "some model", frames: 2 },
    multiplications: { npu: 30e6, all: 40e6 },
    vocoder: [
      {
        file: "vocoder.onnx",
        runs: "npu",
        inputs: [
          { name: "codes", shape: [2, 16] },
          { name: "state.entry", shape: [1, 8, 6] },
          { name: "state.other", shape: [1, 8, 1] },
        ],
        outputs: [
          { name: "samples", shape: [1, 1, 3_840] },
          { name: "next.entry", shape: [1, 8, 6] },
          { name: "next.other", shape: [1, 8, 1] },
        ],
      },
    ],
    predictor: { step: null, heads: null, frame: null },
    selfTest: { file: "self-test.safetensors", leastSnrDb: 20 },
    source: {},
    ...content,
  });
  writeFileSync(join(folder, "npu.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "self-test.safetensors"), "not read");
  const tail = TAIL(chip);
  writeFileSync(join(folder, "vocoder.rknn"), `${"R".repeat(MODEL_BYTES - tail.length)}${tail}`);
  return folder;
}
const VALUES = 32 + 48 + 8 + 3_840 + 48 + 8;

test("chip and toolkit are read from the built model, and the share is counted", () => {
  const path = folderWith();
  const bytesPerFrame = (MODEL_BYTES + 4 * VALUES) / 2;
  expect(describeNpuFolder(path, "rk3588", SPEED)).toEqual({
    ...{ path, target: "rknn", chip: "rk3588", toolkit: "2.5.0", problem: "", hint: "" },
    share: {
      multiplications: 0.75,
      bytesPerFrame,
      leastCpuOperators: 2, // the rows of 6, in and out
      leastMs: (1000 * bytesPerFrame) / SPEED.bandwidth,
      cpuMs: 3,
    },
  });
});

test("the shortest time is that of the products where memory is fast, on as many cores as a run takes", () => {
  const leastMs = (cores: number | null) =>
    describeNpuFolder(folderWith({ cores }), "", { bandwidth: 1e15, vocoder: null }).share!.leastMs!;
  expect(leastMs(null)).toBeCloseTo((1000 * 30e6) / 1.5e12);
  expect(leastMs(1)).toBeCloseTo(3 * leastMs(3));
});

test.each<[RknnChip, number]>([
  ["rk3588", 2], // the rows of 6
  ["rk3576", 0],
  ["rk3562", 0],
  ["rk3566", 4], // and all others but those of 1
])("an %s has at least %d operators on the CPU", (chip, count) => {
  const facts = describeNpuFolder(folderWith({ chip }, chip), chip, SPEED);
  expect([facts.problem, facts.share?.leastCpuOperators]).toEqual(["", count]);
});

test("f16 halves what goes in and comes out", () => {
  const { bytesPerFrame } = describeNpuFolder(folderWith({ tensors: "f16" }), "", SPEED).share!;
  expect(bytesPerFrame).toBe((MODEL_BYTES + 2 * VALUES) / 2);
});

test("an older folder has no share, and an unfinished one says what is missing", () => {
  const older = describeNpuFolder(folderWith({ multiplications: null }), "", SPEED);
  expect([older.share, older.problem]).toEqual([null, ""]);
  const path = folderWith();
  rmSync(join(path, "vocoder.rknn"));
  const unfinished = describeNpuFolder(path, "", SPEED);
  expect(unfinished).toMatchObject({ target: "rknn", chip: "rk3588", toolkit: "", share: null });
  expect(unfinished.problem).toContain("vocoder.rknn is missing");
});

test.each<[string, string, string, string]>([
  [
    "a board with another chip",
    "rk3588",
    "rk3576",
    "was built for the NPU of an rk3588, and this board has an rk3576",
  ],
  [
    "a model of another chip",
    "rk3576",
    "rk3588",
    "vocoder.rknn was built for rk3576, and npu.json says rk3588",
  ],
])("%s is a problem", (_title, model, board, problem) => {
  const facts = describeNpuFolder(folderWith({}, model), board, SPEED);
  expect(facts).toMatchObject({ problem: expect.stringContaining(problem), chip: "rk3588" });
  expect(facts.hint).not.toBe("");
});

test.each(["{", '{"format":"qwen3-tts-npu","version":1,"target":7}', ""])(
  "a manifest of %j is a problem",
  (text) => {
    const path = folderWith();
    writeFileSync(join(path, "npu.json"), text);
    expect(describeNpuFolder(path, "", SPEED)).toMatchObject({
      target: "",
      share: null,
      problem: expect.stringContaining("npu.json"),
    });
  },
);

test("what comes before the first Snake is the smaller part of the vocoder", () => {
  const { all, front } = vocoderMultiplications(STARTER)!;
  expect(front).toBeGreaterThan(0);
  expect(front).toBeLessThan(all / 2);
  expect(vocoderMultiplications(scratchFolder())).toBeNull();
});
