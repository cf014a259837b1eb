// Damaged tables of the tokenizer: refused when the file is opened, or when a text meets the damage.

import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TtsError } from "../../src/errors.ts";
import { BUNDLE_FILES, type Bundle } from "../../src/formats/bundle.ts";
import { parseSafetensors, safetensorsHeader, type TensorToWrite } from "../../src/formats/safetensors.ts";
import { openTokenizer } from "../../src/text/tokenizer.ts";
import { bundleOf, scratchFolder } from "../_support.ts";

const { directory, manifest } = bundleOf("starter");
const BYTES = readFileSync(join(directory, BUNDLE_FILES.tokenizer));
/** It has all bytes of English IPA, so that it meets every merge of the starter voice. */
const TEXT = readFileSync(join(directory, BUNDLE_FILES.lexicon), "utf8").slice(0, 20_000);

let folders = 0;
/** Something of a bundle: its tokenizer alone. */
function bundleWith(bytes: Uint8Array): Bundle {
  const folder = join(scratchFolder(), `tokenizer-${folders++}`);
  mkdirSync(folder);
  writeFileSync(join(folder, BUNDLE_FILES.tokenizer), bytes);
  return { directory: folder, manifest };
}

type Tables = Map<string, { shape: number[]; values: Int32Array; dtype: TensorToWrite["dtype"] }>;

/** The starter's tokenizer with other tables. */
function edited(edit: (tables: Tables) => unknown): Bundle {
  const tables: Tables = new Map();
  for (const [name, { bytes, shape }] of parseSafetensors(new Uint8Array(BYTES), ""))
    tables.set(name, { dtype: "I32", shape, values: new Int32Array(new Uint8Array(bytes).buffer) });
  edit(tables);
  const tensors = [...tables].map(([name, { dtype, shape, values }]): TensorToWrite => {
    return { name, dtype, shape, chunks: () => [new Uint8Array(values.buffer)] };
  });
  const chunks = tensors.flatMap((tensor) => [...tensor.chunks()]);
  return bundleWith(Buffer.concat([safetensorsHeader(tensors), ...chunks]));
}

const fill = (name: string, value: number) => (tables: Tables) => tables.get(name)!.values.fill(value);

test.each<[string, (tables: Tables) => unknown, RegExp]>([
  ["no ranks", (tables) => tables.delete("ranks"), /table merges is I32 \[\d+,2\], not I32 \[0,2\]/],
  ["no bytes", (tables) => tables.delete("bytes"), /table bytes is undefined \[undefined\], not I32 \[256\]/],
  ["floats", (tables) => (tables.get("results")!.dtype = "F32"), /table results is F32/],
  [
    "pairs in a row",
    (tables) => (tables.get("merges")!.shape = [tables.get("merges")!.values.length]),
    /table merges is I32 \[\d+\], not I32 \[\d+,2\]/,
  ],
  ["a byte below all ids", fill("bytes", -2), /a byte has the id -2 of \d+$/],
  ["a byte beyond all ids", fill("bytes", 2 ** 20), /a byte has the id 1048576 of \d+$/],
  ["results below all ids", fill("results", -1), /merge \d+ has the rank \d+ and the id -1$/],
  ["results beyond all ids", fill("results", 2 ** 31 - 1), /has the rank \d+ and the id 2147483647$/],
  ["ranks below 0", fill("ranks", -(2 ** 31)), /merge \d+ has the rank -2147483648 and the id \d+$/],
  ["ranks beyond all", fill("ranks", 2 ** 20), /merge \d+ has the rank 1048576 and the id \d+$/],
])("%s are refused", (_what, edit, message) => {
  const bundle = edited(edit);
  expect(() => openTokenizer(bundle).encode(TEXT)).toThrow(
    expect.objectContaining({
      code: "BUNDLE_INVALID",
      message: expect.stringMatching(message),
      hint: "make it again from its checkpoint: tts convert DIR -o BUNDLE",
    }),
  );
});

test("tables at an odd byte are refused", () => {
  const header = BYTES.subarray(8, 8 + Number(BYTES.readBigUInt64LE())).toString();
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length + 1));
  const bundle = bundleWith(
    Buffer.concat([size, Buffer.from(`${header} `), BYTES.subarray(8 + header.length)]),
  );
  expect(() => openTokenizer(bundle)).toThrow(/table bytes lies at the odd byte \d+$/);
});

test("a file without merges gives bytes", () => {
  const bundle = edited((tables) => {
    for (const [name, shape] of [
      ["merges", [0, 2]],
      ["ranks", [0]],
      ["results", [0]],
    ] as const)
      tables.set(name, { dtype: "I32", shape: [...shape], values: new Int32Array(0) });
  });
  const tokenizer = openTokenizer(bundle);
  expect(tokenizer.encode(TEXT).length).toBe(Buffer.byteLength(TEXT));
  tokenizer.close();
});

test("any other damage is refused or gives ids of the vocabulary, and always ends", () => {
  let state = 1;
  const below = (count: number) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % count;
  };
  for (let round = 0; round < 200; round++) {
    const damaged = new Uint8Array(BYTES);
    for (let i = 0; i <= round / 10; i++) damaged[below(damaged.length)] = below(256);
    try {
      const tokenizer = openTokenizer(bundleWith(damaged));
      const ids = tokenizer.encode(TEXT.slice(0, 2_000));
      expect(ids.every((id) => id >= 0 && id < manifest.shape.textVocabulary)).toBe(true);
      tokenizer.close();
    } catch (error) {
      expect((error as TtsError).code).toBe("BUNDLE_INVALID");
    }
  }
});
