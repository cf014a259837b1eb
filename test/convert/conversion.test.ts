// Conversions of checkpoints in shards, to every weight type, interrupted, repeated, and beside other
// conversions.

import { describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { PREDICTORS } from "../../src/backends/predictor/index.ts";
import { TALKERS } from "../../src/backends/talker/index.ts";
import { VOCODERS } from "../../src/backends/vocoder/index.ts";
import { loadConfig, WEIGHT_CHOICES, type WeightType, weightTypes } from "../../src/config.ts";
import { convert } from "../../src/convert/index.ts";
import { open } from "../../src/engine.ts";
import { BUNDLE_FILES, type Bundle, damageOf, FORMS, formsOf, openBundle } from "../../src/formats/bundle.ts";
import {
  parseSafetensors,
  safetensorsHeader,
  type TensorToWrite,
  toFloat32,
} from "../../src/formats/safetensors.ts";
import { CODES_PER_FRAME, SAMPLES_PER_FRAME } from "../../src/types.ts";
import {
  bundleNamed,
  bundleOf,
  checkpointFolder,
  convertFolder,
  copyOfCheckpoint,
  maxDifference,
  named,
  openOptions,
  ROOT,
  rejectionOf,
  STARTER,
  scratchFolder,
  sharedFloats,
} from "../_support.ts";

const WEIGHTS = "model.safetensors";
const CODEC = "speech_tokenizer/model.safetensors";

/** Converts as the program does, in a worker. */
const convertTo = (source: string, target: string, weights: WeightType = "f32") =>
  convert({ source, target, weights: weightTypes(weights), config: loadConfig({}, {}) }, () => {});
/** Files of the other form. */
const TALKER_OTHERS = { llama: FORMS.talker.ort.files, ort: FORMS.talker.llama.files };
const PREDICTOR_OTHERS = { llama: FORMS.predictor.ort.files, ort: FORMS.predictor.llama.files };
const entriesLike = (target: string) =>
  readdirSync(dirname(target)).filter((name) => name.includes(basename(target)));

/** Writes the chosen tensors of a safetensors file to a file of their own. */
function writeShard(path: string, source: string, pick: (name: string, index: number) => boolean): string[] {
  const tensors = [...parseSafetensors(new Uint8Array(readFileSync(source)), source).values()].filter(
    ({ name }, i) => pick(name, i),
  );
  const toWrite = tensors.map(
    ({ bytes, dtype, name, shape }): TensorToWrite => ({
      name,
      dtype: dtype as "BF16",
      shape,
      chunks: () => [bytes],
    }),
  );
  writeFileSync(
    path,
    Buffer.concat([safetensorsHeader(toWrite), ...toWrite.flatMap(({ chunks }) => [...chunks()])]),
  );
  return tensors.map(({ name }) => name);
}

function shardedCopy(name: string): string {
  const folder = copyOfCheckpoint("tiny-custom", name);
  const whole = join(folder, WEIGHTS);
  const weight_map: Record<string, string> = {};
  for (const shard of [0, 1]) {
    const file = `model-0000${shard + 1}-of-00002.safetensors`;
    for (const tensor of writeShard(join(folder, file), whole, (_name, i) => i % 2 === shard))
      weight_map[tensor] = file;
  }
  rmSync(whole);
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));
  return folder;
}

