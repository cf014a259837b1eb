// What the vendors' toolkits are given: a script for Rockchip's, configurations and a script for Axera's; and the folder's README. Written
// from the vendors' documents; nothing of it has met a toolkit or a device, and the README says so.

import { NPU_MANIFEST, type NpuManifest, type NpuPart } from "../../formats/npu-folder.ts";
import { NPU_BUILDS } from "../../npu-vendors.ts";
import { CALIBRATION, listOf, tarOf } from "./_calibration.ts";

const nameOf = ({ file }: NpuPart) => file.replace(/\.onnx$/, "");

/** The parts that a toolkit builds. */
function builtParts({ predictor, vocoder }: NpuManifest): NpuPart[] {
  return [...vocoder, predictor.step, predictor.frame].filter((part) => part?.runs === "npu") as NpuPart[];
}

/** Path in the folder and content. */
export function toolkitFiles(manifest: NpuManifest): [path: string, text: string][] {
  const parts = builtParts(manifest);
  if (manifest.target === "rknn") return [["build.py", rknnScript(parts)]];
  const configs = parts.map((part): [string, string] => [`${nameOf(part)}.json`, `${JSON.stringify(pulsarConfig(part), null, 2)}\n`]);
  return [["build.sh", pulsarScript(parts)], ...configs];
}

function rknnScript(parts: readonly NpuPart[]): string {
  const list = parts.map((part) => `    "${nameOf(part)}": "${listOf(nameOf(part))}",`).join("\n");
  return `#!/usr/bin/env python3
"""Builds the models of this folder for the NPU of an RK3588 with rknn-toolkit2, on a PC.

float16 by default. --int8 quantises with the calibration inputs: smaller and faster, but users report 10 dB of noise.
"""

import argparse
import os
import sys

from rknn.api import RKNN

# Model -> list of its calibration inputs.
MODELS = {
${list}
}


def check(result, what):
    if result != 0:
        sys.exit(f"{what} failed ({result})")


def build(name, calibration, int8, verbose):
    rknn = RKNN(verbose=verbose)
    check(rknn.config(target_platform="rk3588", optimization_level=3) or 0, "config")
    check(rknn.load_onnx(model=f"{name}.onnx"), f"loading {name}.onnx")
    check(rknn.build(do_quantization=int8, dataset=calibration if int8 else None), f"building {name}")
    check(rknn.export_rknn(f"{name}.rknn"), f"writing {name}.rknn")
    rknn.release()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--int8", action="store_true", help="quantise to 8 bits")
    parser.add_argument("--verbose", action="store_true", help="say which operators go where")
    args = parser.parse_args()
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    for name, calibration in MODELS.items():
        build(name, calibration, args.int8, args.verbose)


main()
`;
}

function pulsarConfig(part: NpuPart): unknown {
  const name = nameOf(part);
  return {
    input: part.file,
    output_dir: `build/${name}`,
    output_name: `${name}${NPU_BUILDS.axcl.suffix}`,
    model_type: "ONNX",
    target_hardware: "AX650",
    npu_mode: "NPU3",
    quant: {
      input_configs: part.inputs.map((input) => ({
        tensor_name: input.name,
        calibration_dataset: tarOf(name, input.name),
        calibration_format: "Numpy",
        calibration_size: -1,
      })),
      layer_configs: [{ start_tensor_names: ["DEFAULT"], end_tensor_names: ["DEFAULT"], data_type: "U16" }],
      calibration_method: "MinMax",
      conv_bias_data_type: "FP32",
      enable_smooth_quant: true,
      precision_analysis: false,
    },
    input_processors: part.inputs.map((input) => ({ tensor_name: input.name, src_dtype: "FP32" })),
    compiler: { check: 0 },
  };
}

function pulsarScript(parts: readonly NpuPart[]): string {
  const builds = parts.map((part) => {
    const name = nameOf(part);
    return `pulsar2 build --config ${name}.json\ncp build/${name}/${name}${NPU_BUILDS.axcl.suffix} .`;
  });
  return `#!/bin/sh
# Builds the models of this folder for an AX650 with Pulsar2, inside its container.
set -eu
cd "$(dirname "$0")"
${builds.join("\n")}
`;
}

