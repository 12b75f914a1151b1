#!/usr/bin/env bash
# fvcore 0.1.5.post20221221 (torch 2.14.1): a batch normalisation in training and in evaluation mode.
#
# Expected: one figure for a network, or a refusal; the mode is no property of an architecture.
# Seen: an element of a batch norm counts 5 in training mode and 2 in evaluation mode, nothing says which, and the
# count in training mode also moves the running statistics: the same network counted before and after .eval() has
# two costs, and it is not the same network afterwards.
#
# Output seen:
#   training 5120, evaluation 2048 (1024 elements); running mean moved: True
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
    fvcore==0.1.5.post20221221 torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import logging
import sys

import torch
from fvcore.nn import FlopCountAnalysis

logging.disable(logging.CRITICAL)
norm, images = torch.nn.BatchNorm2d(16), torch.ones(1, 16, 8, 8)
before = norm.running_mean.clone()
training = FlopCountAnalysis(norm.train(), images).total()
moved = not torch.equal(before, norm.running_mean)
evaluation = FlopCountAnalysis(norm.eval(), images).total()
print(f"training {training}, evaluation {evaluation} ({images.numel()} elements); running mean moved: {moved}")
if (training, evaluation, moved) != (5 * 1024, 2 * 1024, True):
    sys.exit("changed: relied on 5 an element in training, 2 in evaluation, and statistics that move")
PY
