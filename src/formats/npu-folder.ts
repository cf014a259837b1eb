// A folder of models for an NPU: checks its manifest value by value and finds its files. `tts convert
// --target` writes one; the vendor's toolkit puts the built models beside the graphs. Nothing is run here.
//
// The vocoder is a chain of graphs of fixed shapes, each on the CPU or on the NPU. Tensors are linked by
// their names. A part reads `codes` i32 [frames, 16], `position` i32 [1], f32 tensors that an earlier part
// gives, and its own state `state.NAME`. State is all zero at the start of a speech, and then what the part
// gave as `next.NAME`. The last part gives `samples` f32, 1920 a frame.

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { elementsOf, TENSOR_CHOICES, type TensorType } from "../../ffi/npu/model.ts";
import { TtsError } from "../errors.ts";
import { readRegularFile } from "../io/read.ts";
import {
  DEFAULT_RKNN_CHIP,
  NPU_BUILDS,
  NPU_TARGETS,
  type NpuTarget,
  RKNN_CHIP_NAMES,
  RKNN_CHIPS,
  type RknnChip,
} from "../npu-vendors.ts";
import { CODES_PER_FRAME, NEXT, SAMPLES_PER_FRAME, STATE } from "../types.ts";
import type { Bundle, Manifest } from "./bundle.ts";
import { JsonFile } from "./json.ts";
import { parseSafetensors, toFloat32, toInt32 } from "./safetensors.ts";

export const NPU_MANIFEST = "npu.json";
/** Where a bundle's folder lies when it is not named. */
export const NPU_IN_BUNDLE = "npu";
const FORMAT = "qwen3-tts-npu";
const VERSION = 1;
/** More frames would make a signal of over 8191 samples, with which no RK3588 is known to be right. */
export const MOST_NPU_FRAMES = 4;
/** No model has larger sizes: only a damaged manifest does. */
const LARGEST = { rank: 4, size: 65_536, elements: 2 ** 26, decibels: 200, bytes: 2 ** 50 } as const;

export interface NpuTensorInfo {
  name: string;
  shape: number[];
}

/** A graph of fixed shapes. */
export interface NpuPart {
  /** The ONNX file. The model built from it for the NPU has the same name with the target's suffix. */
  file: string;
  runs: "cpu" | "npu";
  inputs: NpuTensorInfo[];
  outputs: NpuTensorInfo[];
}

export interface NpuManifest {
  format: typeof FORMAT;
  version: number;
  target: NpuTarget;
  /** The chip that the models are for; null where the target has one only. A folder without one is older. */
  chip: RknnChip | null;
  /** Cores of the NPU that a run takes; null leaves it to the vendor's library. */
  cores: number | null;
  /**
   * Who converts what goes to the NPU and comes from it: f32 leaves it to the vendor's library, f16 does not.
   * Only an rknn folder has the choice, which a user may change.
   */
  tensors: TensorType;
  /** The model's name. */
  name: string;
  /** Frames of one run of the vocoder. */
  frames: number;
  /** Of a frame of the vocoder, on the NPU and in all; null in an older folder. */
  multiplications: { npu: number; all: number } | null;
  /** In the order in which they run. */
  vocoder: NpuPart[];
  /**
   * Graphs of the code predictor: one step, its heads, which stay on the CPU, and a whole frame. Where step
   * and frame are null, all of it stays on the CPU.
   */
  predictor: { step: NpuPart | null; heads: NpuPart | null; frame: NpuPart | null };
  /**
   * A file of real codes and the samples that the reference makes of them. A device whose samples fall below
   * `leastSnrDb` is not used.
   */
  selfTest: { file: string; leastSnrDb: number };
  /** Source file, relative to the checkpoint -> its size and hash, as in the bundle. */
  source: Manifest["source"];
}

export interface NpuFolder {
  directory: string;
  manifest: NpuManifest;
}

/** Whether a folder is one of these, whole or not. */
export const isNpuFolder = (directory: string) => existsSync(join(directory, NPU_MANIFEST));

/**
 * Fails if a named folder has no manifest: a user who names one wants no fallback. "" names none.
 * @throws TtsError NPU_MODEL_INVALID
 */
export function assertNpuFolder({ npu }: { npu: string }): void {
  if (npu === "" || isNpuFolder(npu)) return;
  throw invalid(`${npu} holds no models for an NPU`, "tts convert DIR --target makes such a folder");
}

export const newNpuManifest = (content: Omit<NpuManifest, "format" | "version">): NpuManifest => ({
  format: FORMAT,
  version: VERSION,
  ...content,
});

/**
 * Reads a folder's manifest and checks every value in it. Also checks that the files exist that no toolkit
 * builds.
 * @throws TtsError NPU_MODEL_INVALID: absent, damaged, of another version, or for another target
 */
