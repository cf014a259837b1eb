// Hostile checkpoints are refused with a reason, a failed conversion leaves nothing behind, and written
// tensors are read back.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { loadConfig, type WeightType, weightTypes } from "../../src/config.ts";
import { convert, runConversion } from "../../src/convert/index.ts";
import { TtsError } from "../../src/errors.ts";
import {
  parseSafetensors,
  safetensorsHeader,
  type TensorToWrite,
  toFloat32,
} from "../../src/formats/safetensors.ts";
import {
  copyOfCheckpoint,
  type Damage,
  failureOf,
  type Json,
  rejectionOf,
  scratchFolder,
  setJson,
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

/** Changes one entry of a tensor in the header. */
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
  [
    "a truncated weight file",
    (folder) => truncateSync(join(folder, WEIGHTS), 1_000_000),
    /ends at byte \d+ of \d+: the file is truncated/,
  ],
  [
    "a file truncated in its header",
    (folder) => truncateSync(join(folder, CODEC), 1_000),
    /header claims \d+ bytes, the file has 1000/,
  ],
  ["a header of 2^63 bytes", claimLength(WEIGHTS, 2n ** 63n), /header claims \d+ bytes/],
  ["a header shorter than it is", claimLength(WEIGHTS, 100n), /header is not JSON/],
  ["a header that is a list", editHeader(WEIGHTS, () => []), /header is not a JSON object/],
  [
    "a header entry that is null",
    editHeader(WEIGHTS, (header) => ({ ...header, [HEAD]: null })),
    /codec_head\.weight has the unknown type undefined/,
  ],
  ["a tensor of unknown type", setEntry(WEIGHTS, HEAD, "dtype", "F4"), /codec_head\.weight is F4/],
  ["a tensor of a type no weight has", setEntry(WEIGHTS, HEAD, "dtype", "I16"), /codec_head\.weight is I16/],
  ["a negative offset", setEntry(WEIGHTS, HEAD, "data_offsets", [-4, 0]), /broken header entry/],
  [
    "an offset behind the end",
    setEntry(WEIGHTS, HEAD, "data_offsets", [0, 1e12]),
    /ends at byte 1000000000000/,
  ],
  [
    "offsets and shape that disagree",
    setEntry(WEIGHTS, HEAD, "shape", [1280, 65]),
    /its shape \[1280,65\] needs/,
  ],
  ["no talker head", dropTensor(WEIGHTS, HEAD), /tensor talker\.codec_head\.weight is missing/],
  [
    "no predictor head",
    dropTensor(WEIGHTS, "talker.code_predictor.lm_head.14.weight"),
    /lm_head\.14\.weight is missing/,
  ],
  [
    "no codec tensor",
    dropTensor(CODEC, "decoder.decoder.6.conv.bias"),
    /decoder\.decoder\.6\.conv\.bias is missing/,
  ],
  [
    "a turned tensor",
    setEntry(WEIGHTS, HEAD, "shape", [64, 1280]),
    /has shape \[64,1280\], the config says \[1280,64\]/,
  ],
  [
    "NaN in the talker",
    spoilTensor(WEIGHTS, HEAD, ...NAN_BF16),
    /codec_head\.weight is not a number at element 81919/,
  ],
  [
    "infinity in the codec",
    spoilTensor(CODEC, "decoder.decoder.6.conv.weight", ...INFINITE_F32),
    /decoder\.6\.conv\.weight is not a number at element \d+/,
  ],
  ["a config that is not JSON", write("config.json", "{ not json"), /config\.json is not JSON/],
  ["a config that is a list", write("config.json", "[]"), /config\.json: holds no JSON object/],
  [
    "a config without a talker",
    setJson("config.json", "talker_config", undefined),
    /talker_config is missing, not an object/,
  ],
  ["another model type", setJson("config.json", "tts_model_type", "music"), /tts_model_type is "music"/],
  [
    "8 codes per frame",
    setJson("config.json", "talker_config.num_code_groups", 8),
    /num_code_groups is not 16/,
  ],
  [
    "a negative width",
    setJson("config.json", "talker_config.hidden_size", -64),
    /talker_config\.hidden_size is -64, not a/,
  ],
  [
    "a broken width",
    setJson("config.json", "talker_config.hidden_size", 64.5),
    /hidden_size is 64\.5, not a/,
  ],
  ["a width in words", setJson("config.json", "talker_config.head_dim", "32"), /head_dim is "32", not a/],
  [
    "another width",
    setJson("config.json", "talker_config.hidden_size", 128),
    /has shape \[1280,64\], the config says \[1280,128\]/,
  ],
  [
    "no layers",
    setJson("config.json", "talker_config.num_hidden_layers", 0),
    /num_hidden_layers is 0, not a/,
  ],
  [
    "too many layers",
    setJson("config.json", "talker_config.num_hidden_layers", 4),
    /layers\.3\.input_layernorm\.weight is missing/,
  ],
  [
    "too few layers",
    setJson("config.json", "talker_config.num_hidden_layers", 2),
    /has more than the 2 layers/,
  ],
  [
    "too few predictor layers",
    setJson("config.json", "talker_config.code_predictor_config.num_hidden_layers", 1),
    /has more than the 1 layers/,
  ],
  [
    "a negative codec window",
    setJson("speech_tokenizer/config.json", "decoder_config.sliding_window", -1),
    /sliding_window is -1, not a/,
  ],
  [
    "a codec without upsampling",
    setJson("speech_tokenizer/config.json", "decoder_config.upsample_rates", []),
    /1920 samples/,
  ],
  [
    "a codec of another codebook",
    setJson("speech_tokenizer/config.json", "decoder_config.codebook_size", 128),
    /codebook_size is 128/,
  ],
  ["a vocabulary that is a list", write("vocab.json", "[]"), /vocab\.json: holds no JSON object/],
  ["a token id of 4 billion", setJson("vocab.json", "zzz", 4_000_000_000), /"zzz" has the id 4000000000/],
  ["a negative token id", setJson("vocab.json", "zzz", -1), /"zzz" has the id -1/],
  ["a token without an id", setJson("vocab.json", "zzz", "one"), /"zzz" has the id "one"/],
  [
    "a merge of a piece that is none",
    write("merges.txt", "a s\nzz s\n"),
    /merges\.txt: the merge "zz s" does/,
  ],
  ["a merge that gives no piece", write("merges.txt", "z z\n"), /the merge "z z" does not join two pieces/],
  ["a merge of one piece", write("merges.txt", "as\n"), /the merge "as" does/],
  ["a merge of three", write("merges.txt", "a s s\n"), /the merge "a s s" does/],
  [
    "more merges than any model",
    write("merges.txt", "a s\n".repeat(2 ** 20 + 1)),
    /lists 1048577 merges, more than 1048576/,
  ],
  [
    "an added token that is a piece of another id",
    setJson("tokenizer_config.json", "added_tokens_decoder.1010", { content: "a" }),
    /tokenizer_config\.json: "a" is there twice, with the ids 97 and 1010/,
  ],
  [
    "an added token twice",
    setJson("tokenizer_config.json", "added_tokens_decoder.1010", { content: "<|im_start|>" }),
    /"<\|im_start\|>" is there twice, with the ids 1000 and 1010/,
  ],
  [
    "an added token out of range",
    setJson("tokenizer_config.json", "added_tokens_decoder.99999999", { content: "<x>" }),
    /has the id 99999999/,
  ],
  [
    "a codec id in words",
    setJson("config.json", "talker_config.spk_id.ryan", "first"),
    /spk_id\.ryan is "first", not a/,
  ],
  [
    "a codec id without a row",
    setJson("config.json", "talker_config.spk_id.ryan", 1280),
    /spk_id\.ryan is 1280/,
  ],
  [
    "a dialect that is no language",
    setJson("config.json", "talker_config.spk_is_dialect.eric", "klingon"),
    /gives eric "klingon"/,
  ],
  ["a text id without a row", setJson("config.json", "tts_pad_token_id", 1024), /tts_pad_token_id is 1024/],
];

