// Conversion: hostile checkpoints are refused with a reason, shards and weight types work, an ended conversion leaves nothing wrong behind.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { PREDICTORS, TALKERS, VOCODERS } from "../../src/backends/index.ts";
import { loadConfig, WEIGHT_CHOICES, type WeightType, weightTypes } from "../../src/config.ts";
import { convert, runConversion } from "../../src/convert/index.ts";
import { TtsError } from "../../src/errors.ts";
import { BUNDLE_FILES, type Bundle, openBundle } from "../../src/formats/bundle.ts";
import { parseSafetensors, safetensorsHeader, type TensorToWrite, toFloat32 } from "../../src/formats/safetensors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import {
  bundleOf,
  convertFolder,
  copyOfCheckpoint,
  type Damage,
  failureOf,
  type Json,
  maxDifference,
  named,
  openOptions,
  ROOT,
  rejectionOf,
  scratchFolder,
  setJson,
  sharedFloats,
} from "../_support.ts";

const LIBRARIES = { llama: "", onnxruntime: "" };
const WEIGHTS = "model.safetensors";
const CODEC = "speech_tokenizer/model.safetensors";

const remove =
  (file: string): Damage =>
  (folder) =>
    rmSync(join(folder, file));
const write =
  (file: string, text: string): Damage =>
  (folder) =>
    writeFileSync(join(folder, file), text);

/** Rewrites the header of a safetensors file; the tensors' bytes stay. */
const editHeader =
  (file: string, edit: (header: Record<string, Json>) => unknown): Damage =>
  (folder) => {
    const path = join(folder, file);
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Record<string, Json>;
    const text = Buffer.from(JSON.stringify(edit(header)));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]));
  };

/** Changes one thing that the header says of a tensor. */
const setEntry = (file: string, name: string, key: string, value: unknown) =>
  editHeader(file, (header) => ({ ...header, [name]: { ...header[name], [key]: value } }));
const dropTensor = (file: string, name: string) => editHeader(file, ({ [name]: _dropped, ...rest }) => rest);
const claimLength =
  (file: string, length: bigint): Damage =>
  (folder) => {
    const bytes = readFileSync(join(folder, file));
    bytes.writeBigUInt64LE(length);
    writeFileSync(join(folder, file), bytes);
  };

/** Writes raw little-endian bytes over the end of one tensor. */
const spoilTensor =
  (file: string, name: string, ...bytes: number[]): Damage =>
  (folder) => {
    const path = join(folder, file);
    const content = new Uint8Array(readFileSync(path));
    const tensor = parseSafetensors(content, path).get(name)!;
    tensor.bytes.set(bytes, tensor.bytes.length - bytes.length);
    writeFileSync(path, content);
  };

