// Conversion of the encoders for cloning: Base models get both, others neither; weights that do not fit are
// refused.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ENCODERS } from "../../src/backends/encoder/index.ts";
import { weightTypes } from "../../src/config.ts";
import { runConversion } from "../../src/convert/index.ts";
import { TtsError } from "../../src/errors.ts";
import { BUNDLE_FILES, BUNDLE_VERSION } from "../../src/formats/bundle.ts";
import {
  bundleOf,
  convertFolder,
  copyOfCheckpoint,
  type Damage,
  GoldenFile,
  type Json,
  openOptions,
  scratchFolder,
  setJson,
} from "../_support.ts";

const LIBRARIES = { llama: "", onnxruntime: "" };
const CODEC = "speech_tokenizer/model.safetensors";
const ENCODER_FILES = [BUNDLE_FILES.codecEncoder, BUNDLE_FILES.speakerEncoder]
  .flatMap((name) => [name, `${name}.data`])
  .toSorted();
const golden = () => new GoldenFile("tiny-base/golden/reference.safetensors");

/** Drops tensors from the header of a safetensors file; the bytes stay. */
const dropTensors =
  (file: string, prefix: string): Damage =>
  (folder) => {
    const path = join(folder, file);
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    const header = Object.entries(JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Json);
    const text = Buffer.from(
      JSON.stringify(Object.fromEntries(header.filter(([name]) => !name.startsWith(prefix)))),
    );
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]));
  };

describe("a bundle of a Base model", () => {
  test("has both encoders", () => {
    const { directory, manifest } = bundleOf("tiny-base");
    expect(manifest.version).toBe(BUNDLE_VERSION);
    expect(Object.keys(manifest.files)).toEqual(expect.arrayContaining(ENCODER_FILES));
    expect(readdirSync(directory)).toEqual(expect.arrayContaining(ENCODER_FILES));
  });

  test("keeps the codec's weights when the checkpoint goes", () => {
    const source = copyOfCheckpoint("tiny-base", "encoders-cloned");
    const bundle = convertFolder(source, "encoders-cloned-bundle");
    // BF16: no graph reads it in place
    expect(readdirSync(bundle.directory)).not.toContain("speaker-encoder.safetensors");
    rmSync(source, { recursive: true });
    const encoder = ENCODERS[0].open(openOptions(bundle));
    expect(encoder.codes(golden().floats("audio_24k"))).toEqual(golden().ints("codes"));
    encoder.close();
  });

  test("of another weight type encodes to the bit as an f32 one", () => {
    const [quantized, exact] = [bundleOf("tiny-base", "q8_0"), bundleOf("tiny-base")].map((bundle) =>
      ENCODERS[0].open(openOptions(bundle)),
    );
    const audio = golden().floats("audio_24k");
    expect(quantized.codes(audio)).toEqual(exact.codes(audio));
    expect(quantized.xVector(audio)).toEqual(exact.xVector(audio));
  });

  test("may be made from a configuration that leaves out default values", () => {
    const source = copyOfCheckpoint("tiny-base", "encoders-defaults");
    for (const key of [
      "kernel_size",
      "last_kernel_size",
      "residual_kernel_size",
      "compress",
      "norm_eps",
      "rope_theta",
      "head_dim",
    ]) {
      setJson("speech_tokenizer/config.json", `encoder_config.${key}`, undefined)(source);
    }
    const encoder = ENCODERS[0].open(openOptions(convertFolder(source, "encoders-defaults-bundle")));
    expect(encoder.codes(golden().floats("audio_24k"))).toEqual(golden().ints("codes"));
  });
});

describe("other models", () => {
  test.each(["tiny-custom", "tiny-design", "starter"])("%s has no encoder", (checkpoint) => {
    const { directory, manifest } = bundleOf(checkpoint);
    expect(
      [...Object.keys(manifest.files), ...readdirSync(directory)].filter((name) => name.includes("encoder")),
    ).toEqual([]);
  });

  test("may lack the encoder's weights and configuration", () => {
    const source = copyOfCheckpoint("tiny-custom", "encoders-none");
    dropTensors(CODEC, "encoder.")(source);
    setJson("speech_tokenizer/config.json", "encoder_config", undefined)(source);
    expect(convertFolder(source, "encoders-none-bundle").manifest.prompt.modelType).toBe("custom_voice");
  });
});

