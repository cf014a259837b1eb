// Folders of NPU models for the bundles of the tests, "built" for the stand-ins: each graph lies unchanged in
// a container.

import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setEnvironment } from "../ffi/libc.ts";
import type { OpenOptions } from "../src/backends/stage.ts";
import { runNpuConversion } from "../src/convert/npu/index.ts";
import type { Bundle } from "../src/formats/bundle.ts";
import { NPU_MANIFEST, openNpuFolder } from "../src/formats/npu-folder.ts";
import { NPU_BUILDS, type NpuName, type NpuTarget } from "../src/npu-vendors.ts";
import { CODES_PER_FRAME } from "../src/types.ts";
import { compileStandIns, containerOf, standInEnvironment } from "./_standins.ts";
import { checkpointOf, GoldenFile, madeOnce, openOptions, scratchFolder } from "./_support.ts";

/** Frames of a run of the models. */
const NPU_FRAMES = 4;
/** Frames that the folder is measured on: enough for a self-test. */
const SPOKEN_FRAMES = 12;

/** Made once for each bundle, target and kind of code predictor. */
export function npuFolderOf(bundle: Bundle, npu: NpuTarget, kind: "step" | "frame" = "frame"): string {
  return madeOnce(`${basename(bundle.directory)}-${npu}-${kind}`, (target) => {
    runNpuConversion({
      source: checkpointOf(bundle),
      target,
      part: target,
      name: bundle.manifest.name,
      weights: bundle.manifest.weights.predictor,
      npu,
      frames: NPU_FRAMES,
      snakes: "npu",
      speeches: [{ codes: codesFor(bundle), hidden: someStates(bundle) }],
      libraries: { onnxruntime: "" },
    });
    buildForStandIns(target, npu, kind);
  });
}

/** Does what a vendor's toolkit would do. @param kind which of the code predictor's two graphs is built */
export function buildForStandIns(folder: string, target: NpuTarget, kind: "step" | "frame" = "frame"): void {
  const { vocoder, predictor } = openNpuFolder(folder, target).manifest;
  const parts = [...vocoder, predictor[kind]].filter((part) => part?.runs === "npu");
  for (const part of parts) {
    const model = containerOf(readFileSync(join(folder, part!.file)), target === "rknn" ? "rknn" : "ax");
    writeFileSync(join(folder, part!.file.replace(/\.onnx$/, NPU_BUILDS[target].suffix)), model);
  }
}

/** Codes of a real speech where there are any: a random voice may say anything. */
function codesFor({ manifest }: Bundle): Int32Array {
  const name =
    manifest.reading === null ? "tiny-custom/golden/custom-ryan-english-whole" : "starter/starter-00";
  const codes = new GoldenFile(`${name}.safetensors`).ints("codes");
  return codes.slice(0, SPOKEN_FRAMES * CODES_PER_FRAME).map((code) => code % manifest.shape.codes);
}

const someStates = ({ manifest: { shape } }: Bundle) =>
  Float32Array.from({ length: SPOKEN_FRAMES * shape.hidden }, (_, i) => Math.sin(i * i));

/** Options with which the stand-in of a backend opens a bundle. */
export function npuOptions(
  bundle: Bundle,
  lanes: number,
  npu: NpuTarget,
  library: NpuName,
  kind: "step" | "frame" = "frame",
): OpenOptions {
  for (const [name, value] of Object.entries(standInEnvironment())) setEnvironment(name, value);
  const options = openOptions(bundle, lanes, { npu: npuFolderOf(bundle, npu, kind) });
  const libraries = { ...options.config.libraries, [library]: compileStandIns()[library] };
  return { ...options, config: { ...options.config, libraries, allowStandIn: true } };
}

/** The same with another folder, whose npu.json has other values. */
export function withManifest(options: OpenOptions, content: object): OpenOptions {
  const npu = mkdtempSync(join(scratchFolder(), "npu-changed-"));
  cpSync(options.config.npu, npu, { recursive: true });
  const path = join(npu, NPU_MANIFEST);
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...content }));
  return { ...options, config: { ...options.config, npu } };
}
