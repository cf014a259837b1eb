// Bundles in the cache: kept while they are whole, made again where they are damaged, found again by a voice,
// and removed.

import { describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Config, loadConfig } from "../../src/config.ts";
import { open } from "../../src/engine.ts";
import { damageOf, FORMS, openBundle, weightsHash } from "../../src/formats/bundle.ts";
import { withLock } from "../../src/io/lock.ts";
import { modelFolder, PULL_LOCK, syntheticFolder, writeRecord } from "../../src/models/catalog.ts";
import { inventory, modelOfVoice } from "../../src/models/inventory.ts";
import { removeModel } from "../../src/models/remove.ts";
import { resolveModel } from "../../src/models/resolve.ts";
import { verifyCache } from "../../src/models/verify.ts";
import type { Progress } from "../../src/types.ts";
import { COMMIT, newCache } from "../_hub.ts";
import { checkpointFolder, copyOfCheckpoint, failureOf, rejectionOf } from "../_support.ts";
import { anna } from "../formats/_anna.ts";

/** Of all files, in whole seconds: every file system can keep that. */
const DATE = 1_700_000_000;

/** Flips a bit; with `keepsDate` as a disk does that forgets. */
function flip(path: string, at: number, keepsDate: boolean): void {
  const bytes = readFileSync(path);
  bytes[at] ^= 0x40;
  writeFileSync(path, bytes);
  utimesSync(path, DATE, keepsDate ? DATE : DATE + 1);
}

type OnProgress = (progress: Pick<Progress, "adding" | "because">) => void;

/** Why bundles were made; "" at the first time. */
async function reasonsOf(work: (onProgress: OnProgress) => Promise<unknown>) {
  const reasons = new Set<string>();
  await work(({ adding = "", because = "" }) => reasons.add(because + adding));
  return [...reasons];
}

const SOURCE = copyOfCheckpoint("tiny-base", "cached");
const resolveIn = (config: Config, model = SOURCE) =>
  reasonsOf((onProgress) => resolveModel({ config, model, onProgress }));
const openIn = (cacheDir: string, use: "speak" | "encode" = "speak") =>
  reasonsOf(async (onProgress) =>
    (await open({ cacheDir, model: SOURCE, talker: "llama", use, onProgress })).close(),
  );
const ready = newCache();
// with libllama's forms, whatever was faster
const named = loadConfig({ cacheDir: ready, talker: "llama", predictor: "llama" }, {});
const { directory } = await resolveModel({ config: named, model: SOURCE });

for (const name of readdirSync(directory)) utimesSync(join(directory, name), DATE, DATE);
await resolveModel({ config: loadConfig({ cacheDir: ready }, {}), model: SOURCE }); // the dates are known now

/** A cache with the bundle in it, as a copy that keeps the dates. */
function cacheWithBundle(): { cacheDir: string; bundle: string } {
  const cacheDir = newCache();
  cpSync(ready, cacheDir, { recursive: true, preserveTimestamps: true });
  return { cacheDir, bundle: directory.replace(ready, cacheDir) };
}

