// What is known of folders of NPU models without using an NPU: for which chip and by which toolkit they were
// built, and a forecast of the NPU's share of the vocoder. The forecast counts; nobody has measured it.

import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { elementsOf } from "../../ffi/npu/model.ts";
import { asTtsError } from "../errors.ts";
import {
  assertNpuFolderSuits,
  NPU_MANIFEST,
  type NpuFolder,
  type NpuManifest,
  type NpuPart,
  npuPartPath,
  openNpuFolder,
} from "../formats/npu-folder.ts";
import { jsonOrNull } from "../io/read.ts";
import { NPU_TARGETS, type NpuTarget, RKNN_CHIPS } from "../npu-vendors.ts";

/** Readers of the JSON of tts doctor rely on the keys. */
export interface NpuFolderFacts {
  path: string;
  /** "" where the manifest cannot be read. */
  target: NpuTarget | "";
  /** The chip that the models are for; "" where the target has one only. */
  chip: string;
  /** Version of the toolkit that built them; "" where they are not built, or do not tell. */
  toolkit: string;
  share: NpuShare | null;
  /** Why the folder cannot be used here, and what to do; "" where nothing is known against it. */
  problem: string;
  hint: string;
}

/** The forecast. Its bounds are in the names: `least` is what it cannot be below. */
export interface NpuShare {
  /**
   * Of the vocoder's multiply-adds, 0 to 1, as the checkpoint's configuration counts them: layers of zeros,
   * which a graph leaves out, count too.
   */
  multiplications: number;
  /** Bytes of weights, states and signal that a frame moves: files are read once a run. */
  bytesPerFrame: number;
  /** Operators of a run that the toolkit leaves to the CPU, beside inputs and outputs. */
  leastCpuOperators: number;
  /**
   * Of a frame, at the vendor's peak in f16 or at the memory's measured speed, whichever takes longer; null
   * for an unknown chip.
   */
  leastMs: number | null;
  /** What this CPU would take for that part of a frame; null where it was not measured. */
  cpuMs: number | null;
}

export interface MachineSpeed {
  /** Bytes a second from memory. */
  bandwidth: number;
  /** Multiplications a second of the vocoder on this CPU; null where it was not measured. */
  vocoder: number | null;
}

/** @param chip of the board, or "" */
export function describeNpuFolder(path: string, chip: string, speed: MachineSpeed): NpuFolderFacts {
  const facts: NpuFolderFacts = {
    path,
    target: "",
    chip: "",
    toolkit: "",
    share: null,
    problem: "",
    hint: "",
  };
  try {
    const stated = (jsonOrNull(join(path, NPU_MANIFEST)) as { target?: unknown } | null)?.target;
    const folder = openNpuFolder(path, NPU_TARGETS.find((target) => target === stated) ?? NPU_TARGETS[0]);
    const { manifest } = folder;
    Object.assign(facts, { target: manifest.target, chip: manifest.chip ?? "" });
    const built = builtParts(folder);
    const records = built.map(({ file }) => recordOf(file));
    facts.toolkit = records.find(({ toolkit }) => toolkit !== "")?.toolkit ?? "";
    facts.share = shareOf(manifest, built, speed);
    assertNpuFolderSuits(folder, chip);
    const other = records.findIndex((record) => record.chip !== "" && record.chip !== facts.chip);
    if (other >= 0) {
      facts.problem = `${built[other].file} was built for ${records[other].chip}, and ${NPU_MANIFEST} says ${facts.chip}`;
      facts.hint = "run the folder's build.py again";
    }
  } catch (thrown) {
    const { hint = "", message } = asTtsError(thrown);
    Object.assign(facts, { problem: message, hint });
  }
  return facts;
}

interface BuiltPart {
  part: NpuPart;
  file: string;
}

/** The vocoder's parts for the NPU. @throws TtsError NPU_MODEL_INVALID when one is not built */
const builtParts = (folder: NpuFolder): BuiltPart[] =>
  folder.manifest.vocoder
    .filter(({ runs }) => runs === "npu")
    .map((part) => ({ part, file: npuPartPath(folder, part) }));

/** An .rknn ends with JSON whose last keys name the chip and the toolkit. */
const RECORD_BYTES = 4_096;

function recordOf(file: string): { chip: string; toolkit: string } {
  const open = openSync(file, "r");
  try {
    const { size } = fstatSync(open);
    const tail = Buffer.alloc(Math.min(size, RECORD_BYTES));
    readSync(open, tail, 0, tail.length, size - tail.length);
    const text = tail.toString("latin1");
    return {
      chip: /"target_platform":\s*\["(\w+)"/.exec(text)?.[1] ?? "",
      toolkit: /"version":\s*"(\d[\w.]{0,30})"/.exec(text)?.[1] ?? "",
    };
  } finally {
    closeSync(open);
  }
}

const F32_BYTES = 4;
const F16_BYTES = 2;
/** Of the vendor's operations of 8 bits, two are a multiply-add, and one in f16 takes the time of two. */
const OPERATIONS_PER_PRODUCT = 4;

function shareOf(manifest: NpuManifest, built: readonly BuiltPart[], speed: MachineSpeed): NpuShare | null {
  const { chip, cores, frames, multiplications, tensors } = manifest;
  if (multiplications === null || built.length === 0) return null;
  const edges = built.flatMap(({ part }) => [...part.inputs, ...part.outputs]);
  const values = edges.reduce((sum, { shape }) => sum + elementsOf(shape), 0);
  const weights = built.reduce((sum, { file }) => sum + statSync(file).size, 0);
  const bytesPerFrame = (weights + (tensors === "f16" ? F16_BYTES : F32_BYTES) * values) / frames;
  const unit = chip === null ? 1 : RKNN_CHIPS[chip].rowUnit;
  const rows = edges.map(({ shape }) => shape.at(-1) ?? 1);
  const share = {
    multiplications: multiplications.npu / multiplications.all,
    bytesPerFrame,
    leastCpuOperators: rows.filter((width) => width !== 1 && width % unit !== 0).length,
    cpuMs: speed.vocoder === null ? null : (1000 * multiplications.npu) / speed.vocoder,
  };
  if (chip === null) return { ...share, leastMs: null };
  const facts = RKNN_CHIPS[chip];
  const products = ((facts.tops * 1e12) / OPERATIONS_PER_PRODUCT) * ((cores ?? facts.cores) / facts.cores);
  const leastMs = 1000 * Math.max(multiplications.npu / products, bytesPerFrame / speed.bandwidth);
  return { ...share, leastMs };
}
