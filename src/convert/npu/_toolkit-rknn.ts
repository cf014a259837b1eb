// Rockchip's rknn-toolkit2: a Python script that builds all models of a folder. What is said of the toolkit
// here was seen with 2.5.0 and its simulator; test/tools/npu-check.ts shows it again.

import { RKNN_CHIPS } from "../../npu-vendors.ts";
import { type Build, partName, type Toolkit } from "./_toolkit.ts";

/** The first that makes one operator of an RMSNorm: 2.3.2 squares in float16, which overflows. */
const OLDEST = "2.5.0";

const FOLDED =
  "An RK3588 computes sines, minima and maxima on its CPU, and each Snake would wait for it. So sin^2 is made of Abs, Relu, Clip, Mul, Add and Sub: the angle is folded, x - relu(2x - 2^k) again and again, until a polynomial is enough. The number of folds is measured on real speech, with room for angles four times as large. Larger angles lose the periodic part but do no other harm.";

const TENSORS =
  '`"tensors"` in npu.json says who converts f32 to the models\' float16: "f32" leaves it to librknnrt, "f16" makes the program do it. The sound is the same, and nobody had a board to measure which is faster: change it and run `tts bench`.';

const CORES =
  '`"cores"` in npu.json says how many of the NPU\'s cores a run takes. null leaves it to librknnrt, which takes an idle one. With 1, two sentences that are spoken side by side (`--lanes 2`) get a core each. Others report 2.5 times the speed of one core from three models on three cores, and little from one model on all three.';

const EDGES =
  "An RK3566 or RK3568 reshapes every input and output on its CPU, each by an operator of its own; RK3576 and RK3562 never do.";

export const RKNN_TOOLKIT: Toolkit = {
  operators: ["Abs", "Pow", "ReduceMean", "Relu", "Sqrt"],
  style: { hasSine: false, fusesRmsNorm: true, rowUnit: 8, timeMajor: true },
  calibrates: false,
  device: (chip) => `the NPU of an ${chip!.toUpperCase()}`,
  how: [
    `1. On a PC (x86-64 Linux): \`pip install rknn-toolkit2==${OLDEST}\`, the oldest that builds these graphs. The board's librknnrt.so must not be older than the toolkit.`,
    "2. There, in this folder: `python3 build.py`. It writes the .rknn files beside the .onnx files, says which operators would run on the board's CPU, and keeps the toolkit's own messages in .log files.",
  ],
  tried: `Such graphs were built with rknn-toolkit2 ${OLDEST} and run in its simulator: built for an RK3588, no operator of them is on the CPU, and the starter voice had 42 dB.`,
  facts: (chip) => [
    TENSORS,
    ...(RKNN_CHIPS[chip!].cores > 1 ? [CORES] : []),
    "Models are float16: their tensors too, which the runtime converts from and to f32. Where a measured run went beyond 30000 (float16 ends at 65504), the signal is scaled by powers of two, and the states with it. Quantised to 8 bits, the self-test had 8 dB: there is no such build.",
    ...(RKNN_CHIPS[chip!].hasSine ? [] : [FOLDED]),
    "A tensor whose last size is no multiple of 8 would be reshaped on the CPU: states, mask and signals have whole rows of 8, and are cut to what a layer reads on the NPU.",
    EDGES,
    "Users report that in similar vocoders the many element-wise operators make an RK3588's NPU slower than its four large cores with ONNX Runtime, and that only the front part pays. Here the front is 6 % of the arithmetic. `tts convert --snakes cpu` cuts before the first Snake: the NPU computes the front, and vocoder-tail.onnx the rest on the CPU. Measure all three ways with `tts bench`: all on the NPU, cut, all on the CPU.",
  ],
  files: (parts, build) => [["build.py", rknnScript(parts.map(partName), build)]],
};

/**
 * The toolkit prints hundreds of kilobytes, also from C: all of it goes to a file. Its table of operators
 * only comes with verbose=True.
 */