describe("a bundle in the cache", () => {
  test("is made once, also of a checkpoint that only got new dates", async () => {
    const { cacheDir } = cacheWithBundle();
    const config = loadConfig({ cacheDir }, {});
    expect(await resolveIn(config)).toEqual([]);
    utimesSync(join(SOURCE, "config.json"), new Date(), new Date());
    expect(await resolveIn(config)).toEqual([]);
  });

  /** Smaller files are read at every start. */
  const SMALL = 2 ** 20;
  const heads = [
    ...["talker.gguf", "predictor.onnx", "vocoder.onnx"],
    ...["tables.safetensors", "tokenizer.safetensors"],
  ];
  test.each(heads)("whose %s does not load is made again, though its date is the same", async (name) => {
    const { bundle, cacheDir } = cacheWithBundle();
    flip(join(bundle, name), 0, true);
    const [reason] = await openIn(cacheDir);
    expect(reason).toContain(join(bundle, name));
    if (statSync(join(directory, name)).size > SMALL) expect(reason).not.toContain("other bytes");
    expect(await openIn(cacheDir)).toEqual([]);
    expect(readFileSync(join(bundle, name))).toEqual(readFileSync(join(directory, name)));
  });

  test.each(["bundle.json", "predictor.gguf", "vocoder.onnx.data"])(
    "is made again when somebody wrote to %s",
    async (name) => {
      const { bundle, cacheDir } = cacheWithBundle();
      const path = join(bundle, name);
      if (statSync(path).size === 0) return;
      flip(path, statSync(path).size - 1, false);
      expect(await resolveIn(loadConfig({ cacheDir }, {}))).toEqual([expect.stringContaining(path)]);
      expect(await resolveIn(loadConfig({ cacheDir }, {}))).toEqual([]);
    },
  );

  test("is read byte by byte before a voice is taken", async () => {
    const { bundle, cacheDir } = cacheWithBundle();
    flip(join(bundle, "codec-encoder.onnx.data"), 0, true);
    expect(await openIn(cacheDir, "encode")).toEqual([
      `${bundle}/codec-encoder.onnx.data has other bytes than it was made with`,
    ]);
  });

  test("opened by its own path is the user's: the advice is how to make it again", async () => {
    const { bundle } = cacheWithBundle();
    flip(join(bundle, "talker.gguf"), 0, false);
    expect(await rejectionOf(open({ model: bundle, talker: "llama", cacheDir: newCache() }))).toMatchObject({
      code: "BUNDLE_INVALID",
      hint: "make it again from its checkpoint: tts convert DIR -o BUNDLE",
    });
  });

  test("leaves nothing of a preparation that was killed, also of another model", async () => {
    const { bundle, cacheDir } = cacheWithBundle();
    const part = join(cacheDir, "bundles", ".other-12345678-f32.part-999999999-0a0b0c0d");
    mkdirSync(part);
    flip(join(bundle, "bundle.json"), 0, false);
    await resolveIn(loadConfig({ cacheDir }, {}));
    expect(existsSync(part)).toBe(false);
  });

  test("tells a voice which directory it was taken with", async () => {
    const { cacheDir } = cacheWithBundle();
    const { manifest } = await resolveModel({ config: loadConfig({ cacheDir }, {}), model: SOURCE });
    const provenance = { ...anna.provenance, model: "cached", modelSha256: weightsHash(manifest) };
    expect(modelOfVoice({ ...anna, provenance }, cacheDir)).toBe(SOURCE);
    const other = { ...provenance, modelSha256: "0".repeat(64) };
    expect(failureOf(() => modelOfVoice({ ...anna, provenance: other }, cacheDir)).code).toBe(
      "MODEL_NOT_HERE",
    );
  });
});

describe("verifying", () => {
  const verify = (cacheDir: string) => verifyCache(cacheDir, () => {});

  test("finds damage that loads, and has the bundle made again", async () => {
    const { bundle, cacheDir } = cacheWithBundle();
    expect(await verify(cacheDir)).toEqual([
      { kind: "bundle", path: bundle, state: "whole", fault: "", remedy: "" },
    ]);
    const weights = join(bundle, "vocoder.onnx.data");
    flip(weights, statSync(weights).size >> 1, true);
    expect(await openIn(cacheDir)).toEqual([]); // nobody sees it
    const fault = `${weights} has other bytes than it was made with`;
    expect(await verify(cacheDir)).toMatchObject([{ path: bundle, fault }]);
    expect(await openIn(cacheDir)).toEqual([fault]);
    expect(await verify(cacheDir)).toMatchObject([{ fault: "" }]);
  });

  test("finds a pulled file that is not what the hub said", async () => {
    const cacheDir = newCache();
    const folder = pulledInto(cacheDir);
    utimesSync(join(folder, "model.safetensors"), DATE, DATE);
    expect(await verify(cacheDir)).toMatchObject([{ kind: "checkpoint", path: folder, fault: "" }]);
    flip(join(folder, "model.safetensors"), 100_000, true);
    const [{ fault, remedy }] = await verify(cacheDir);
    expect(fault).toStartWith("model.safetensors: its SHA-256 is ");
    expect(remedy).toBe(`rm -f ${folder}/model.safetensors; tts pull acme/tiny --revision ${COMMIT}`);
  });
});

