// AXERA's Pulsar2: a configuration for each model, and a script that builds them all.

import type { NpuPart } from "../../formats/npu-folder.ts";
import { NPU_BUILDS } from "../../npu-vendors.ts";
import { tarOf } from "./_calibration.ts";
import { partName, type Toolkit } from "./_toolkit.ts";

export const PULSAR_TOOLKIT: Toolkit = {
  operators: ["Sin"],
  style: { hasSine: true, fusesRmsNorm: false, rowUnit: 1, timeMajor: false },
  calibrates: true,
  device: () => "an AX650N, as a card (AXCL) or on its own board",
  how: [
    "1. On a PC: start the container of Pulsar2 (5.0 or newer; the configurations are written for 7.0) with this folder mounted.",
    "2. There, in this folder: `sh build.sh`. It writes the .axmodel files beside the .onnx files.",
  ],
  tried:
    "Nothing was tried with Pulsar2 or on a device: the graphs keep to the operators, strides, pads, dilations and sizes of its documents, and the calibration inputs were recorded while the model spoke.",
  facts: () => [
    "Known: packages that AXERA publishes for such models have their convolutions compiled for a fixed 64 frames, 25 of them context that is computed again in each run, with dilations and sines in them. Kokoro's decoder runs on an AX650 with its Snakes unchanged (U16, 0.13 of real time). A user reports that Pulsar2 fails on Pad in front of a dilated convolution, another that it takes no dilation of 9.",
    "Assumed: the graphs here are shorter. A run is as many frames as the title says, and its context comes in and goes out as `state.*` and `next.*` in f32, so nothing is computed twice. On a card the states stay in its memory between runs. Concat puts the context in front of each convolution, dilations of 1, 3 and 9 included; nothing pads. Transposed convolutions are a convolution and a reshuffle. Each Snake has one Sin.",
    "What nobody could try: Pulsar2 on these graphs, that is, whether it takes signals this short and states of 1 to 72 moments at the edges; the time of a run, whose fixed costs weigh more on few frames than on 64; and the noise of U16 in states that are quantised in each run again.",
    "All layers are U16, calibrated by MinMax on a real run, with f32 biases; inputs and outputs are f32. Users report that 16 bits through this many convolutions can leave audible noise (7 to 14 dB in other models). The self-test decides, see below.",
    "predictor-frame gives all 15 codes of a frame in one run, drawn on the card. predictor-step runs one step; its heads (predictor-heads.onnx) and sampling stay on the CPU, so a seed gives the CPU's codes. One of the two is enough; if both are built, predictor-frame is used.",
  ],
  files: (parts) => {
    const configs = parts.map((part): [string, string] => [
      `${partName(part)}.json`,
      `${JSON.stringify(pulsarConfig(part), null, 2)}\n`,
    ]);
    return [["build.sh", pulsarScript(parts)], ...configs];
  },
};

function pulsarConfig(part: NpuPart): unknown {
  const name = partName(part);
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
    const name = partName(part);
    return `pulsar2 build --config ${name}.json\ncp build/${name}/${name}${NPU_BUILDS.axcl.suffix} .`;
  });
  return `#!/bin/sh
# Builds the models of this folder for an AX650 with Pulsar2, inside its container.
set -eu
cd "$(dirname "$0")"
${builds.join("\n")}
`;
}