const PLACES: Record<NpuManifest["target"], { device: string; how: string[]; facts: string[] }> = {
  rknn: {
    device: "the NPU of an RK3588",
    how: [
      "1. On a PC (x86-64 Linux): install rknn-toolkit2, 2.3.2 or what fits the librknnrt.so of the board (the library must not be older than the toolkit).",
      "2. There, in this folder: `python3 build.py`. It writes the .rknn files beside the .onnx files. `--int8` quantises with the recorded inputs.",
    ],
    facts: [
      "Models are float16; what goes in and comes out is f32. The signal is scaled by powers of two where a measured run went beyond 30000 (float16 ends at 65504); the states are scaled with it.",
      "An RK3588 takes sines on its CPU, and each Snake would wait for it. So sin^2 is made of Max, Min, Sub, Mul and Add: the angle is folded, min(x, 2^k - x) again and again, until a polynomial is enough. How often is measured on real speech, with room for angles four times as large; larger ones give no periodic part, but nothing wild.",
      "Users report for other vocoders of this kind that all these element-wise operators make an RK3588's NPU slower than its four large cores with ONNX Runtime, and that only the front part pays. Here the front is 6 % of the arithmetic. `tts convert --snakes cpu` cuts before the first Snake: the NPU does the front, and vocoder-tail.onnx the rest on the CPU. Measure all three: `tts bench`.",
    ],
  },
  axcl: {
    device: "an AX650N, as a card (AXCL) or on its own board",
    how: [
      "1. On a PC: start the container of Pulsar2 (5.0 or newer; the configurations are written for 7.0) with this folder mounted.",
      "2. There, in this folder: `sh build.sh`. It writes the .axmodel files beside the .onnx files.",
    ],
    facts: [
      "All layers are U16, calibrated by MinMax on what a real run had, with f32 biases; what goes in and comes out is f32. Users report that 16 bits through this many convolutions can leave audible noise (7 to 14 dB in other models): the self-test decides, see below.",
      "predictor-frame is all 15 codes of a frame in one run, drawn on the card. predictor-step is one step of it, whose heads (predictor-heads.onnx) and sampling stay with the CPU: a seed then gives the CPU's codes. One of them is enough; where both are built, the frame is used.",
    ],
  },
};

export function npuReadme(manifest: NpuManifest, snakes: "npu" | "cpu"): string {
  const { frames, name, predictor, selfTest, target, vocoder } = manifest;
  const { device, facts, how } = PLACES[target];
  const onCpu = [...vocoder, predictor.heads].filter((part) => part?.runs === "cpu").map((part) => part!.file);
  const onBoard = [...onCpu, NPU_MANIFEST, selfTest.file];
  const built = builtParts(manifest).map((part) => `${nameOf(part)}${NPU_BUILDS[target].suffix}`);
  const cut =
    snakes === "cpu"
      ? ["This folder is cut: the NPU computes what comes before the first Snake, vocoder-tail.onnx the rest on the CPU."]
      : [];
  return `# ${name} for ${device}

Made by \`tts convert --target ${target}\`: graphs of fixed shapes, ${frames} frame${frames === 1 ? "" : "s"} a run, which the vendor's toolkit has yet to build.

${how.join("\n")}
3. On the board: this folder, or of it ${[...built, ...onBoard].join(", ")}. Then \`tts --npu FOLDER "Hello."\`; as \`npu/\` in the model's bundle it is found by itself.

**Nothing here has been tried on hardware or with the vendor's toolkit.** What has been: the graphs give on ONNX Runtime what the
program's own vocoder gives (within 1e-4 of the peak, by tests), their operators, strides, pads, dilations and sizes are in the vendor's lists,
and the calibration inputs are those of the model speaking.

${[...cut, ...facts].map((fact) => `- ${fact}`).join("\n")}
- \`${selfTest.file}\`: real codes and the samples that belong to them. The program runs it when it opens the models; below ${selfTest.leastSnrDb} dB
  (\`leastSnrDb\` in ${NPU_MANIFEST}) it does not use them.
- \`${NPU_MANIFEST}\`: what the files are, and the checkpoint they were made of; models of another checkpoint are refused.
- \`${CALIBRATION}/\`: only for the toolkit.
`;
}
