// Checkpoints as other programs write them: each gives the bundle of the official layout, or is refused by
// name.

import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { loadConfig, type WeightType, weightTypes } from "../../src/config.ts";
import { convert } from "../../src/convert/index.ts";
import { BUNDLE_FILES, type Bundle } from "../../src/formats/bundle.ts";
import { parseSafetensors, type Tensor } from "../../src/formats/safetensors.ts";
import { CODES_PER_FRAME } from "../../src/types.ts";
import {
  bundleNamed,
  bundleOf,
  convertFolder,
  copyOfCheckpoint,
  type Damage,
  type Json,
  named,
  openOptions,
  rejectionOf,
  scratchFolder,
  setJson,
  sharedFloats,
  tokenizerOf,
} from "../_support.ts";

const WEIGHTS = "model.safetensors";
const CODEC = "speech_tokenizer/model.safetensors";
const Q_PROJ = "talker.code_predictor.model.layers.0.self_attn.q_proj.weight";

type Part = Pick<Tensor, "name" | "dtype" | "shape" | "bytes">;
const tensorsIn = (path: string) => [...parseSafetensors(new Uint8Array(readFileSync(path)), path).values()];

function writeTensors(path: string, tensors: readonly Part[]): void {
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    at += bytes.length;
    return [name, { dtype, shape, data_offsets: [at - bytes.length, at] }] as const;
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, Buffer.concat([size, header, ...tensors.map(({ bytes }) => bytes)]));
}

const editTensors =
  (edit: (tensors: Part[]) => Part[]): Damage =>
  (folder) =>
    writeTensors(join(folder, WEIGHTS), edit(tensorsIn(join(folder, WEIGHTS))));
const withTensors = (...more: Part[]) => editTensors((tensors) => [...tensors, ...more]);
const retyped = (name: string, dtype: string) =>
  editTensors((tensors) => tensors.map((tensor) => (tensor.name === name ? { ...tensor, dtype } : tensor)));
const bytes = (count: number) => new Uint8Array(count);

const editJson = (folder: string, file: string, edit: (json: Json) => void) => {
  const json = JSON.parse(readFileSync(join(folder, file), "utf8")) as Json;
  edit(json);
  writeFileSync(join(folder, file), JSON.stringify(json));
};
/** Moves theta of talker and predictor to where `place` puts it. */
const moveTheta =
  (place: (part: Json, theta: unknown) => void): Damage =>
  (folder) =>
    editJson(folder, "config.json", ({ talker_config }) => {
      const talker = talker_config as Json;
      for (const part of [talker, talker.code_predictor_config as Json]) {
        const theta = part.rope_theta;
        delete part.rope_theta;
        place(part, theta);
      }
    });

/** Puts every tensor into the file that `place` names, and writes an index. */
const shards =
  (place: (i: number) => string, indexName = "model.safetensors.index.json"): Damage =>
  (folder) => {
    const tensors = tensorsIn(join(folder, WEIGHTS));
    rmSync(join(folder, WEIGHTS));
    const weight_map = Object.fromEntries(tensors.map(({ name }, i) => [name, place(i)]));
    for (const file of new Set(Object.values(weight_map))) {
      writeTensors(
        join(folder, file),
        tensors.filter(({ name }) => weight_map[name] === file),
      );
    }
    writeFileSync(join(folder, indexName), JSON.stringify({ metadata: {}, weight_map }));
  };
const withoutIndex: Damage = (folder) => rmSync(join(folder, "model.safetensors.index.json"));
const renamed =
  (from: string, to: string): Damage =>
  (folder) =>
    renameSync(join(folder, from), join(folder, to));

/** The tokenizer as transformers 5 saves it: one file. */
const wholeTokenizer =
  (mergeOf: (line: string) => unknown, type = "BPE"): Damage =>
  (folder) => {
    const read = (name: string) => readFileSync(join(folder, name), "utf8");
    const added = JSON.parse(read("tokenizer_config.json")).added_tokens_decoder as Record<string, Json>;
    const merges = read("merges.txt")
      .split("\n")
      .filter((line) => line !== "")
      .map(mergeOf);
    const added_tokens = Object.entries(added).map(([id, token]) => ({ id: Number(id), ...token }));
    const model = { type, vocab: JSON.parse(read("vocab.json")), merges };
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ version: "1.0", added_tokens, model }));
    for (const name of ["vocab.json", "merges.txt"]) rmSync(join(folder, name));
    setJson("tokenizer_config.json", "added_tokens_decoder", undefined)(folder);
  };