/** Converts as the program does, in a worker. */
const convertTo = (source: string, target: string, weights: WeightType = "f32") =>
  convert({ source, target, weights: weightTypes(weights), config: loadConfig({}, {}) }, () => {});
const entriesLike = (target: string) =>
  readdirSync(dirname(target)).filter((name) => name.includes(basename(target)));

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
  ])("%s: the worker's error arrives complete and nothing is left behind", async (_when, file, text) => {
    const source = copyOfCheckpoint("tiny-custom", `refused-${file}`);
    writeFileSync(join(source, file), text);
    const target = join(scratchFolder(), `refused-${file}-bundle`);
    const error = await rejectionOf(convertTo(source, target));
    expect(error).toBeInstanceOf(TtsError);
    expect(error).toMatchObject({
      code: "CHECKPOINT_INVALID",
      message: expect.stringContaining(join(source, file)),
    });
    expect(error.hint).not.toBe("");
    expect(entriesLike(target)).toEqual([]);
  });
});

describe("safetensors", () => {
  const values = Float32Array.of(0, -0, 1.5, -2, 3.25, 65_504, 2 ** -14, -7);
  const asBytes = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const bf16 = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  const tensors: TensorToWrite[] = [
    { name: "empty", dtype: "F32", shape: [0, 3], chunks: () => [] },
    {
      name: "full",
      dtype: "F32",
      shape: [2, 4],
      chunks: () => [asBytes(values.subarray(0, 3)), asBytes(values.subarray(3))],
    },
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
    expect(Array.from(toFloat32(read.get("brain")!))).toEqual(
      Array.from(values, (value) => (value === 65_504 ? 65_280 : value)),
    );
    expect(toFloat32(read.get("empty")!).length).toBe(0);
  });

  test("tensors of a written file start aligned", () => {
    expect(parseSafetensors(new Uint8Array(file), "memory").get("full")!.offset % 64).toBe(0);
  });
});
