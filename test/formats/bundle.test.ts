// Damaged bundles: each is refused with one clear failure before a library sees it. Mappings end with their
// engine.

import { describe, expect, test } from "bun:test";
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mapFile } from "../../ffi/libc.ts";
import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { VOCODERS } from "../../src/backends/vocoder/index.ts";
import { open } from "../../src/engine.ts";
import { type Bundle, openBundle } from "../../src/formats/bundle.ts";
import { parseGgufHead } from "../../src/formats/gguf.ts";
import { Embedder } from "../../src/stages/embed.ts";
import { openTokenizer } from "../../src/text/tokenizer.ts";
import { bundleOf, named, openOptions, ROOT, rejectionOf, scratchFolder } from "../_support.ts";

const HINT = "make it again from its checkpoint: tts convert DIR -o BUNDLE";
const refusal = (message: RegExp) =>
  expect.objectContaining({ code: "BUNDLE_INVALID", hint: HINT, message: expect.stringMatching(message) });

let copies = 0;
function copyOfStarter(): string {
  const folder = join(scratchFolder(), `damaged-${copies++}`);
  cpSync(bundleOf("starter").directory, folder, { recursive: true });
  return folder;
}

/** A copy of the starter with one value of its manifest changed; undefined removes the key. */
function withManifest(path: string, value: unknown): string {
  const folder = copyOfStarter();
  const file = join(folder, "bundle.json");
  const manifest = JSON.parse(readFileSync(file, "utf8"));
  const keys = path.split(".");
  const parent = keys.slice(0, -1).reduce((object, key) => object[key], manifest);
  parent[keys.at(-1)!] = value;
  writeFileSync(file, JSON.stringify(manifest));
  return folder;
}

describe("a manifest", () => {
  test.each<[string, unknown]>([
    ["shape", undefined],
    ["shape", null],
    ["shape.hidden", 0],
    ["shape.hidden", 16_385],
    ["shape.predictorHidden", "128"],
    ["shape.codes", 1],
    ["shape.codes", 65_537],
    ["shape.codecVocabulary", 2 ** 20],
    ["shape.textVocabulary", -1],
    ["shape.layers", 1.5],
    ["shape.predictorLayers", 257],
    ["weights", "f64"],
    ["prompt.modelType", "other"],
    ["prompt.text.ttsPad", 2 ** 19],
    ["prompt.codec.eos", -1],
    ["prompt.codec", []],
    ["prompt.languages.english", 2 ** 19],
    ["prompt.speakers.starter", null],
    ["prompt.dialects.starter", "nowhere"],
    ["prompt.controlTokens", ["<|im_end|>"]],
    ["prompt.controlTokens.<|im_end|>", 2 ** 19],
    ["prompt.controlTokens.<|im_end|>", "360"],
    ["prompt.takesInstruct", 1],
    ["sampling.talker.temperature", "hot"],
    ["sampling.predictor", undefined],
    ["sampling.maxNewTokens", -1],
    ["reading", 1],
    ["reading.maxPhones", 0],
    ["files", ["talker.gguf"]],
    ["files", {}],
    ["files.tables", {}],
    ["source", 5],
    ["libraries", undefined],
    ["name", 5],
  ])("with %s = %p is refused", (path, value) => {
    expect(() => openBundle(withManifest(path, value))).toThrow(
      refusal(new RegExp(path.replace(/[.|]/g, "\\$&"))),
    );
  });

  test("refuses names of files outside the bundle", () => {
    const folder = copyOfStarter();
    const file = join(folder, "bundle.json");
    const manifest = JSON.parse(readFileSync(file, "utf8"));
    manifest.files["../escape"] = { bytes: 1, sha256: "" };
    writeFileSync(file, JSON.stringify(manifest));
    expect(() => openBundle(folder)).toThrow(refusal(/no plain file name/));
  });

  test("knows the size of every file", () => {
    const folder = copyOfStarter();
    truncateSync(join(folder, "vocoder.onnx.data"), 100);
    expect(() => openBundle(folder)).toThrow(refusal(/vocoder\.onnx\.data has 100 bytes/));
  });
});