const all =
  (...damages: Damage[]): Damage =>
  (folder) => {
    for (const damage of damages) damage(folder);
  };
/** As an editor of Windows saves text files. */
const windows: Damage = (folder) => {
  const texts = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    /\.(json|txt)$/.test(name),
  );
  for (const name of texts) {
    const path = join(folder, name);
    writeFileSync(path, `\uFEFF${readFileSync(path, "utf8").replaceAll("\n", "\r\n")}`);
  }
};

const SAME: [string, Damage][] = [
  [
    "theta in rope_parameters",
    moveTheta((part, theta) => {
      part.rope_parameters = {
        ...((part.rope_scaling as Json) ?? { rope_type: "default" }),
        rope_theta: theta,
      };
      delete part.rope_scaling;
    }),
  ],
  [
    "theta beside rope_parameters",
    moveTheta((part, theta) => {
      Object.assign(part, { rope_theta: theta, rope_parameters: { rope_type: "default" } });
    }),
  ],
  [
    "theta by layer type",
    moveTheta((part, theta) => {
      part.rope_parameters = {
        full_attention: { rope_type: "default", rope_theta: theta },
        sliding_attention: { rope_type: "default", rope_theta: 5 },
      };
      part.layer_types = ["full_attention", "full_attention"];
    }),
  ],
  [
    "theta by one layer type",
    moveTheta((part, theta) => {
      part.rope_parameters = {
        full_attention: { rope_type: "mrope", mrope_section: [6, 5, 5], rope_theta: theta },
      };
    }),
  ],
  ["lines that end as on Windows", windows],
  ["no generation_config.json", (folder) => rmSync(join(folder, "generation_config.json"))],
  [
    "unused tensors of types that no weight has",
    withTensors(
      { name: "train.counter", dtype: "U32", shape: [2], bytes: bytes(8) },
      { name: "train.eighth", dtype: "F8_E4M3FNUZ", shape: [3], bytes: bytes(3) },
      { name: "train.quarter", dtype: "F4", shape: [8], bytes: bytes(4) },
      { name: "train.complex", dtype: "C64", shape: [], bytes: bytes(8) },
    ),
  ],
  ["shards of other names", shards((i) => `model.safetensors-0000${(i % 2) + 1}-of-00002.safetensors`)],
  ["shards in sub-folders", shards((i) => `parts/${i % 3}/weights.bin`)],
  ["an index of another name", shards((i) => `./part-${i % 2}`, "talker.safetensors.index.json")],
  [
    "one file of another name",
    all(
      renamed(WEIGHTS, "weights.safetensors"),
      renamed(CODEC, "speech_tokenizer/model-00001-of-00001.safetensors"),
    ),
  ],
  [
    "numbered shards without an index",
    all(
      shards((i) => `model-0000${(i % 2) + 1}-of-00002.safetensors`),
      withoutIndex,
    ),
  ],
  ["tokenizer.json alone, merges as lines", wholeTokenizer((line) => line)],
  ["tokenizer.json alone, merges as pairs", wholeTokenizer((line) => line.split(" "))],
  [
    "added tokens in added_tokens.json",
    (folder) => {
      const path = join(folder, "tokenizer_config.json");
      const added = JSON.parse(readFileSync(path, "utf8")).added_tokens_decoder as Record<string, Json>;
      const ids = Object.entries(added).map(([id, { content }]) => [content, Number(id)]);
      writeFileSync(join(folder, "added_tokens.json"), JSON.stringify(Object.fromEntries(ids)));
      rmSync(path);
    },
  ],
];

const BUILT = [BUNDLE_FILES.talker, BUNDLE_FILES.predictorGguf, BUNDLE_FILES.tables, BUNDLE_FILES.tokenizer];
const sumsOf = ({ directory }: Bundle) =>
  BUILT.map((file) => [file, Bun.SHA256.hash(readFileSync(join(directory, file)), "hex")]);

