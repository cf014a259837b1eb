// What the tests share: golden files, and the golden checkpoints converted once into a folder that goes away with the process.

import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenOptions } from "../src/backends/index.ts";
import { type Bundle, openBundle } from "../src/bundle.ts";
import { type ConfigFlags, loadConfig } from "../src/config.ts";
import { runConversion } from "../src/convert/index.ts";
import { parseSafetensors, type Tensor, toFloat32, toInt32 } from "../src/safetensors.ts";

export const ROOT = join(import.meta.dir, "..");
export const GOLDEN = join(ROOT, "test/golden");
export const STARTER = join(ROOT, "models/starter");

export interface GoldenCase {
  name: string;
  kind: "custom_voice" | "voice_design" | "base";
  checkpoint: string;
  text: string;
  speaker?: string;
  language: string;
  instruct?: string;
  non_streaming_mode?: boolean;
  x_vector_only?: boolean;
  ref_text?: string | null;
  max_new_tokens: number;
  frames: number;
}

export const readJson = <T>(path: string): T => JSON.parse(readFileSync(join(GOLDEN, path), "utf8")) as T;
export const goldenCases = () => readJson<{ cases: GoldenCase[] }>("cases.json").cases;

/** Tensors of one golden file. */
export class GoldenFile {
  private readonly tensors: Map<string, Tensor>;
  constructor(path: string) {
    this.tensors = parseSafetensors(readFileSync(join(GOLDEN, path)), path);
  }
  floats(name: string): Float32Array {
    return toFloat32(this.tensors.get(name)!).slice();
  }
  ints(name: string): Int32Array {
    return toInt32(this.tensors.get(name)!);
  }
  has(name: string): boolean {
    return this.tensors.has(name);
  }
}

export const goldenFile = ({ checkpoint, name }: GoldenCase) => new GoldenFile(`${checkpoint}/golden/${name}.safetensors`);

let scratch = "";
/** A folder that is removed when the process ends. */
export function scratchFolder(): string {
  if (scratch === "") {
    scratch = mkdtempSync(join(tmpdir(), "tts-test-"));
    process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
  }
  return scratch;
}

const bundles = new Map<string, Bundle>();
/** A checkpoint as a bundle, converted at first use. */
export function bundleOf(checkpoint: string, weights: "f32" | "q8_0" = "f32"): Bundle {
  const key = `${checkpoint}-${weights}`;
  const known = bundles.get(key);
  if (known !== undefined) return known;
  const source = checkpoint === "starter" ? STARTER : join(GOLDEN, checkpoint);
  const target = join(scratchFolder(), key);
  runConversion({ source, target, weights, libraries: { llama: "", onnxruntime: "" } });
  renameSync(`${target}.part-${process.pid}`, target);
  const bundle = openBundle(target);
  bundles.set(key, bundle);
  return bundle;
}

/** What a backend needs to open a bundle in a test. */
export function openOptions(bundle: Bundle, lanes = 1, flags: ConfigFlags = {}): OpenOptions {
  const config = loadConfig({ cacheDir: scratchFolder(), ...flags }, {});
  return { bundle, config, lanes, stop: new SharedArrayBuffer(2), loadTurn: new Int32Array(new SharedArrayBuffer(4)) };
}

/** Largest absolute difference; NaN counts as infinite. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new RangeError(`lengths ${a.length} and ${b.length}`);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}