function rknnScript(models: readonly string[], { chip, cores }: Build): string {
  const single = cores === 1 && RKNN_CHIPS[chip!].cores > 1 ? ", single_core_mode=True" : "";
  return `#!/usr/bin/env python3
"""Builds the models of this folder in float16 for the NPU of an ${chip!.toUpperCase()} with rknn-toolkit2, on a PC."""

import collections
import importlib.metadata
import os
import re
import sys
import tempfile
import time

MODELS = ${JSON.stringify(models)}
OLDEST = "${OLDEST}"
# ID, operator, type of its numbers, place, shapes of inputs, shape of the output: a row of the toolkit's table.
ROW = re.compile(r"^D RKNN: \\[\\S+ *\\] \\d+ +(\\S+) +\\S+ +(CPU|NPU|GPU) +(\\S+) +(\\S+) ", re.M)
EDGES = ("InputOperator", "OutputOperator")


class Failed(Exception):
    pass


def reason(error):
    """The last line: the toolkit puts whole tracebacks into its messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"


def toolkit():
    try:
        version = importlib.metadata.version("rknn-toolkit2")
    except importlib.metadata.PackageNotFoundError:
        raise Failed(f"rknn-toolkit2 is not installed; pip install rknn-toolkit2=={OLDEST}")
    if [int(part) for part in re.findall(r"\\d+", version)[:3]] < [int(part) for part in OLDEST.split(".")]:
        raise Failed(f"rknn-toolkit2 is {version}, which is too old; pip install rknn-toolkit2=={OLDEST}")
    try:
        from rknn.api import RKNN
    except Exception as error:
        raise Failed(f"rknn-toolkit2 {version} does not load: {reason(error)}")
    return RKNN


class Log:
    """All that is printed, also by the toolkit's C code, goes to a file."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        sys.stdout.flush()
        sys.stderr.flush()
        self.kept = [os.dup(1), os.dup(2)]
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        return self

    def __exit__(self, *_):
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in enumerate(self.kept, 1):
            os.dup2(kept, number)
            os.close(kept)
        with open(self.path, errors="replace", newline="") as file:
            # A progress bar returns to the start of its line: only its last state is kept.
            self.text = "\\n".join(line.rstrip("\\r").rsplit("\\r", 1)[-1] for line in file.read().split("\\n"))
        with open(self.path, "w") as file:
            file.write(self.text)


def step(log, what, call, *args, **options):
    try:
        result = call(*args, **options)
        why = None if result in (0, None) else f"the toolkit returned {result}"
    except (Exception, SystemExit) as error:
        why = reason(error)
    if why is not None:
        raise Failed(f"{what} failed: {why}; the toolkit's messages are in {log}")


def report(path, seconds, text):
    rows = ROW.findall(text)
    inner = [row for row in rows if row[0] not in EDGES]
    on_cpu = collections.Counter(
        f"{kind} {inputs.split('),')[0].rstrip(')')}) -> {output}" for kind, place, inputs, output in inner if place == "CPU"
    )
    name, size = os.path.basename(path), os.path.getsize(f"{path}.rknn")
    print(f"{name}.rknn: {size:,} bytes in {seconds:.0f} s; ", end="")
    if not rows:
        print(f"the toolkit gave no table of operators ({name}.log)")
        return
    print(f"{len(inner) - sum(on_cpu.values())} operators on the NPU, {sum(on_cpu.values())} on the CPU")
    for row, count in on_cpu.items():
        print(f"  CPU: {count} x {row}")


def build(folder, name, RKNN):
    start = time.time()
    with Log(f"{folder}/{name}.log") as log:
        rknn = RKNN(verbose=True)
        step(f"{name}.log", "configuring the toolkit", rknn.config, target_platform="${chip}"${single})
        step(f"{name}.log", f"loading {name}.onnx", rknn.load_onnx, model=f"{folder}/{name}.onnx")
        step(f"{name}.log", f"building {name}.onnx", rknn.build, do_quantization=False)
        step(f"{name}.log", f"writing {name}.rknn", rknn.export_rknn, f"{folder}/{name}.rknn")
        rknn.release()
    report(f"{folder}/{name}", time.time() - start, log.text)


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        if len(sys.argv) > 1:
            raise Failed(f"there are no options, and {sys.argv[1]} is one too many")
        RKNN = toolkit()
        for name in MODELS:
            # The toolkit leaves graphs of its own where it runs.
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                os.chdir(scratch)
                build(folder, name, RKNN)
                os.chdir(folder)
    except Failed as error:
        sys.exit(f"build.py: {error}")


main()
`;
}