/** The starter with its manifest and other shapes in it. */
function withShape(shape: Partial<Bundle["manifest"]["shape"]>): Bundle {
  const { directory, manifest } = bundleOf("starter");
  return { directory, manifest: { ...manifest, shape: { ...manifest.shape, ...shape } } };
}

describe("files that do not fit their manifest", () => {
  const { predictorHidden, codes, textVocabulary, codecVocabulary } = bundleOf("starter").manifest.shape;
  const [llama, ort] = [named(PREDICTORS, "llama"), named(PREDICTORS, "ort")];
  test.each<[string, () => unknown, RegExp]>([
    [
      "predictor.gguf",
      () => llama.open(openOptions(withShape({ predictorHidden: 2 * predictorHidden }))),
      /embedding_length is/,
    ],
    [
      "predictor.onnx",
      () => ort.open(openOptions(withShape({ predictorHidden: 2 * predictorHidden }))),
      /its x is f32/,
    ],
    [
      "predictor.onnx's layers",
      () => ort.open(openOptions(withShape({ predictorLayers: 200 }))),
      /past\.k\.\d+ is missing/,
    ],
    ["talker.gguf", () => TALKERS[0].open(openOptions(withShape({ layers: 77 }))), /block_count is/],
    [
      "talker.gguf's head",
      () => TALKERS[0].open(openOptions(withShape({ codecVocabulary: codecVocabulary + 1 }))),
      /vocab_size is/,
    ],
    [
      "the text table",
      () => new Embedder(withShape({ textVocabulary: textVocabulary + 1 })),
      /table text has the shape/,
    ],
    ["the code tables", () => new Embedder(withShape({ codes: codes + 1 })), /table code\.1 has the shape/],
    ["the heads", () => llama.open(openOptions(withShape({ codes: codes - 1 }))), /table predictor\./],
    [
      "tokenizer.safetensors",
      () => openTokenizer(withShape({ textVocabulary: 10 })),
      /tokenizer\.safetensors: a byte has the id \d+ of 10$/,
    ],
  ])("%s is refused", (_file, open, message) => {
    expect(open).toThrow(refusal(message));
  });
});

/** The starter with bytes of one file changed; sizes stay. */
function withBytes(name: string, change: (bytes: Buffer) => void): Bundle {
  const folder = copyOfStarter();
  const bytes = readFileSync(join(folder, name));
  change(bytes);
  writeFileSync(join(folder, name), bytes);
  return openBundle(folder);
}

/** Writes a u32 as the value of a key in a GGUF file, after the key and the type number. */
const putU32 = (key: string, value: number) => (bytes: Buffer) =>
  void bytes.writeUInt32LE(value, bytes.indexOf(key, 0, "latin1") + key.length + 4);

describe("a damaged GGUF file", () => {
  test.each([0, 2 ** 31 - 1, 2 ** 32 - 1])("with %p layers never reaches libllama", (layers) => {
    const damage = putU32("qwen3.block_count", layers);
    expect(() => TALKERS[0].open(openOptions(withBytes("talker.gguf", damage)))).toThrow(
      refusal(/block_count/),
    );
    expect(() => named(PREDICTORS, "llama").open(openOptions(withBytes("predictor.gguf", damage)))).toThrow(
      refusal(/block_count/),
    );
  });

  test("with any other damage in its head is refused or read, never overrun", () => {
    const bytes = readFileSync(join(bundleOf("starter").directory, "predictor.gguf"));
    for (let at = 0; at < 600; at++) {
      const damaged = new Uint8Array(bytes);
      damaged[at] ^= 0xff;
      try {
        parseGgufHead(damaged, "predictor.gguf");
      } catch (error) {
        expect(error).toEqual(refusal(/^predictor\.gguf /));
      }
    }
    expect(() => parseGgufHead(bytes.subarray(0, 300), "short")).toThrow(refusal(/ends inside its head/));
  });
});