describe("the same bundle comes of a checkpoint with", () => {
  test.each(SAME.map((row, i) => [...row, i] as const))("%s", (_what, damage, i) => {
    const source = copyOfCheckpoint("tiny-custom", `variant-${i}`);
    damage(source);
    const bundle = convertFolder(source, `variant-bundle-${i}`);
    expect(sumsOf(bundle)).toEqual(sumsOf(bundleOf("tiny-custom")));
    expect(bundle.manifest.prompt).toEqual(bundleOf("tiny-custom").manifest.prompt);
  });

  test("no list of added tokens: config.json knows those of a prompt", () => {
    const source = copyOfCheckpoint("tiny-custom", "no-added");
    setJson("tokenizer_config.json", "added_tokens_decoder", undefined)(source);
    const bundle = convertFolder(source, "no-added-bundle");
    const [ours, official] = [bundle, bundleOf("tiny-custom")].map(tokenizerOf);
    const text = "<|im_start|>assistant\nThe thing.<|im_end|><tts_pad>";
    expect(ours.encode(text)).toEqual(official.encode(text));
  });
});

/** An index that places one tensor elsewhere. */
const misplaced = (place: unknown) =>
  all(
    shards(() => "all.safetensors"),
    (folder) =>
      editJson(folder, "model.safetensors.index.json", ({ weight_map }) => {
        (weight_map as Json)[Q_PROJ] = place;
      }),
  );
const halved = editTensors((tensors) =>
  tensors.map((tensor) =>
    tensor.name === Q_PROJ
      ? { ...tensor, dtype: "F8_E4M3", bytes: tensor.bytes.slice(tensor.bytes.length / 2) }
      : tensor,
  ),
);
const scales = { name: Q_PROJ.replace(".weight", ".scales"), dtype: "BF16", shape: [1], bytes: bytes(2) };

/** [what, how it comes about, what message and hint say] */
const REFUSED: [string, Damage, RegExp][] = [
  ["packed by MLX", setJson("config.json", "quantization", { bits: 8 }), /MLX/],
  ["packed by a newer MLX", setJson("config.json", "quantization_config", { bits: 4 }), /MLX/],
  [
    "packed by another program",
    setJson("config.json", "quantization_config", { quant_method: "awq" }),
    /awq/,
  ],
  [
    "packed, which no config says",
    all(retyped(Q_PROJ, "U32"), withTensors(scales)),
    /q_proj\.weight is U32; MLX/,
  ],
  ["of 8 bits", halved, /q_proj\.weight is F8_E4M3; weights must be F32, F16, BF16/],
  [
    "outside",
    misplaced("../outside.safetensors"),
    /q_proj\.weight is in "\.\.\/outside\.safetensors", which is no file of/,
  ],
  ["outside by a detour", misplaced("a/../../outside.safetensors"), /no file of the checkpoint/],
  ["at an absolute path", misplaced("/etc/passwd"), /"\/etc\/passwd", which is no file of/],
  ["in no file", misplaced(1), /is in 1, which is no file of/],
  ["in a file that is gone", misplaced("b.safetensors"), /b\.safetensors: is missing/],
  [
    "in several files without an index",
    (folder) => {
      for (const name of ["a", "b"]) writeTensors(join(folder, `${name}.safetensors`), []);
      rmSync(join(folder, WEIGHTS));
    },
    /model\.safetensors: is missing/,
  ],
  [
    "in numbered shards, one of them gone",
    all(
      shards((i) => `model-0000${(i % 2) + 1}-of-00002.safetensors`),
      withoutIndex,
      (folder) => rmSync(join(folder, "model-00001-of-00002.safetensors")),
    ),
    /model-00001-of-00002\.safetensors: is missing/,
  ],
  ["with another kind of tokenizer", wholeTokenizer((line) => line, "Unigram"), /model\.type is "Unigram"/],
  [
    "with a merge of three",
    wholeTokenizer((line) => [...line.split(" "), "x"]),
    /model\.merges\.0 is \["a","s","x"\]/,
  ],
  [
    "with stretched positions",
    moveTheta((part, theta) => {
      part.rope_parameters = { rope_type: "yarn", rope_theta: theta };
    }),
    /rope_type is "yarn"/,
  ],
  [
    "with a theta for each layer type",
    moveTheta((part, theta) => {
      part.rope_parameters = { full_attention: { rope_theta: theta }, sliding_attention: { rope_theta: 1 } };
    }),
    /several rope_theta: 1000000, 1/,
  ],
  [
    "without theta",
    moveTheta((part) => {
      part.rope_parameters = { rope_type: "default" };
    }),
    /rope_parameters\.rope_theta is missing/,
  ],
];