/** As a pull leaves it. */
function pulledInto(cacheDir: string): string {
  const folder = join(modelFolder(cacheDir, "acme/tiny"), COMMIT);
  cpSync(checkpointFolder("tiny-custom"), folder, { recursive: true });
  const path = "model.safetensors";
  const bytes = readFileSync(join(folder, path));
  const sha256 = Bun.SHA256.hash(bytes, "hex");
  writeRecord({
    ...{ hub: "acme/tiny", revision: COMMIT, directory: folder },
    files: [{ path, bytes: bytes.length, sha256, gitOid: null }],
  });
  return folder;
}

describe("removing", () => {
  test("takes a pulled checkpoint and its bundles, and nothing else", async () => {
    const { bundle, cacheDir } = cacheWithBundle();
    pulledInto(cacheDir);
    const outside = join(newCache(), "blob");
    writeFileSync(outside, "kept");
    symlinkSync(outside, join(modelFolder(cacheDir, "acme/tiny"), COMMIT, "link"));
    const made = await resolveModel({ config: loadConfig({ cacheDir }, {}), model: "acme/tiny" });
    const removed = removeModel("acme/tiny", cacheDir);
    expect(removed.map(({ path }) => path)).toEqual([modelFolder(cacheDir, "acme/tiny"), made.directory]);
    for (const { bytes, path } of removed) {
      expect(existsSync(path)).toBe(false);
      expect(bytes).toBeGreaterThan(1e6);
    }
    expect([existsSync(bundle), existsSync(outside)]).toEqual([true, true]);
    expect(failureOf(() => removeModel("acme/tiny", cacheDir)).code).toBe("MODEL_NOT_HERE");
  });

  test("of a checkpoint given by its directory takes only the bundles", async () => {
    const { bundle, cacheDir } = cacheWithBundle();
    expect(removeModel(SOURCE, cacheDir).map(({ path }) => path)).toEqual([bundle]);
    expect(existsSync(join(SOURCE, "config.json"))).toBe(true);
  });

  test("of random weights that tts bench made takes them too; until then they are listed as what they are", async () => {
    const cacheDir = newCache();
    const made = join(syntheticFolder(cacheDir), "0.6b");
    cpSync(checkpointFolder("tiny-custom"), made, { recursive: true });
    const { directory: bundle } = await resolveModel({ config: loadConfig({ cacheDir }, {}), model: made });
    const rowOf = (name: string) => inventory(cacheDir).find((row) => row.name === name);
    expect(rowOf(made)).toMatchObject({ here: "random weights", bundles: [{ directory: bundle }] });
    expect(rowOf(made)!.checkpointBytes).toBeGreaterThan(1e6);
    expect(removeModel(made, cacheDir).map(({ path }) => path)).toEqual([made, bundle]);
    expect([existsSync(made), rowOf(made)]).toEqual([false, undefined]);
  });

  test("a bundle says whether its checkpoint is still where it was", async () => {
    const cacheDir = newCache();
    const source = copyOfCheckpoint("tiny-custom", "goes-away");
    await resolveModel({ config: loadConfig({ cacheDir }, {}), model: source });
    const here = () => inventory(cacheDir).find((row) => row.name === source)?.here;
    expect(here()).toBe("elsewhere");
    rmSync(source, { recursive: true });
    expect(here()).toBe("bundle only");
  });

  test("refuses a bundle of the user's own, and names that are none", () => {
    const { bundle, cacheDir } = cacheWithBundle();
    expect(failureOf(() => removeModel(bundle, newCache()))).toMatchObject({
      hint: expect.stringContaining("rm -r"),
    });
    expect(failureOf(() => removeModel("startr", cacheDir)).hint).toBe("did you mean starter?");
    for (const name of ["..", "../..", "", ".", "acme/..", "/"])
      expect([name, failureOf(() => removeModel(name, cacheDir)).code]).toEqual([name, "MODEL_UNKNOWN"]);
    expect(existsSync(bundle)).toBe(true);
  });

  test("refuses what a link leads out of the cache", () => {
    const cacheDir = newCache();
    const elsewhere = join(newCache(), "elsewhere");
    mkdirSync(elsewhere);
    mkdirSync(join(cacheDir, "checkpoints"));
    symlinkSync(elsewhere, modelFolder(cacheDir, "acme/tiny"));
    expect(failureOf(() => removeModel("acme/tiny", cacheDir))).toMatchObject({
      code: "OUTPUT_FAILED",
      message: expect.stringContaining("leads out of the cache"),
    });
    expect(existsSync(elsewhere)).toBe(true);
    expect(lstatSync(modelFolder(cacheDir, "acme/tiny")).isSymbolicLink()).toBe(true);
  });

  test("refuses what is being pulled", async () => {
    const cacheDir = newCache();
    const folder = pulledInto(cacheDir);
    await withLock(
      join(modelFolder(cacheDir, "acme/tiny"), PULL_LOCK),
      () => {},
      async () => {
        expect(failureOf(() => removeModel("acme/tiny", cacheDir)).code).toBe("MODEL_BUSY");
      },
    );
    expect(existsSync(folder)).toBe(true);
  });
});

