"""Builds a folder of graphs for an RK3588 by its own build.py, and decodes its self-test in the toolkit's simulator.

Only the process that built a model can simulate it. python npu-simulate.py FOLDER, in the environment of `make npu-check`.
"""

import json
import os
import runpy
import struct
import sys

import numpy
import onnxruntime
import rknn.api

TYPES = {"I32": numpy.int32, "F32": numpy.float32}
built = []


class Kept(rknn.api.RKNN):
    """build.py releases its toolkit, which would end the simulation."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        built.append(self)

    def release(self):
        pass


def tensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        found[name] = numpy.frombuffer(data[start:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def on_cpu(folder, part):
    session = onnxruntime.InferenceSession(f"{folder}/{part['file']}", providers=["CPUExecutionProvider"])
    names = [info["name"] for info in part["outputs"]]
    return lambda values: session.run(names, {info["name"]: values[info["name"]] for info in part["inputs"]})


def on_npu(toolkit, part):
    return lambda values: toolkit.inference(inputs=[values[info["name"]] for info in part["inputs"]])


def decode(folder, manifest, codes):
    parts = manifest["vocoder"]
    runs = [on_cpu(folder, part) if part["runs"] == "cpu" else on_npu(built[0], part) for part in parts]
    inputs = [info for part in parts for info in part["inputs"] if info["name"].startswith("state.")]
    values = {info["name"]: numpy.zeros(info["shape"], numpy.float32) for info in inputs}
    frames, samples = manifest["frames"], []
    for first in range(0, len(codes), frames):
        values |= {"codes": codes[first : first + frames], "position": numpy.array([first], numpy.int32)}
        for part, run in zip(parts, runs):
            for info, value in zip(part["outputs"], run(values)):
                name = info["name"]
                kept = "state." + name[len("next.") :] if name.startswith("next.") else name
                values[kept] = numpy.asarray(value, numpy.float32).reshape(info["shape"])
        samples.append(values["samples"].reshape(-1))
    return numpy.concatenate(samples)


def main():
    folder = os.path.abspath(sys.argv[1])
    rknn.api.RKNN = Kept
    sys.argv = [f"{folder}/build.py"]  # which takes no options
    runpy.run_path(sys.argv[0], run_name="__main__")
    with open(f"{folder}/npu.json") as file:
        manifest = json.load(file)
    test = tensors(f"{folder}/{manifest['selfTest']['file']}")
    if built[0].init_runtime() != 0:
        sys.exit("the simulator does not start")
    wanted = test["samples"].astype(numpy.float64)
    error = decode(folder, manifest, test["codes"]) - wanted
    print(f"self-test: {10 * numpy.log10((wanted**2).sum() / (error**2).sum()):.2f} dB")


main()
