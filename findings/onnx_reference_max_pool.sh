#!/usr/bin/env bash
# onnx 1.23.2 (its ReferenceEvaluator) against onnxruntime 1.32.0: MaxPool with ceil_mode=1.
#
# Expected: the reference that comes with the format computes the pooling of a search cell, kernel 3, stride 1, padding 1,
# as every runtime does: 6 x 6 in, 6 x 6 out.
# Seen: with ceil_mode=1, which changes nothing where the window divides the image, the reference gives 8 x 8:
# it pads twice. With ceil_mode=0 the two agree, and so do the average poolings in both modes.
#
# Output seen:
#   MaxPool ceil_mode=0: onnxruntime (1, 1, 6, 6), reference (1, 1, 6, 6)
#   MaxPool ceil_mode=1: onnxruntime (1, 1, 6, 6), reference (1, 1, 8, 8)
#   AveragePool ceil_mode=1: onnxruntime (1, 1, 6, 6), reference (1, 1, 6, 6)
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import numpy
import onnxruntime
from onnx import TensorProto, checker, helper
from onnx.reference import ReferenceEvaluator

images = numpy.arange(36, dtype=numpy.float32).reshape(1, 1, 6, 6)
seen = []
for operation, ceil in (("MaxPool", 0), ("MaxPool", 1), ("AveragePool", 1)):
    node = helper.make_node(
        operation, ["x"], ["y"], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, ceil_mode=ceil
    )
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 6, 6]) for name in "xy"]
    graph = helper.make_graph([node], "cell", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runtime = session.run(None, {"x": images})[0].shape
    reference = ReferenceEvaluator(model).run(None, {"x": images})[0].shape
    seen.append((runtime[2], reference[2]))
    print(f"{operation} ceil_mode={ceil}: onnxruntime {runtime}, reference {reference}")
if seen != [(6, 6), (6, 8), (6, 6)]:
    sys.exit(f"changed: relied on a reference that pads MaxPool twice under ceil_mode, saw {seen}")
PY