export function openNpuFolder(directory: string, target: NpuTarget): NpuFolder {
  const path = join(directory, NPU_MANIFEST);
  if (!isNpuFolder(directory))
    throw invalid(`${directory} holds no models for an NPU: ${NPU_MANIFEST} is missing`, hintFor(target));
  const file = JsonFile.read(path, { code: "NPU_MODEL_INVALID", hint: ANY_TARGET, unreadable: ANY_TARGET });
  const head = new Map(file.entries());
  if (head.get("format") !== FORMAT)
    throw file.wrong(`is not a manifest of NPU models (format ${JSON.stringify(head.get("format"))})`);
  if (head.get("version") !== VERSION) {
    throw file.wrong(
      `has format version ${JSON.stringify(head.get("version"))}, this program reads ${VERSION}`,
    );
  }
  const manifest = readManifest(file);
  if (manifest.target !== target)
    throw invalid(`${directory} holds models for ${manifest.target}, not for ${target}`, hintFor(target));
  const folder = { directory, manifest };
  for (const part of manifest.vocoder) if (part.runs === "cpu") npuPartPath(folder, part);
  if (!existsSync(join(directory, manifest.selfTest.file)))
    throw invalid(`${join(directory, manifest.selfTest.file)} is missing`, hintFor(target));
  return folder;
}

/**
 * The file that runs a part: its graph, or the model that the vendor's toolkit built from it.
 * @throws TtsError NPU_MODEL_INVALID when it is not there
 */
export function npuPartPath({ directory, manifest }: NpuFolder, { file, runs }: NpuPart): string {
  const path = join(
    directory,
    runs === "cpu" ? file : file.replace(/\.onnx$/, NPU_BUILDS[manifest.target].suffix),
  );
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() && stat.size > 0) return path;
  const what = stat === undefined ? "is missing" : stat.isFile() ? "is empty" : "is no file";
  const built = `build it: ${join(directory, "README.md")} says how`;
  throw invalid(`${path} ${what}`, runs === "cpu" ? hintFor(manifest.target) : built);
}

/**
 * Checks that folder and bundle were made from the same checkpoint.
 * @throws TtsError NPU_MODEL_INVALID naming the first file that differs
 */
export function assertNpuFolderFits({ directory, manifest }: NpuFolder, bundle: Bundle): void {
  const names = new Set([...Object.keys(manifest.source), ...Object.keys(bundle.manifest.source)]);
  const other = [...names].find(
    (name) => manifest.source[name]?.sha256 !== bundle.manifest.source[name]?.sha256,
  );
  if (other === undefined) return;
  const what = `${directory} was made of ${manifest.name}, whose ${other} differs from that of ${bundle.manifest.name}`;
  throw invalid(what, hintFor(manifest.target));
}

/**
 * Checks that a folder's models were built for the chip of this board.
 * @param chip such as rk3588; "" where the system names none, and then nothing is checked
 * @throws TtsError NPU_MODEL_INVALID
 */
export function assertNpuFolderSuits({ directory, manifest }: NpuFolder, chip: string): void {
  const own = manifest.chip;
  if (own === null || chip === "" || own === chip) return;
  const known = RKNN_CHIP_NAMES.find((name) => name === chip);
  if (known !== undefined && RKNN_CHIPS[known].models === RKNN_CHIPS[own].models) return;
  const what = `${directory} was built for the NPU of an ${own}, and this board has an ${chip}`;
  const hint =
    known === undefined
      ? `its NPU takes no such models: ${RKNN_CHIP_NAMES.join(", ")} do`
      : `make the folder again: tts convert DIR --target ${manifest.target} --chip ${known} -o FOLDER`;
  throw invalid(what, hint);
}

/**
 * `codes` i32 [frames, 16] and `samples` f32 [frames * 1920]: whole runs of the vocoder from its start.
 * @throws TtsError NPU_MODEL_INVALID
 */
export function readNpuSelfTest({ directory, manifest }: NpuFolder): {
  codes: Int32Array;
  samples: Float32Array;
} {
  const path = join(directory, manifest.selfTest.file);
  try {
    const tensors = parseSafetensors(readRegularFile(path), path);
    const [codes, samples] = [toInt32(tensors.get("codes")!), toFloat32(tensors.get("samples")!).slice()];
    const frames = codes.length / CODES_PER_FRAME;
    if (frames === 0 || frames % manifest.frames !== 0 || samples.length !== frames * SAMPLES_PER_FRAME) {
      throw new RangeError(
        `${codes.length} codes and ${samples.length} samples are no whole runs of ${manifest.frames} frames`,
      );
    }
    return { codes, samples };
  } catch (cause) {
    throw invalid(`${path} is damaged: ${(cause as Error).message}`, hintFor(manifest.target), cause);
  }
}