const LFS_POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 1829344272\n`;
const HEAD = "talker.codec_head.weight";
const NAN_BF16 = [0xc0, 0x7f];
const INFINITE_F32 = [0, 0, 0x80, 0x7f];

/** [what is wrong, how it comes about, what the message must say] */
const HOSTILE: [string, Damage, RegExp][] = [
  ["no config", remove("config.json"), /config\.json: is missing/],
  ["no vocabulary", remove("vocab.json"), /vocab\.json: is missing/],
  ["no weights", remove(WEIGHTS), /model\.safetensors: is missing/],
  ["no codec weights", remove(CODEC), /speech_tokenizer\/model\.safetensors: is missing/],
  ["an empty weight file", write(WEIGHTS, ""), /too short for a safetensors file \(0 bytes\)/],
  ["a Git LFS pointer", write(WEIGHTS, LFS_POINTER), /Git LFS pointer/],
  ["a truncated weight file", (folder) => truncateSync(join(folder, WEIGHTS), 1_000_000), /ends at byte \d+ of \d+: the file is truncated/],
  ["a file truncated in its header", (folder) => truncateSync(join(folder, CODEC), 1_000), /header claims \d+ bytes, the file has 1000/],
  ["a header of 2^63 bytes", claimLength(WEIGHTS, 2n ** 63n), /header claims \d+ bytes/],
  ["a header shorter than it is", claimLength(WEIGHTS, 100n), /header is not JSON/],
  ["a header that is a list", editHeader(WEIGHTS, () => []), /header is not a JSON object/],
  [
    "a header entry that is null",
    editHeader(WEIGHTS, (header) => ({ ...header, [HEAD]: null })),
    /codec_head\.weight has the unknown type undefined/,
  ],
  ["a tensor of unknown type", setEntry(WEIGHTS, HEAD, "dtype", "F4"), /unknown type F4/],
  ["a tensor of a type no weight has", setEntry(WEIGHTS, HEAD, "dtype", "I16"), /codec_head\.weight is I16/],
  ["a negative offset", setEntry(WEIGHTS, HEAD, "data_offsets", [-4, 0]), /broken header entry/],
  ["an offset behind the end", setEntry(WEIGHTS, HEAD, "data_offsets", [0, 1e12]), /ends at byte 1000000000000/],
  ["offsets and shape that disagree", setEntry(WEIGHTS, HEAD, "shape", [1280, 65]), /its shape \[1280,65\] needs/],
  ["no talker head", dropTensor(WEIGHTS, HEAD), /tensor talker\.codec_head\.weight is missing/],
  ["no predictor head", dropTensor(WEIGHTS, "talker.code_predictor.lm_head.14.weight"), /lm_head\.14\.weight is missing/],
  ["no codec tensor", dropTensor(CODEC, "decoder.decoder.6.conv.bias"), /decoder\.decoder\.6\.conv\.bias is missing/],
  ["a turned tensor", setEntry(WEIGHTS, HEAD, "shape", [64, 1280]), /has shape \[64,1280\], the config says \[1280,64\]/],
  ["NaN in the talker", spoilTensor(WEIGHTS, HEAD, ...NAN_BF16), /codec_head\.weight is not a number at element 81919/],
  [
    "infinity in the codec",
    spoilTensor(CODEC, "decoder.decoder.6.conv.weight", ...INFINITE_F32),
    /decoder\.6\.conv\.weight is not a number at element \d+/,
  ],
  ["a config that is not JSON", write("config.json", "{ not json"), /config\.json is not JSON/],
  ["a config that is a list", write("config.json", "[]"), /config\.json: holds no JSON object/],
  ["a config without a talker", setJson("config.json", "talker_config", undefined), /talker_config is missing, not an object/],
  ["another model type", setJson("config.json", "tts_model_type", "music"), /tts_model_type is "music"/],
  ["8 codes per frame", setJson("config.json", "talker_config.num_code_groups", 8), /num_code_groups is not 16/],
  ["a negative width", setJson("config.json", "talker_config.hidden_size", -64), /talker_config\.hidden_size is -64, not a/],
  ["a broken width", setJson("config.json", "talker_config.hidden_size", 64.5), /hidden_size is 64\.5, not a/],
  ["a width in words", setJson("config.json", "talker_config.head_dim", "32"), /head_dim is "32", not a/],
  ["another width", setJson("config.json", "talker_config.hidden_size", 128), /has shape \[1280,64\], the config says \[1280,128\]/],
  ["no layers", setJson("config.json", "talker_config.num_hidden_layers", 0), /num_hidden_layers is 0, not a/],
  ["too many layers", setJson("config.json", "talker_config.num_hidden_layers", 4), /layers\.3\.input_layernorm\.weight is missing/],
  ["too few layers", setJson("config.json", "talker_config.num_hidden_layers", 2), /has more than the 2 layers/],
  [
    "too few predictor layers",
    setJson("config.json", "talker_config.code_predictor_config.num_hidden_layers", 1),
    /has more than the 1 layers/,
  ],
  ["a negative codec window", setJson("speech_tokenizer/config.json", "decoder_config.sliding_window", -1), /sliding_window is -1, not a/],
  ["a codec without upsampling", setJson("speech_tokenizer/config.json", "decoder_config.upsample_rates", []), /1920 samples/],
  ["a codec of another codebook", setJson("speech_tokenizer/config.json", "decoder_config.codebook_size", 128), /codebook_size is 128/],
  ["a vocabulary that is a list", write("vocab.json", "[]"), /vocab\.json: holds no JSON object/],
  ["a token id of 4 billion", setJson("vocab.json", "zzz", 4_000_000_000), /"zzz" has the id 4000000000/],
  ["a negative token id", setJson("vocab.json", "zzz", -1), /"zzz" has the id -1/],
  ["a token without an id", setJson("vocab.json", "zzz", "one"), /"zzz" has the id "one"/],
  [
    "an added token out of range",
    setJson("tokenizer_config.json", "added_tokens_decoder.99999999", { content: "<x>" }),
    /has the id 99999999/,
  ],
  ["a codec id in words", setJson("config.json", "talker_config.spk_id.ryan", "first"), /spk_id\.ryan is "first", not a/],
  ["a codec id without a row", setJson("config.json", "talker_config.spk_id.ryan", 1280), /spk_id\.ryan is 1280/],
  ["a dialect that is no language", setJson("config.json", "talker_config.spk_is_dialect.eric", "klingon"), /gives eric "klingon"/],
  ["a text id without a row", setJson("config.json", "tts_pad_token_id", 1024), /tts_pad_token_id is 1024/],
];

/** Converts as the program does, in a worker. */
const convertTo = (source: string, target: string, weights: WeightType = "f32") =>
  convert({ source, target, weights: weightTypes(weights), config: loadConfig({}, {}) }, () => {});
const entriesLike = (target: string) => readdirSync(dirname(target)).filter((name) => name.includes(basename(target)));

describe("a checkpoint is refused that has", () => {
  test.each(HOSTILE.map((row, i) => [...row, i] as const))("%s", (_what, damage, message, i) => {
    const source = copyOfCheckpoint("tiny-custom", `hostile-${i}`);
    damage(source);
    const error = failureOf(() =>
      runConversion({
        source,
        target: "",
        part: join(scratchFolder(), `hostile-bundle-${i}`),
        weights: weightTypes("f32"),
        libraries: LIBRARIES,
      }),
    );
    rmSync(source, { recursive: true });
    expect(error).toBeInstanceOf(TtsError);
    expect(error.code).toBe("CHECKPOINT_INVALID");
    expect(error.message).toMatch(message);
    expect(error.message).toContain(source);
    expect(error.hint).not.toBe("");
  });

  test.each([
    ["damage seen at once", "config.json", "{}"],
    ["damage seen in the middle", "vocab.json", "[]"],
  ])("%s: the worker's error arrives whole and nothing is left", async (_when, file, text) => {
    const source = copyOfCheckpoint("tiny-custom", `refused-${file}`);
    writeFileSync(join(source, file), text);
    const target = join(scratchFolder(), `refused-${file}-bundle`);
    const error = await rejectionOf(convertTo(source, target));
    expect(error).toBeInstanceOf(TtsError);
    expect(error).toMatchObject({ code: "CHECKPOINT_INVALID", message: expect.stringContaining(join(source, file)) });
    expect(error.hint).not.toBe("");
    expect(entriesLike(target)).toEqual([]);
  });
});

/** Some tensors of a safetensors file as a file of their own. */
function writeShard(path: string, source: string, pick: (name: string, index: number) => boolean): string[] {
  const tensors = [...parseSafetensors(new Uint8Array(readFileSync(source)), source).values()].filter(({ name }, i) => pick(name, i));
  const toWrite = tensors.map(
    ({ bytes, dtype, name, shape }): TensorToWrite => ({ name, dtype: dtype as "BF16", shape, chunks: () => [bytes] }),
  );
  writeFileSync(path, Buffer.concat([safetensorsHeader(toWrite), ...toWrite.flatMap(({ chunks }) => [...chunks()])]));
  return tensors.map(({ name }) => name);
}

function shardedCopy(name: string): string {
  const folder = copyOfCheckpoint("tiny-custom", name);
  const whole = join(folder, WEIGHTS);
  const weight_map: Record<string, string> = {};
  for (const shard of [0, 1]) {
    const file = `model-0000${shard + 1}-of-00002.safetensors`;
    for (const tensor of writeShard(join(folder, file), whole, (_name, i) => i % 2 === shard)) weight_map[tensor] = file;
  }
  rmSync(whole);
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));
  return folder;
}

describe("a checkpoint in shards", () => {
  const contentOf = (bundle: Bundle, file: string) => Bun.SHA256.hash(readFileSync(join(bundle.directory, file)), "hex");

  test("gives the same files as the whole one", () => {
    const sharded = convertFolder(shardedCopy("shards"), "shards-bundle");
    for (const file of [BUNDLE_FILES.talker, BUNDLE_FILES.predictorGguf, BUNDLE_FILES.tables, BUNDLE_FILES.tokenizer]) {
      expect([file, contentOf(sharded, file)]).toEqual([file, contentOf(bundleOf("tiny-custom"), file)]);
    }
    expect(Object.keys(sharded.manifest.source)).toContain("model-00002-of-00002.safetensors");
    expect(speakOneFrame(sharded).codes).toEqual(speakOneFrame(bundleOf("tiny-custom")).codes);
  });

  test("is refused without one of them", async () => {
    const folder = shardedCopy("shards-missing");
    rmSync(join(folder, "model-00002-of-00002.safetensors"));
    const error = await rejectionOf(convertTo(folder, join(scratchFolder(), "shards-missing-bundle")));
    expect(error).toMatchObject({
      code: "CHECKPOINT_INVALID",
      message: expect.stringContaining("model-00002-of-00002.safetensors: is missing"),
    });
  });

  test("names no file outside its folder", async () => {
    const folder = shardedCopy("shards-outside");
    renameSync(join(folder, "model-00002-of-00002.safetensors"), join(folder, "../outside.safetensors"));
    const index = join(folder, "model.safetensors.index.json");
    writeFileSync(index, readFileSync(index, "utf8").replaceAll("model-00002-of-00002", "../outside"));
    const error = await rejectionOf(convertTo(folder, join(scratchFolder(), "shards-outside-bundle")));
    expect(error).toMatchObject({ code: "CHECKPOINT_INVALID", message: expect.stringContaining("outside") });
  });
});

describe("safetensors", () => {
  const values = Float32Array.of(0, -0, 1.5, -2, 3.25, 65_504, 2 ** -14, -7);
  const asBytes = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const bf16 = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  const tensors: TensorToWrite[] = [
    { name: "empty", dtype: "F32", shape: [0, 3], chunks: () => [] },
    { name: "full", dtype: "F32", shape: [2, 4], chunks: () => [asBytes(values.subarray(0, 3)), asBytes(values.subarray(3))] },
    { name: 'half "quoted" é', dtype: "F16", shape: [8], chunks: () => [asBytes(new Float16Array(values))] },
    { name: "brain", dtype: "BF16", shape: [1, 8, 1], chunks: () => [asBytes(bf16)] },
  ];
  const file = Buffer.concat([safetensorsHeader(tensors), ...tensors.flatMap(({ chunks }) => [...chunks()])]);

  test.each([0, 1, 2, 3])("what is written is read back, from a buffer at offset %i too", (offset) => {
    const moved = new Uint8Array(new ArrayBuffer(file.length + offset)).subarray(offset);
    moved.set(file);
    const read = parseSafetensors(moved, "memory");
    expect([...read.keys()]).toEqual(tensors.map(({ name }) => name));
    for (const { dtype, name, shape } of tensors) expect(read.get(name)).toMatchObject({ dtype, shape });
    expect(Array.from(toFloat32(read.get("full")!))).toEqual(Array.from(values));
    expect(Array.from(toFloat32(read.get('half "quoted" é')!))).toEqual(Array.from(values));
    expect(Array.from(toFloat32(read.get("brain")!))).toEqual(Array.from(values, (value) => (value === 65_504 ? 65_280 : value)));
    expect(toFloat32(read.get("empty")!).length).toBe(0);
  });

  test("tensors of a written file start aligned", () => {
    expect(parseSafetensors(new Uint8Array(file), "memory").get("full")!.offset % 64).toBe(0);
  });
});

interface SpokenFrame {
  hidden: Float32Array;
  logits: Float32Array;
  /** Of code 1, by each predictor backend. */
  predicted: Record<string, Float32Array>;
  codes: number[];
  samples: Float32Array;
}

/** Three prompt rows and one frame through every stage. */
function speakOneFrame(bundle: Bundle): SpokenFrame {
  const options = openOptions(bundle);
  const [talker, vocoder] = [TALKERS[0].open(options), named(VOCODERS, "ort").open(options)];
  const rows = sharedFloats(3 * talker.hidden);
  for (let i = 0; i < rows.length; i++) rows[i] = Math.sin(i * 1.3);
  const [hidden, logits] = [sharedFloats(talker.hidden), sharedFloats(talker.codecVocabulary)];
  talker.prefill(0, rows, 0, 3, hidden, logits);
  const codes = new Int32Array(CODES_PER_FRAME).fill(5);
  const predicted: SpokenFrame["predicted"] = {};
  for (const { name, open } of [named(PREDICTORS, "llama"), named(PREDICTORS, "ort")]) {
    const predictor = open(options);
    predictor.predict(1, hidden, codes, (_row, group, values) => {
      if (group === 1) predicted[name] = values.slice();
      return values.indexOf(Math.max(...values));
    });
    predictor.close();
  }
  const samples = new Float32Array(SAMPLES_PER_FRAME);
  vocoder.reset(0);
  vocoder.decode(0, codes, 1, samples);
  for (const stage of [talker, vocoder]) stage.close();
  return { hidden, logits, predicted, codes: Array.from(codes), samples };
}

describe("every weight type is converted and speaks", () => {
  const cosine = (a: Float32Array, b: Float32Array) => {
    const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i], 0);
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  };
  /** How alike the hidden state and the predictor's logits must stay to those of f32. */
  const LEAST: Record<WeightType, number> = { f32: 1, f16: 0.9999, bf16: 0.9999, q8_0: 0.999, q4_0: 0.9, q4_k_m: 0.9, iq4_nl: 0.9 };
  const cases = ["tiny-base", "starter"].flatMap((checkpoint) => WEIGHT_CHOICES.map((weights) => [checkpoint, weights] as const));

  test.each(cases)("%s as %s", (checkpoint, weights) => {
    const source = bundleOf(checkpoint).manifest;
    const bundle =
      weights === "f32"
        ? bundleOf(checkpoint)
        : convertFolder(copyOfCheckpoint(checkpoint, `${checkpoint}-${weights}`), `${checkpoint}-${weights}-bundle`, weights);
    expect(bundle.manifest).toMatchObject({
      weights: weightTypes(weights),
      shape: source.shape,
      prompt: source.prompt,
      sampling: source.sampling,
    });
    const [spoken, exact] = [speakOneFrame(bundle), speakOneFrame(bundleOf(checkpoint))];
    const likeness = cosine(spoken.hidden, exact.hidden);
    expect(likeness).toBeGreaterThanOrEqual(LEAST[weights] - 1e-6);
    for (const [backend, values] of Object.entries(spoken.predicted)) {
      expect(cosine(values, exact.predicted[backend])).toBeGreaterThanOrEqual(LEAST[weights] - 1e-6);
    }
    expect(spoken.samples.every((sample) => Math.abs(sample) <= 1)).toBe(true);
    expect(spoken.samples.some((sample) => sample !== 0)).toBe(true);
    expect(spoken.codes.every((code) => code >= 0 && code < source.shape.codes)).toBe(true);
    if (weights !== "f32") expect(maxDifference(spoken.logits, exact.logits)).toBeGreaterThan(0); // it is not f32 under another name
  });
});

describe("a conversion", () => {
  test("that is killed leaves no bundle; the next removes what is left of it", async () => {
    const target = join(scratchFolder(), "killed-bundle");
    const source = copyOfCheckpoint("starter", "killed");
    const script = `
      const { convert } = await import(${JSON.stringify(join(ROOT, "src/convert/index.ts"))});
      await convert(${JSON.stringify({ source, target, weights: weightTypes("q8_0"), config: loadConfig({}, {}) })}, () => process.kill(process.pid, "SIGKILL"));`;
    const killed = Bun.spawnSync([process.execPath, "-e", script], { stderr: "pipe" });
    expect(killed.signalCode).toBe("SIGKILL");
    expect(existsSync(target)).toBe(false);
    expect(entriesLike(target).length).toBe(1); // the part folder
    await convertTo(source, target, "q8_0");
    expect(entriesLike(target)).toEqual([basename(target)]);
    expect(openBundle(target).manifest.weights).toEqual(weightTypes("q8_0"));
  });

  test("leaves the part folder of a living process alone", async () => {
    const target = join(scratchFolder(), "shared-bundle");
    const sleeper = Bun.spawn(["sleep", "60"]);
    const theirs = join(scratchFolder(), `.${basename(target)}.part-${sleeper.pid}`);
    writeFileSync(theirs, "");
    try {
      await convertTo(copyOfCheckpoint("tiny-custom", "shared"), target);
      expect(existsSync(theirs)).toBe(true);
    } finally {
      sleeper.kill();
      rmSync(theirs);
    }
  });

  test("replaces an older bundle when it is whole, and leaves it when it fails", async () => {
    const target = join(scratchFolder(), "replaced-bundle");
    const source = copyOfCheckpoint("tiny-custom", "replaced");
    await convertTo(source, target);
    await convertTo(source, target, "bf16");
    expect(openBundle(target).manifest.weights).toEqual(weightTypes("bf16"));
    writeFileSync(join(source, "config.json"), "{}");
    expect((await rejectionOf(convertTo(source, target))).code).toBe("CHECKPOINT_INVALID");
    expect(openBundle(target).manifest.weights).toEqual(weightTypes("bf16"));
    expect(entriesLike(target)).toEqual([basename(target)]);
  });

  test("shares F32 codec weights with the checkpoint by a hard link and copies no other", () => {
    const source = copyOfCheckpoint("tiny-custom", "linked");
    const bundle = convertFolder(source, "linked-bundle");
    const inBundle = statSync(join(bundle.directory, "vocoder.safetensors"));
    const inSource = statSync(join(source, CODEC));
    expect([inBundle.ino, inBundle.nlink]).toEqual([inSource.ino, 2]);
    expect(statSync(join(source, WEIGHTS)).nlink).toBe(1); // BF16: no graph reads it in place
    expect(statSync(join(bundle.directory, "vocoder.onnx.data")).size).toBeLessThan(inSource.size / 2);
    rmSync(source, { recursive: true });
    expect(speakOneFrame(bundle).samples).toEqual(speakOneFrame(bundleOf("tiny-custom")).samples);
  });
});
