// A whole folder for an NPU: the command makes it, its files hold what they claim, and the calibration inputs
// are those of a real run.

import { beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { elementsOf } from "../../../ffi/npu/model.ts";
import { loadOnnxRuntime } from "../../../ffi/onnxruntime.ts";
import { VOCODERS } from "../../../src/backends/vocoder/index.ts";
import { PartChain } from "../../../src/convert/npu/_chain.ts";
import { runNpuConversion } from "../../../src/convert/npu/index.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import {
  assertNpuFolderFits,
  type NpuFolder,
  type NpuPart,
  openNpuFolder,
  readNpuSelfTest,
} from "../../../src/formats/npu-folder.ts";
import { toFloat32 } from "../../../src/formats/safetensors.ts";
import type { NpuTarget } from "../../../src/npu-vendors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../../src/types.ts";
import { bundleOf, GoldenFile, maxDifference, openOptions, STARTER, scratchFolder } from "../../_support.ts";
import { newFolder, shell } from "../../cli/_tts.ts";

const MAX_ERROR = 1e-4;
const starterCodes = (name: string) => new GoldenFile(`starter/${name}.safetensors`).ints("codes");

/** An .npy file: its shape and values. */
function readNpy(bytes: Uint8Array): { shape: number[]; values: Float32Array } {
  expect(Buffer.from(bytes.subarray(0, 8)).toString("latin1")).toBe("\x93NUMPY\x01\x00");
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint16(8, true);
  expect((10 + length) % 64).toBe(0);
  const head = Buffer.from(bytes.subarray(10, 10 + length)).toString("latin1");
  const [, shape] = /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(([\d, ]+)\), \} *\n$/.exec(head)!;
  const values = new Float32Array(new Uint8Array(bytes.subarray(10 + length)).buffer);
  return {
    shape: shape
      .split(",")
      .filter((size) => size.trim() !== "")
      .map(Number),
    values,
  };
}

/** The recorded runs of one input, in order. */
function calibrationOf(
  folder: NpuFolder,
  part: NpuPart,
  input: number,
): { shape: number[]; values: Float32Array }[] {
  const name = part.file.replace(".onnx", "");
  const unpacked = join(folder.directory, "unpacked", name, part.inputs[input].name);
  if (!existsSync(unpacked)) {
    mkdirSync(unpacked, { recursive: true });
    const tar = join(folder.directory, `calibration/${name}/${part.inputs[input].name}.tar`);
    expect(spawnSync("tar", ["-xf", tar, "-C", unpacked]).status).toBe(0);
  }
  return readdirSync(unpacked)
    .sort()
    .map((file) => readNpy(readFileSync(join(unpacked, file))));
}

let made = 0;
interface Wanted {
  target: NpuTarget;
  frames: number;
  snakes: "npu" | "cpu";
}
/** Converts the starter on this thread, with golden codes; the talker's states are noise. */
function convertStarter({ frames, snakes, target: npu }: Wanted): {
  folder: NpuFolder;
  speeches: { codes: Int32Array; hidden: Float32Array }[];
} {
  const checkpoint = openCheckpoint(STARTER);
  const speeches = ["starter-01", "starter-07"].map((name) => {
    const codes = starterCodes(name);
    const states = (codes.length / CODES_PER_FRAME) * checkpoint.talker.hidden;
    return { codes, hidden: Float32Array.from({ length: states }, (_, i) => Math.sin(i)) };
  });
  checkpoint.close();
  const target = join(scratchFolder(), `npu-${made++}`);
  runNpuConversion({
    source: STARTER,
    target,
    part: target,
    name: "starter",
    weights: "f32",
    npu,
    frames,
    snakes,
    speeches,
    libraries: { onnxruntime: "" },
  });
  return { folder: openNpuFolder(target, npu), speeches };
}

/** The parts of a folder on ONNX Runtime. */
function openChain({ directory, manifest }: NpuFolder): PartChain {
  loadOnnxRuntime();
  return new PartChain(
    manifest.vocoder.map(({ file }) => join(directory, file)),
    1,
  );
}

const VARIANTS: Wanted[] = [
  { target: "rknn", frames: 4, snakes: "npu" },
  { target: "rknn", frames: 2, snakes: "cpu" },
  { target: "axcl", frames: 3, snakes: "npu" },
];