const CODEC_CONFIG = "speech_tokenizer/config.json";
/** [what is wrong, how it comes about, what the message must say] */
const HOSTILE: [string, Damage, RegExp][] = [
  [
    "no codec encoder",
    dropTensors(CODEC, "encoder."),
    /tensor encoder\.encoder\.layers\.0\.conv\.weight is missing/,
  ],
  [
    "too few codebooks",
    dropTensors(CODEC, "encoder.quantizer.acoustic_residual_vector_quantizer.layers.14."),
    /layers\.14\.codebook\.embed_sum is missing/,
  ],
  [
    "no speaker encoder",
    dropTensors("model.safetensors", "speaker_encoder."),
    /tensor speaker_encoder\.blocks\.0\.conv\.weight is missing/,
  ],
  [
    "no encoder configuration",
    setJson(CODEC_CONFIG, "encoder_config", undefined),
    /encoder_config is missing, not an object/,
  ],
  [
    "no width",
    setJson(CODEC_CONFIG, "encoder_config.num_filters", undefined),
    /encoder_config\.num_filters is missing, not a/,
  ],
  [
    "another width",
    setJson(CODEC_CONFIG, "encoder_config.num_filters", 8),
    /has shape \[4,1,7\], the config says \[8,1,7\]/,
  ],
  [
    "a broken head width",
    setJson(CODEC_CONFIG, "encoder_config.num_attention_heads", 5),
    /self_attn\.q_proj\.weight has shape \[32,32\]/,
  ],
  [
    "other strides",
    setJson(CODEC_CONFIG, "encoder_config.upsampling_ratios", [8, 5, 5, 4]),
    /takes 1600 samples a frame, not 1920/,
  ],
  [
    "too few layers",
    setJson(CODEC_CONFIG, "encoder_config.num_hidden_layers", 1),
    /has more than the 1 layers/,
  ],
  [
    "another codebook",
    setJson(CODEC_CONFIG, "encoder_config.codebook_size", 128),
    /encoder_config\.codebook_size is 128, the code predictor/,
  ],
  [
    "8 codes per frame",
    setJson(CODEC_CONFIG, "encoder_valid_num_quantizers", 8),
    /encoder_valid_num_quantizers is 8, not 16/,
  ],
  [
    "convolutions that look ahead",
    setJson(CODEC_CONFIG, "encoder_config.use_causal_conv", false),
    /use_causal_conv is false, not true/,
  ],
  [
    "another padding",
    setJson(CODEC_CONFIG, "encoder_config.pad_mode", "reflect"),
    /pad_mode is "reflect", not "constant"/,
  ],
  [
    "a vector of another width",
    setJson("config.json", "speaker_encoder_config.enc_dim", 64),
    /enc_dim is 64, the talker is 96 wide/,
  ],
  [
    "the widths of 0.6B by default",
    setJson("config.json", "speaker_encoder_config", undefined),
    /enc_dim is 1024, the talker is 96 wide/,
  ],
  [
    "uneven blocks",
    setJson("config.json", "speaker_encoder_config.enc_channels", [32, 32, 32, 16, 96]),
    /enc_channels is \[32,32,32,16,96\]/,
  ],
  [
    "a missing kernel",
    setJson("config.json", "speaker_encoder_config.enc_kernel_sizes", [5, 3, 3, 3]),
    /not five kernels/,
  ],
  [
    "another rate",
    setJson("config.json", "speaker_encoder_config.sample_rate", 16_000),
    /sample_rate is 16000, not 24000/,
  ],
];

describe("a Base checkpoint is refused that has", () => {
  test.each(HOSTILE.map((row, i) => [...row, i] as const))("%s", (_what, damage, message, i) => {
    const source = copyOfCheckpoint("tiny-base", `encoders-hostile-${i}`);
    damage(source);
    const target = join(scratchFolder(), `encoders-hostile-bundle-${i}`);
    let error: TtsError | null = null;
    try {
      runConversion({ source, target, part: target, weights: weightTypes("f32"), libraries: LIBRARIES });
    } catch (thrown) {
      error = thrown as TtsError;
    }
    expect(error).toBeInstanceOf(TtsError);
    expect(error!.code).toBe("CHECKPOINT_INVALID");
    expect(error!.message).toMatch(message);
    expect(error!.message).toContain(source);
  });
});