describe("a checkpoint in shards", () => {
  const contentOf = (bundle: Bundle, file: string) =>
    Bun.SHA256.hash(readFileSync(join(bundle.directory, file)), "hex");

  test("gives the same files as the whole one", () => {
    const sharded = convertFolder(shardedCopy("shards"), "shards-bundle");
    for (const file of [
      BUNDLE_FILES.talker,
      BUNDLE_FILES.predictorGguf,
      BUNDLE_FILES.tables,
      BUNDLE_FILES.tokenizer,
    ]) {
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

interface SpokenFrame {
  hidden: Float32Array;
  logits: Float32Array;
  /** Logits of code 1 by predictor backend. */
  predicted: Record<string, Float32Array>;
  codes: number[];
  samples: Float32Array;
}

/** Sends three prompt rows and one frame through every stage. */
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
  /** Least cosine similarity of the hidden state and the predictor's logits to those of f32. */
  const LEAST: Record<WeightType, number> = {
    f32: 1,
    f16: 0.9999,
    bf16: 0.9999,
    q8_0: 0.999,
    q4_0: 0.9,
    q4_k_m: 0.9,
    iq4_nl: 0.9,
  };
  /** Where the rows have another width, these mix other types. */
  const onBoth: readonly WeightType[] = ["q4_k_m"];
  const rounded: readonly WeightType[] = ["f32", "f16", "bf16"];
  const cases = WEIGHT_CHOICES.flatMap((weights) => {
    const checkpoint = rounded.includes(weights) ? "tiny-base" : "starter";
    return (onBoth.includes(weights) ? ["tiny-base", "starter"] : [checkpoint]).map(
      (name) => [name, weights] as const,
    );
  });

  test.each(cases)("%s as %s", (checkpoint, weights) => {
    const source = bundleOf(checkpoint).manifest;
    const bundle = bundleNamed(`${checkpoint}-${weights}`, checkpointFolder(checkpoint), weights);
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
    // the weights are not f32 under another name
    if (weights !== "f32") expect(maxDifference(spoken.logits, exact.logits)).toBeGreaterThan(0);
  });
});

describe("a conversion", () => {
  test("that is killed leaves no bundle; the next conversion removes its remains", async () => {
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

  test.each([
    ["llama", "ort"],
    ["ort", "llama"],
  ] as const)("makes the forms that are named alone: talker %s, predictor %s", async (talker, predictor) => {
    const target = join(scratchFolder(), `forms-${talker}-${predictor}`);
    const forms = { talker, predictor };
    const config = loadConfig({}, {});
    await convert({ source: STARTER, target, weights: weightTypes("q8_0"), forms, config }, () => {});
    const bundle = openBundle(target);
    const { files, predictorMs, talkerMs } = bundle.manifest;
    expect([formsOf({ files }, "talker"), formsOf({ files }, "predictor")]).toEqual([[talker], [predictor]]);
    expect([Object.keys(talkerMs), Object.keys(predictorMs)]).toEqual([[talker], [predictor]]);
    const others = [TALKER_OTHERS[talker], PREDICTOR_OTHERS[predictor]];
    for (const name of readdirSync(target)) for (const other of others) expect(name).not.toMatch(other);
    await using engine = await open({ model: target });
    expect(engine.backends).toMatchObject(forms);
    const other = talker === "ort" ? "llama" : "ort";
    expect((await rejectionOf(open({ model: target, talker: other }))).code).toBe("MODEL_UNSUITABLE");
  });

  test("links no file to the checkpoint, and the vocoder has all its weights in one file", () => {
    const source = copyOfCheckpoint("tiny-custom", "cloned");
    linkSync(join(source, CODEC), join(source, "another-name")); // as a copy made with cp -al has
    const bundle = convertFolder(source, "cloned-bundle");
    const links = readdirSync(bundle.directory).map((name) => statSync(join(bundle.directory, name)).nlink);
    expect(links).toEqual(links.map(() => 1));
    expect(statSync(join(source, CODEC)).nlink).toBe(2);
    expect(readdirSync(bundle.directory).filter((name) => name.startsWith("vocoder"))).toEqual([
      "vocoder.onnx",
      "vocoder.onnx.data",
    ]);
    rmSync(source, { recursive: true });
    expect(speakOneFrame(bundle).samples).toEqual(speakOneFrame(bundleOf("tiny-custom")).samples);
  });

  test.each(["tiny-custom", "starter"])("a bundle of %s speaks from hard links", (checkpoint) => {
    const [copied, linked] = ["copied", "cp-al"].map((name) =>
      join(scratchFolder(), `${checkpoint}-${name}`),
    );
    // others watch the dates of the bundle itself, and a link changes one of them
    cpSync(bundleOf(checkpoint).directory, copied, { recursive: true });
    mkdirSync(linked);
    for (const name of readdirSync(copied)) linkSync(join(copied, name), join(linked, name));
    expect(speakOneFrame(openBundle(linked))).toEqual(speakOneFrame(bundleOf(checkpoint)));
    for (const folder of [copied, linked]) rmSync(folder, { recursive: true });
  });

  test("of a checkpoint in F32 with hard links gives what the BF16 one gives", () => {
    const source = copyOfCheckpoint("tiny-custom", "float32");
    const path = join(source, WEIGHTS);
    const tensors = [...parseSafetensors(new Uint8Array(readFileSync(path)), path).values()].map(
      (tensor): TensorToWrite => ({
        ...{ name: tensor.name, dtype: "F32", shape: tensor.shape },
        chunks: () => [new Uint8Array(toFloat32(tensor).slice().buffer)],
      }),
    );
    const chunks = tensors.flatMap((tensor) => [...tensor.chunks()]);
    writeFileSync(path, Buffer.concat([safetensorsHeader(tensors), ...chunks]));
    for (const file of [WEIGHTS, CODEC]) linkSync(join(source, file), `${join(source, file)}.linked`);
    const bundle = convertFolder(source, "float32-bundle");
    expect(speakOneFrame(bundle)).toEqual(speakOneFrame(bundleOf("tiny-custom")));
  });

  test("sums every file", () => {
    const bundle = convertFolder(copyOfCheckpoint("tiny-custom", "summed"), "summed-bundle");
    expect(Object.keys(bundle.manifest.files).toSorted()).toEqual(
      readdirSync(bundle.directory)
        .filter((name) => name !== BUNDLE_FILES.manifest)
        .toSorted(),
    );
    for (const name of Object.keys(bundle.manifest.files)) {
      expect(damageOf(bundle)).toBeNull();
      const path = join(bundle.directory, name);
      const bytes = readFileSync(path);
      if (bytes.length === 0) continue;
      bytes[bytes.length - 1] ^= 1;
      writeFileSync(path, bytes);
      expect(damageOf(bundle)).toBe(`${path} has other bytes than it was made with`);
      bytes[bytes.length - 1] ^= 1;
      writeFileSync(path, bytes);
    }
  });
});