describe.each(
  VARIANTS.map(
    (wanted) =>
      [`${wanted.target}, ${wanted.frames} frames, snakes on the ${wanted.snakes}`, wanted] as const,
  ),
)("%s", (_title, wanted) => {
  let made: ReturnType<typeof convertStarter>;
  beforeAll(() => {
    made = convertStarter(wanted);
  });

  test("names its parts and says where each runs", () => {
    const { predictor, vocoder } = made.folder.manifest;
    const tail = wanted.snakes === "cpu" ? [["vocoder-tail.onnx", "cpu"]] : [];
    expect(vocoder.map(({ file, runs }) => [file, runs])).toEqual([
      ["vocoder-front.onnx", "cpu"],
      ["vocoder.onnx", "npu"],
      ...tail,
    ]);
    const files = [predictor.step?.file, predictor.heads?.file, predictor.frame?.file];
    const names = ["predictor-step.onnx", "predictor-heads.onnx", "predictor-frame.onnx"];
    expect(files).toEqual(wanted.target === "axcl" ? names : names.map(() => undefined));
    expect(existsSync(join(made.folder.directory, "work"))).toBe(false);
  });

  test("has a self-test: real codes and the samples that the model makes of them", () => {
    const { codes, samples } = readNpuSelfTest(made.folder);
    expect(codes).toEqual(made.speeches[0].codes.subarray(0, codes.length));
    expect(codes.length).toBe(24 * CODES_PER_FRAME);
    const vocoder = VOCODERS.find(({ name }) => name === "ort")!.open(openOptions(bundleOf("starter")));
    const wantedSamples = new Float32Array(samples.length);
    vocoder.decode(0, codes, codes.length / CODES_PER_FRAME, wantedSamples);
    vocoder.close();
    expect(maxDifference(samples, wantedSamples)).toBeLessThan(1e-5);
  });

  test("gives the samples of the self-test by the chain of its parts", () => {
    const { codes, samples } = readNpuSelfTest(made.folder);
    const chain = openChain(made.folder);
    for (let frame = 0; frame < codes.length / CODES_PER_FRAME; frame += wanted.frames) {
      chain
        .ints("codes")
        .set(codes.subarray(frame * CODES_PER_FRAME, (frame + wanted.frames) * CODES_PER_FRAME));
      chain.ints("position")[0] = frame;
      chain.run();
      const from = frame * SAMPLES_PER_FRAME;
      const error = maxDifference(
        chain.floats("samples"),
        samples.subarray(from, from + wanted.frames * SAMPLES_PER_FRAME),
      );
      expect(error).toBeLessThanOrEqual(MAX_ERROR);
    }
    chain.close();
  });

  test("calibrates the vocoder with its inputs while the speeches are spoken, for the toolkit that quantises", () => {
    const { folder, speeches } = made;
    if (wanted.target === "rknn") {
      expect(existsSync(join(folder.directory, "calibration"))).toBe(false);
      return;
    }
    const part = folder.manifest.vocoder[1];
    const recorded = part.inputs.map((_, input) => calibrationOf(folder, part, input));
    const runs = speeches.reduce(
      (sum, { codes }) => sum + Math.floor(codes.length / CODES_PER_FRAME / wanted.frames),
      0,
    );
    const count = Math.min(16, runs);
    expect(recorded.map((entries) => entries.length)).toEqual(part.inputs.map(() => count));
    const numbers = Array.from({ length: count }, (_, i) => Math.floor((i * runs) / count));
    const chain = openChain(folder);
    let run = 0;
    for (const { codes } of speeches) {
      chain.reset();
      for (
        let frame = 0;
        frame + wanted.frames <= codes.length / CODES_PER_FRAME;
        frame += wanted.frames, run++
      ) {
        chain
          .ints("codes")
          .set(codes.subarray(frame * CODES_PER_FRAME, (frame + wanted.frames) * CODES_PER_FRAME));
        chain.ints("position")[0] = frame;
        chain.run((index) => {
          const at = numbers.indexOf(run);
          if (index !== 1 || at < 0) return;
          part.inputs.forEach(({ name, shape }, input) => {
            expect([name, recorded[input][at].shape]).toEqual([name, shape]);
            expect(maxDifference(recorded[input][at].values, chain.floats(name))).toBeLessThan(1e-5);
          });
        });
      }
    }
    expect(run).toBe(runs);
    chain.close();
  });

  test("has scripts and configurations that can be read", () => {
    const { directory, manifest } = made.folder;
    const readme = readFileSync(join(directory, "README.md"), "utf8");
    expect(readme).toContain("Nothing here has been tried on hardware");
    if (wanted.target === "rknn") {
      const python = spawnSync("python3", [
        "-c",
        "import ast, sys; ast.parse(open(sys.argv[1]).read())",
        join(directory, "build.py"),
      ]);
      if (python.error === undefined) expect([python.status, String(python.stderr)]).toEqual([0, ""]);
      return;
    }
    expect(spawnSync("sh", ["-n", join(directory, "build.sh")]).status).toBe(0);
    for (const part of [manifest.vocoder[1], manifest.predictor.step!, manifest.predictor.frame!]) {
      const config = JSON.parse(readFileSync(join(directory, part.file.replace(".onnx", ".json")), "utf8"));
      expect([
        config.input,
        config.target_hardware,
        config.npu_mode,
        config.quant.calibration_method,
      ]).toEqual([part.file, "AX650", "NPU3", "MinMax"]);
      const inputs = config.quant.input_configs as { tensor_name: string; calibration_dataset: string }[];
      expect(inputs.map((input) => input.tensor_name)).toEqual(part.inputs.map(({ name }) => name));
      for (const input of inputs)
        expect(statSync(join(directory, input.calibration_dataset)).size).toBeGreaterThan(512);
    }
  });
});

