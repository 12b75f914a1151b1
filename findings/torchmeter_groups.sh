#!/usr/bin/env bash
# torchmeter 0.1.0 (torch 2.14.1): a depthwise convolution.
#
# Expected: k^2 C H W multiply-adds, a C-th of the full convolution.
# Seen: the groups are ignored: a depthwise convolution of 16 channels costs as much as a full one, 16 times too much, though
# its parameters are counted right. A separable cell of a search space looks dearer than a cell of full
# convolutions, which turns the order of the operations round.
#
# Output seen:
#   full 147456 multiply-adds, 4 groups 147456, depthwise 147456 (of 147456, 36864, 9216)
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# FINDINGS_PYTHON: an interpreter that has the pinned packages already (torch is large).
python=${FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
  python3 -m venv "$work/venv" || exit 2
  "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torchmeter==0.1.0 torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import contextlib
import io
import sys

import torch
from torchmeter import Meter

images = torch.ones(1, 16, 8, 8)
seen = []
for groups in (1, 4, 16):
    layer = torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1, groups=groups, bias=False))
    with contextlib.redirect_stdout(io.StringIO()):
        meter = Meter(layer.eval(), device="cpu")
        meter(images)
        seen.append(int(meter.cal.Macs.val))
right = [9 * 16 * (16 // groups) * 64 for groups in (1, 4, 16)]
print(
    f"full {seen[0]} multiply-adds, 4 groups {seen[1]}, depthwise {seen[2]}"
    f" (of {right[0]}, {right[1]}, {right[2]})"
)
if seen != [right[0]] * 3:
    sys.exit(f"changed: relied on groups being ignored, saw {seen}")
PY