const hintFor = (target: string) => `make the folder again: tts convert DIR --target ${target} -o FOLDER`;

/** The hint when the target is unknown. */
const ANY_TARGET = hintFor(NPU_TARGETS.join("|"));

function invalid(what: string, hint: string, cause?: unknown): TtsError {
  return new TtsError("NPU_MODEL_INVALID", what, hint, { cause });
}

function readManifest(file: JsonFile): NpuManifest {
  const [predictor, selfTest] = [file.object("predictor"), file.object("selfTest")];
  const optional = (key: string) => (predictor.has(key) ? readPart(predictor.object(key)) : null);
  const target = file.choice("target", NPU_TARGETS);
  const chip = target === "rknn" ? readChip(file) : null;
  const manifest = newNpuManifest({
    target,
    chip,
    cores: chip !== null && file.has("cores") ? file.within("cores", 1, RKNN_CHIPS[chip].cores) : null,
    tensors: chip !== null && file.has("tensors") ? file.choice("tensors", TENSOR_CHOICES) : "f32",
    name: file.string("name"),
    frames: file.within("frames", 1, MOST_NPU_FRAMES),
    multiplications: readMultiplications(file),
    vocoder: file.list("vocoder", readPart),
    predictor: { step: optional("step"), heads: optional("heads"), frame: optional("frame") },
    selfTest: {
      file: readName(selfTest, "file"),
      leastSnrDb: selfTest.within("leastSnrDb", 0, LARGEST.decibels),
    },
    source: file.object("source").record((source, name) => {
      const entry = source.object(name);
      return { bytes: entry.within("bytes", 0, LARGEST.bytes), sha256: entry.string("sha256") };
    }),
  });
  checkChain(file, manifest);
  return manifest;
}

function readMultiplications(file: JsonFile): NpuManifest["multiplications"] {
  if (!file.has("multiplications")) return null;
  const counts = file.object("multiplications");
  const all = counts.size("all");
  return { npu: counts.within("npu", 1, all), all };
}

const readChip = (file: JsonFile) =>
  file.has("chip") ? file.choice("chip", RKNN_CHIP_NAMES) : DEFAULT_RKNN_CHIP;

/** Names of files and tensors go to libraries, so only plain ones are taken. */
function readName(file: JsonFile, key: string): string {
  const name = file.string(key);
  if (/^[\w-][\w.-]{0,63}$/.test(name)) return name;
  throw file.wrong(`${key} is ${JSON.stringify(name.slice(0, 80))}, which is no plain name`);
}

function readPart(file: JsonFile): NpuPart {
  const name = readName(file, "file");
  if (!name.endsWith(".onnx")) throw file.wrong(`file is ${name}, not an .onnx file`);
  return {
    file: name,
    runs: file.choice("runs", ["cpu", "npu"]),
    inputs: file.list("inputs", readTensor),
    outputs: file.list("outputs", readTensor),
  };
}

function readTensor(file: JsonFile): NpuTensorInfo {
  const [name, shape] = [readName(file, "name"), file.counts("shape")];
  const isSane =
    shape.length <= LARGEST.rank &&
    shape.every((size) => size <= LARGEST.size) &&
    elementsOf(shape) <= LARGEST.elements;
  if (!isSane) throw file.wrong(`${name} has the shape [${shape}], which is no model's`);
  return { name, shape };
}

/** Checks that every input has a source of the same shape, and that samples come out at the end. */
function checkChain(file: JsonFile, { frames, vocoder }: NpuManifest): void {
  const known = new Map([
    ["codes", [frames, CODES_PER_FRAME]],
    ["position", [1]],
  ]);
  for (const part of vocoder) {
    const outputs = new Map(part.outputs.map(({ name, shape }) => [name, shape]));
    for (const { name, shape } of part.inputs) {
      const state = name.startsWith(STATE);
      const source = state ? outputs.get(`${NEXT}${name.slice(STATE.length)}`) : known.get(name);
      if (source?.join() !== shape.join()) {
        const given = source === undefined ? "nothing gives" : `is given as [${source}]`;
        throw file.wrong(`${part.file} reads ${name} [${shape}], which ${given}`);
      }
    }
    for (const [name, shape] of outputs) if (!name.startsWith(NEXT)) known.set(name, shape);
  }
  const samples = known.get("samples");
  if (samples === undefined || elementsOf(samples) !== frames * SAMPLES_PER_FRAME) {
    throw file.wrong(`the vocoder's samples are [${samples ?? ""}], not ${frames * SAMPLES_PER_FRAME}`);
  }
}