describe("forms of talker and code predictor", () => {
  const formsIn = (bundle: string) =>
    Object.values(FORMS).map((forms) =>
      Object.values(forms)
        .map(({ main }) => main)
        .filter((name) => existsSync(join(bundle, name))),
    );

  test("a bundle keeps the faster one; another is made when it is asked for, and stays", async () => {
    const cacheDir = newCache();
    await resolveIn(loadConfig({ cacheDir }, {}));
    const bundle = directory.replace(ready, cacheDir);
    expect(formsIn(bundle).map(({ length }) => length)).toEqual([1, 1]);
    const named = ["ort", "llama"] as const;
    const added: (string | undefined)[] = [];
    for (const form of named) {
      const config = loadConfig({ cacheDir, talker: form, predictor: form }, {});
      // what is added is told apart from damage
      const onProgress: OnProgress = ({ adding, because }) => void (because === "" && added.push(adding));
      await resolveModel({ config, model: SOURCE, onProgress });
    }
    for (const stage of ["talker", "predictor"])
      expect(added.filter((words) => words?.includes(` form of the ${stage}`))).not.toEqual([]);
    expect(formsIn(bundle)).toEqual([
      ["talker.gguf", "talker.onnx"],
      ["predictor.gguf", "predictor.onnx"],
    ]);
    for (const form of named)
      expect(await resolveIn(loadConfig({ cacheDir, talker: form, predictor: form }, {}))).toEqual([]);
    expect(damageOf(openBundle(bundle))).toBeNull();
  });

  test("a bundle of the user's is never changed: the error names the file", async () => {
    const own = copyOfBundle();
    const { manifest } = openBundle(own);
    rmSync(join(own, "talker.onnx"), { force: true });
    const { "talker.onnx": _, ...files } = manifest.files;
    writeFileSync(join(own, "bundle.json"), JSON.stringify({ ...manifest, files }));
    const error = await rejectionOf(open({ model: own, talker: "ort", cacheDir: newCache() }));
    expect(error).toMatchObject({
      code: "MODEL_UNSUITABLE",
      message: `${own} has no talker.onnx, which ort needs`,
      hint: "choose talker llama, or make the bundle with it: tts convert DIR -o BUNDLE --talker ort",
    });
  });

  test("a talker in q4_k_m has none for ONNX Runtime: the error says so before anything is made", async () => {
    const cacheDir = newCache();
    const error = {
      code: "MODEL_UNSUITABLE",
      message: "a talker in q4_k_m has no ort form",
      hint: "choose talker llama, or one of f32, q8_0, q4_0: tts convert DIR -o BUNDLE --weights q4_0",
    };
    const config = loadConfig({ cacheDir, talker: "ort" }, {});
    expect(await rejectionOf(resolveModel({ config, model: SOURCE, weights: "q4_k_m" }))).toMatchObject(
      error,
    );
    expect(readdirSync(cacheDir)).toEqual([]);
    const own = copyOfBundle();
    const { manifest } = openBundle(own);
    const { "talker.onnx": _, ...files } = manifest.files;
    const weights = { ...manifest.weights, talker: "q4_k_m" };
    writeFileSync(join(own, "bundle.json"), JSON.stringify({ ...manifest, files, weights }));
    expect(await rejectionOf(open({ model: own, talker: "ort", cacheDir }))).toMatchObject(error);
  });

  function copyOfBundle(): string {
    const own = newCache();
    cpSync(directory, own, { recursive: true });
    return own;
  }
});
