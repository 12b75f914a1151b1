#!/usr/bin/env bash
# torch 2.14.1, torch.utils.flop_counter.FlopCounterMode: the backward pass of a grouped convolution.
#
# Expected: the backward pass costs twice the forward pass (one product for the input, one for the weight),
# whatever the number of groups.
# Seen: the weight's part is counted as if there were no groups, that is, once too often per group.
# Backward over forward is 2 for 1 group, 5 for 4 groups and 17 for 16: a depthwise network looks
# several times dearer to train than it is. The forward figures are right.
#
# Output seen:
#   groups  1: forward 589824, backward/forward 2.0
#   groups  4: forward 147456, backward/forward 5.0
#   groups 16: forward 36864, backward/forward 17.0
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
    torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

relied = {1: 2.0, 4: 5.0, 16: 17.0}
seen = {}
for groups in relied:
    layer = torch.nn.Conv2d(16, 16, 3, padding=1, groups=groups, bias=False)
    images = torch.ones(2, 16, 8, 8, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        layer(images)
    with FlopCounterMode(display=False) as both:
        layer(images).sum().backward()
    one = forward.get_total_flops()
    assert one == 2 * 2 * 9 * 16 * (16 // groups) * 64, f"the forward figure changed: {one}"
    seen[groups] = (both.get_total_flops() - one) / one
    print(f"groups {groups:2}: forward {one}, backward/forward {seen[groups]}")
if seen != relied:
    sys.exit(f"changed: relied on backward/forward {relied}, saw {seen}")
PY
