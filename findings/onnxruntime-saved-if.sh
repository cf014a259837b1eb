#!/bin/sh
# ONNX Runtime 1.30 writes an optimised model that it cannot read back when weights lie in a branch of an If and
# the weights go to an external file. It loads and runs the model that it was given. The saved one has the
# branch's weights twice, and loading it fails. So a graph with weights in branches cannot be laid down in its
# optimised form.
#
# Seen: onnxruntime 1.30.0, CPU, x64, python 3.11, 2026-11-29 (1.32.0 reads it back):
#   the model gives 8.0
#   its optimised copy: ... Error weight_then initializer name is not unique
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.30.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/try.py" <<'PY'
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime as ort

folder = sys.argv[1]
SIZE = 64


def branch(name, value):
    weight = numpy_helper.from_array(np.full((SIZE, SIZE), value, np.float32), f"weight_{name}")
    node = helper.make_node("MatMul", ["x", f"weight_{name}"], [f"y_{name}"])
    out = helper.make_tensor_value_info(f"y_{name}", TensorProto.FLOAT, [1, SIZE])
    return helper.make_graph([node], name, [], [out], [weight])


choose = helper.make_node("If", ["flag"], ["y"], then_branch=branch("then", 0.125), else_branch=branch("else", 0.25))
graph = helper.make_graph(
    [choose], "chosen",
    [helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
     helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIZE])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, SIZE])])
model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
onnx.checker.check_model(model, full_check=True)
onnx.save(model, f"{folder}/model.onnx")
options = ort.SessionOptions()
options.log_severity_level = 4
options.optimized_model_filepath = f"{folder}/saved.onnx"
options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "saved.data")
options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "0")
session = ort.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
feeds = {"flag": np.array(True), "x": np.ones((1, SIZE), np.float32)}
print("the model gives", session.run(None, feeds)[0][0, 0])
try:
    ort.InferenceSession(f"{folder}/saved.onnx", providers=["CPUExecutionProvider"])
except Exception as error:
    print("its optimised copy:", str(error).replace("\n", " ")[-120:])
    sys.exit(0 if "not unique" in str(error) else 1)
print("its optimised copy loads")
sys.exit(1)
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2>/dev/null