describe("the code predictor's calibration", () => {
  let folder: NpuFolder;
  let speeches: { codes: Int32Array; hidden: Float32Array }[];
  beforeAll(() => {
    ({ folder, speeches } = convertStarter({ target: "axcl", frames: 4, snakes: "npu" }));
  });

  test("of a step has the rows of real frames at their positions and the state that earlier steps left", () => {
    const part = folder.manifest.predictor.step!;
    const inputs = Object.fromEntries(
      part.inputs.map(({ name }, i) => [name, calibrationOf(folder, part, i)]),
    );
    expect(inputs.x.length).toBe(37);
    inputs.position.forEach(({ values }, i) => {
      const rows = [values.subarray(0, CODES_PER_FRAME), values.subarray(CODES_PER_FRAME)];
      const at = rows.map((row) => row.indexOf(1));
      expect(rows.map((row) => row.filter((value) => value !== 0).length)).toEqual(
        at[1] === 1 ? [1, 1] : [0, 1],
      );
      expect(at[0]).toBe(at[1] === 1 ? 0 : -1);
      const first = inputs.x[i].values.subarray(0, inputs.x[i].values.length / 2);
      expect(first.some((value) => value !== 0)).toBe(at[1] === 1);
    });
    expect(new Set(inputs.position.map(({ values }) => values.lastIndexOf(1))).size).toBeGreaterThan(8);
    const checkpoint = openCheckpoint(STARTER);
    const table = toFloat32(
      checkpoint.weights.take("talker.model.codec_embedding.weight", [
        checkpoint.codecVocabulary,
        checkpoint.talker.hidden,
      ]),
    );
    const width = checkpoint.predictor.hidden;
    const code0 = speeches[0].codes[0];
    if (checkpoint.talker.hidden === width) {
      expect(inputs.x[0].values.subarray(width)).toEqual(table.subarray(code0 * width, (code0 + 1) * width));
      expect(inputs.x[0].values.subarray(0, width)).toEqual(speeches[0].hidden.subarray(0, width));
    }
    expect(
      Object.entries(inputs).filter(
        ([name, runs]) => name.startsWith("state.") && runs[5].values.every((value) => value === 0),
      ),
    ).toEqual([]);
    checkpoint.close();
  });

  test("of a frame has noise in some runs and the likeliest codes in others", () => {
    const part = folder.manifest.predictor.frame!;
    const inputs = Object.fromEntries(
      part.inputs.map(({ name }, i) => [name, calibrationOf(folder, part, i)]),
    );
    const greedy = inputs.noise.map(({ values }) => values.every((value) => value === 0));
    expect(new Set(greedy)).toEqual(new Set([true, false]));
    inputs.limit.forEach(({ values }, i) => {
      expect(values.reduce((sum, value) => sum + value, 0)).toBe(1);
      if (greedy[i]) expect(values[0]).toBe(1);
    });
    const drawn = inputs.noise.find((_, i) => !greedy[i])!.values;
    const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
    expect(mean).toBeCloseTo(0.5772, 1); // the mean of a Gumbel distribution
    for (const { name, shape } of part.inputs) expect(inputs[name][0].values.length).toBe(elementsOf(shape));
  });
});

