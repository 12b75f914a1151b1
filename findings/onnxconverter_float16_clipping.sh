#!/usr/bin/env bash
# onnxconverter-common 1.16.0 (onnx 1.23.2): weights converted to half precision.
#
# Expected: each weight is rounded to the nearest half: 2e4 stays 2e4 (the largest half is 65504), 1e-8 becomes zero.
# Seen: magnitudes are forced into [1e-7, 1e4] unless they are zero: 2e4 is halved to 1e4, and 1e-8 is raised twelvefold
# instead of vanishing. Running variances of a batch norm or logits beyond 1e4 change by more than rounding.
#
# Output seen:
#   wrote [1e-08, 3e-08, 1.0, 20000.0, 60000.0], converted [1.2e-07, 1.2e-07, 1.0, 10000.0, 10000.0]
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  onnxconverter-common==1.16.0 onnx==1.23.2 numpy==2.4.6 protobuf==7.36.2 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys
import warnings

import numpy
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common import float16

warnings.simplefilter("ignore")
wrote = [1e-8, 3e-8, 1.0, 2e4, 6e4]
weights = numpy_helper.from_array(numpy.array(wrote, numpy.float32), "w")
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [5]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
half = float16.convert_float_to_float16(model)
converted = numpy_helper.to_array(half.graph.initializer[0])
print(f"wrote {wrote}, converted {[float(f'{value:.2g}') for value in converted]}")
relied = numpy.array([1e-7, 1e-7, 1.0, 1e4, 1e4], numpy.float16)
if converted.dtype != numpy.float16 or not numpy.array_equal(converted, relied):
    sys.exit(f"changed: relied on magnitudes forced into [1e-7, 1e4], saw {converted.tolist()}")
PY
