#!/usr/bin/env bash
# torchprofile 0.1.0 (torch 2.14.1): a transposed convolution with stride.
#
# Expected: k^2 C_in C_out multiply-adds for each pixel of the input, as each input pixel meets the kernel once.
# Seen: they are charged for each pixel of the output, stride^2 times too many: four times at stride 2, nine at
# stride 3. At stride 1 the figure is right, so a check on one layer does not show it.
#
# Output seen:
#   stride 1: 73728 of 73728; stride 2: 131072 of 32768; stride 3: 663552 of 73728
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
    torchprofile==0.1.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys
import warnings

warnings.simplefilter("ignore")
import torch
from torchprofile import profile_macs

images = torch.ones(1, 16, 8, 8)
seen, right = [], []
for stride, kernel, padding in ((1, 3, 1), (2, 2, 0), (3, 3, 0)):
    layer = torch.nn.ConvTranspose2d(16, 8, kernel, stride, padding, bias=False).eval()
    seen.append(profile_macs(layer, images))
    right.append(kernel * kernel * 16 * 8 * 64)
print("; ".join(f"stride {s}: {a} of {b}" for s, a, b in zip((1, 2, 3), seen, right, strict=True)))
if [a / b for a, b in zip(seen, right, strict=True)] != [1, 4, 9]:
    sys.exit(f"changed: relied on stride squared too many, saw {seen} of {right}")
PY