/** All external data of the starter's graphs. */
const DATA = Object.keys(bundleOf("starter").manifest.files).filter((name) => name.endsWith(".onnx.data"));

test.each(DATA.filter((name) => bundleOf("starter").manifest.files[name].bytes > 0))(
  "%s of another size is found before any file is opened, and by the library where the manifest is as wrong",
  async (name) => {
    const folder = copyOfStarter();
    truncateSync(join(folder, name), 0);
    expect(() => openBundle(folder)).toThrow(refusal(/\.onnx\.data has 0 bytes, the manifest says/));
    const file = join(folder, "bundle.json");
    const manifest = JSON.parse(readFileSync(file, "utf8"));
    manifest.files[name].bytes = 0;
    writeFileSync(file, JSON.stringify(manifest));
    const error = await rejectionOf(open({ model: folder, talker: "ort", predictor: "ort" }));
    expect(error).toEqual(refusal(/\.onnx or its data cannot be loaded by ONNX Runtime$/));
  },
);

test("a file that is gone, though it was empty, is missing", () => {
  for (const name of DATA) {
    const folder = copyOfStarter();
    rmSync(join(folder, name));
    expect(() => openBundle(folder)).toThrow(refusal(new RegExp(`${name} is missing$`)));
  }
});

describe("weights that have become NaN end the speech, which names the damage", () => {
  test.each([
    ["talker.onnx.data", "logits", true],
    ["talker.onnx.data", "logits", false],
    ["predictor.onnx.data", "logits", true],
    ["predictor.onnx.data", "logits", false],
    ["vocoder.onnx.data", "samples", true],
  ])("%s: the %s, greedy %p", async (name, what, greedy) => {
    const { directory } = withBytes(name, (bytes) => void bytes.fill(0xff));
    await using engine = await open({ model: directory, talker: "ort", predictor: "ort" });
    const listen = async () => {
      for await (const _ of engine.speak("Hello.", { greedy, seed: 1 }));
    };
    expect(await rejectionOf(listen())).toMatchObject({
      ...{ code: "BUNDLE_INVALID", exitStatus: 3 },
      message: `the ${what} are NaN: a file of the model is damaged`,
      hint: "tts models --verify has a model in the cache made again, tts convert DIR -o BUNDLE any other",
    });
  });
});

test("a damaged ONNX file is named, without the words of the library", () => {
  const bundle = withBytes("vocoder.onnx", (bytes) => void bytes.fill(0xff, 0, 64));
  expect(() => named(VOCODERS, "ort").open(openOptions(bundle))).toThrow(
    refusal(/vocoder\.onnx or its data cannot be loaded by ONNX Runtime$/),
  );
});

test("a closed mapping cannot be reached, and is closed once", () => {
  const file = mapFile(join(ROOT, "tts.ts"));
  const view = new Uint8Array(file.bytes.buffer, 0, 16);
  file.close();
  file.close();
  file.release();
  expect([view.length, view[0], file.bytes.length]).toEqual([0, undefined, 0] as never);
  const embedder = new Embedder(bundleOf("starter"));
  embedder.close();
  expect(() => embedder.addText(0, new Float32Array(embedder.hidden), 0)).toThrow("the tables are closed");
});

test("20 engines, opened and closed, leave no mapping of their tables", async () => {
  const script = `
    import { readFileSync } from "node:fs";
    import { open } from ${JSON.stringify(join(ROOT, "src/engine.ts"))};
    const mappings = () => readFileSync("/proc/self/maps", "utf8").split("\\n").filter((line) => line.includes("tables.safetensors")).length;
    for (let round = 0; round < 20; round++) {
      const engine = await open({ model: ${JSON.stringify(bundleOf("starter").directory)} });
      for await (const _ of engine.speak("hi", { seed: 1 }));
      await engine.close();
    }
    console.log(mappings());`;
  const { stdout, exited } = Bun.spawn([process.execPath, "-e", script], {
    env: { ...process.env },
    stdout: "pipe",
    stderr: "inherit",
  });
  expect([await exited, (await new Response(stdout).text()).trim()]).toEqual([0, "0"]);
});