test.each(REFUSED.map((row, i) => [...row, i] as const))("refused: %s", async (_what, damage, said, i) => {
  const source = copyOfCheckpoint("tiny-custom", `refused-variant-${i}`);
  damage(source);
  const target = join(scratchFolder(), `refused-variant-bundle-${i}`);
  const error = await rejectionOf(
    convert({ source, target, weights: weightTypes("f32"), config: loadConfig({}, {}) }, () => {}),
  );
  expect(error.code).toBe("CHECKPOINT_INVALID");
  expect(`${error.message}; ${error.hint}`).toMatch(said);
});

describe("a predictor whose activations pass 65,504", () => {
  /** Multiplies one matrix of a layer by 2^power and divides the one behind it: the function stays. */
  const scaled = (before: string, behind: string, power: number) =>
    editTensors((tensors) =>
      tensors.map((tensor) => {
        const isPredictor = tensor.name.startsWith("talker.code_predictor.model.layers.");
        const by = tensor.name.includes(before) ? power : tensor.name.includes(behind) ? -power : 0;
        return isPredictor && by !== 0 ? { ...tensor, bytes: timesPowerOfTwo(tensor.bytes, by) } : tensor;
      }),
    );

  /** bf16 values; a power of two only moves the exponent. */
  function timesPowerOfTwo(values: Uint8Array, power: number): Uint8Array {
    const moved = Uint16Array.from(new Uint16Array(values.slice().buffer), (bits) =>
      (bits & 0x7fff) === 0 ? bits : bits + (power << 7),
    );
    return new Uint8Array(moved.buffer);
  }

  function predict(bundle: Bundle): { codes: number[]; logits: number[] } {
    const predictor = named(PREDICTORS, "llama").open(openOptions(bundle));
    const hidden = sharedFloats(bundle.manifest.shape.hidden);
    for (let i = 0; i < hidden.length; i++) hidden[i] = Math.sin(i * 1.3);
    const codes = new Int32Array(CODES_PER_FRAME).fill(5);
    const logits: number[] = [];
    predictor.predict(1, hidden, codes, (_row, _group, values) => {
      logits.push(...values);
      return values.indexOf(Math.max(...values));
    });
    predictor.close();
    return { codes: [...codes], logits };
  }

  const plain = (weights: WeightType) =>
    weights === "f32"
      ? bundleOf("tiny-custom")
      : bundleNamed(`tiny-custom-${weights}`, copyOfCheckpoint("tiny-custom", `plain-${weights}`), weights);

  test.each<[string, string, string, number, WeightType]>([
    ["the feed-forward product", "up_proj", "down_proj", 16, "f16"],
    ["weights that f16 cannot hold", "up_proj", "down_proj", 20, "f16"],
    ["the attention's values", "v_proj", "o_proj", 16, "f16"],
    ["the feed-forward product", "up_proj", "down_proj", 16, "bf16"],
    ["the attention's values", "v_proj", "o_proj", 16, "bf16"],
  ])(
    "gives the codes of f32: %s (%s * 2^n, %s / 2^n, n = %d, %s)",
    (_what, before, behind, power, weights) => {
      const name = `scaled-${before}-${power}-${weights}`;
      const source = copyOfCheckpoint("tiny-custom", name);
      scaled(before, behind, power)(source);
      const spoken = predict(convertFolder(source, `${name}-bundle`, weights));
      expect(spoken.logits.every(Number.isFinite)).toBe(true);
      expect(spoken.codes).toEqual(predict(plain("f32")).codes);
      // up to what f16 can hold, scaling by a power of two changes no bit
      if (power === 16) expect(spoken.logits).toEqual(predict(plain(weights)).logits);
    },
  );
});