describe("tts convert --target", () => {
  test("has the model speak, and makes a folder that goes with its bundle", async () => {
    const folder = newFolder();
    const { status, stderr } = await shell(`$TTS convert ${STARTER} --target axcl --frames 2`, folder);
    expect([status, stderr]).toEqual([
      0,
      expect.stringMatching(
        /^starter-axcl: graphs of .* for axcl, made in .* s; next: build them as starter-axcl\/README\.md says\n$/,
      ),
    ]);
    expect(readdirSync(folder)).toEqual(["starter-axcl"]);
    const npu = openNpuFolder(join(folder, "starter-axcl"), "axcl");
    assertNpuFolderFits(npu, bundleOf("starter"));
    expect(() => assertNpuFolderFits(npu, bundleOf("tiny-custom"))).toThrow(/was made of starter/);
    // The recorded states are the talker's: the whole-frame graph draws from them the codes that the model
    // said.
    const { codes } = readNpuSelfTest(npu);
    const part = npu.manifest.predictor.frame!;
    const chain = new PartChain([join(npu.directory, part.file)], 1);
    const spoken = calibrationOf(
      npu,
      part,
      part.inputs.findIndex(({ name }) => name === "x"),
    )
      .slice(0, 3)
      .map(({ values }) => {
        chain.floats("x").set(values);
        chain.floats("noise").fill(0);
        chain.floats("limit").fill(0)[0] = 1;
        chain.floats("sharpness")[0] = 1;
        chain.run();
        return Array.from(chain.floats("codes")).join();
      });
    chain.close();
    const said = Array.from({ length: codes.length / CODES_PER_FRAME }, (_, frame) =>
      codes.subarray(frame * CODES_PER_FRAME + 1, (frame + 1) * CODES_PER_FRAME).join(),
    );
    expect(spoken.map((frame) => said.includes(frame))).toEqual([true, true, true]);
  }, 600_000);

  test.each<[string, string, RegExp]>([
    ["an unknown target", "--target cuda", /--target is "cuda"/],
    ["five frames", "--target rknn --frames 5", /--frames is 5; give a whole number from 1 to 4/],
    ["another place for Snakes", "--target rknn --snakes gpu", /--snakes is "gpu"/],
    ["options of a target without one", "-o out --frames 2", /--frames is for an NPU; add --target/],
    ...["--native", "--talker llama", "--predictor auto"].map((option): [string, string, RegExp] => [
      `${option}, which is nothing for an NPU`,
      `--target rknn ${option}`,
      new RegExp(`${option.split(" ")[0]} is for a bundle; leave it or --target out`),
    ]),
    [
      "a form that there is not",
      "-o out --talker axcl",
      /--talker is "axcl"; choose one of auto, llama, ort/,
    ],
    [
      "a form that the weights cannot have",
      "-o out --weights q4_k_m --talker ort",
      /a talker in q4_k_m has no ort form; choose --talker llama/,
    ],
    ["a folder of something else", "--target rknn -o full", /full exists and is no folder of NPU models/],
  ])("refuses %s", async (_what, options, message) => {
    const folder = newFolder();
    mkdirSync(join(folder, "full"));
    writeFileSync(join(folder, "full/letter.txt"), "mine");
    const { status, stderr } = await shell(`$TTS convert ${STARTER} ${options}`, folder);
    expect(status).toBeGreaterThan(1);
    expect(stderr).toMatch(message);
    expect(readdirSync(folder)).toEqual(["full"]);
  });

  test("refuses a bundle", async () => {
    const { stderr } = await shell('$TTS convert "$STARTER" --target rknn -o out', newFolder());
    expect(stderr).toMatch(/is a bundle; give the checkpoint directory/);
  });
});
