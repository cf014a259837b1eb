// Rockchip's rknn-toolkit2: a Python script that builds all models of a folder.

import type { NpuPart } from "../../formats/npu-folder.ts";
import { RKNN_CHIPS } from "../../npu-vendors.ts";
import { listOf } from "./_calibration.ts";
import { type Build, partName, type Toolkit } from "./_toolkit.ts";

const FOLDED =
  "An RK3588 computes sines on its CPU, and each Snake would wait for it. So sin^2 is made of Max, Min, Sub, Mul and Add: the angle is folded, min(x, 2^k - x) again and again, until a polynomial is enough. The number of folds is measured on real speech, with room for angles four times as large. Larger angles lose the periodic part but do no other harm.";

const TENSORS =
  '`"tensors"` in npu.json says who converts f32 to the models\' float16: "f32" leaves it to librknnrt, "f16" makes the program do it. The sound is the same, and nobody had a board to measure which is faster: change it and run `tts bench`.';

const CORES =
  '`"cores"` in npu.json says how many of the NPU\'s cores a run takes. null leaves it to librknnrt, which takes an idle one. With 1, two sentences that are spoken side by side (`--lanes 2`) get a core each. Others report 2.5 times the speed of one core from three models on three cores, and little from one model on all three.';

/** What toolkit 2.5.0 was seen to do with the reshapes at the graph's edges. */
const EDGES =
  "Inputs and outputs are reshaped on the CPU of an RK3566 or RK3568, each by an operator of its own. An RK3588 does that with rows that are no multiple of 8 only, and RK3576 and RK3562 never.";

export const RKNN_TOOLKIT: Toolkit = {
  operators: [],
  calibration: "list",
  device: (chip) => `the NPU of an ${chip!.toUpperCase()}`,
  how: [
    "1. On a PC (x86-64 Linux): install rknn-toolkit2, 2.3.2 or the version that fits the board's librknnrt.so (the library must not be older than the toolkit).",
    "2. There, in this folder: `python3 build.py`. It writes the .rknn files beside the .onnx files. `--int8` quantises with the recorded inputs.",
  ],
  facts: (chip) => [
    TENSORS,
    ...(RKNN_CHIPS[chip!].cores > 1 ? [CORES] : []),
    EDGES,
    "Models are float16; inputs and outputs are f32. Where a measured run went beyond 30000 (float16 ends at 65504), the signal is scaled by powers of two, and the states with it.",
    ...(RKNN_CHIPS[chip!].hasSine ? [] : [FOLDED]),
    "Users report that in similar vocoders the many element-wise operators make an RK3588's NPU slower than its four large cores with ONNX Runtime, and that only the front part pays. Here the front is 6 % of the arithmetic. `tts convert --snakes cpu` cuts before the first Snake: the NPU computes the front, and vocoder-tail.onnx the rest on the CPU. Measure all three ways with `tts bench`: all on the NPU, cut, all on the CPU.",
  ],
  files: (parts, build) => [["build.py", rknnScript(parts, build)]],
};

function rknnScript(parts: readonly NpuPart[], { chip, cores }: Build): string {
  const list = parts.map((part) => `    "${partName(part)}": "${listOf(partName(part))}",`).join("\n");
  return `#!/usr/bin/env python3
"""Builds the models of this folder for the NPU of an ${chip!.toUpperCase()} with rknn-toolkit2, on a PC.

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
    check(rknn.config(target_platform="${chip}"${cores === 1 && RKNN_CHIPS[chip!].cores > 1 ? ", single_core_mode=True" : ""}, optimization_level=3) or 0, "config")
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
