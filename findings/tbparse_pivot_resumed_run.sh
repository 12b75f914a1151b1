#!/usr/bin/env bash
# tbparse 0.0.9 (tensorboardX 2.6.5): a resumed run that logs a step twice, read with pivot=True.
#
# Expected: one number a step, the last written, as TensorBoard's own page draws it after a restart.
# Seen: the cell of a step that was logged twice is a Python list of both values, in no order of time, so the column turns
# from numbers into objects; and a NaN among them is dropped, so a step that diverged first and was
# repeated looks as if it had been logged once.
#
# Output seen:
#   [0.5, [0.25, 0.75], 0.125] as object
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  tbparse==0.0.9 tensorboardX==2.6.5 tensorboard==2.21.0 pandas==3.1.1 numpy==2.4.6 setuptools==80.9.0 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import math
import sys

from tbparse import SummaryReader
from tensorboardX import SummaryWriter

first = SummaryWriter("run")
for step, value in enumerate([0.5, 0.75, math.nan]):
    first.add_scalar("loss", value, step)
first.close()
second = SummaryWriter("run", filename_suffix=".resumed")
for step, value in ((1, 0.25), (2, 0.125)):
    second.add_scalar("loss", value, step)
second.close()
column = SummaryReader("run", pivot=True).scalars["loss"]
seen = [sorted(value) if isinstance(value, list) else float(value) for value in column]
print(seen, "as", column.dtype)
if seen != [0.5, [0.25, 0.75], 0.125] or column.dtype != object:
    sys.exit("changed: relied on a list for a repeated step, and on a NaN that is dropped beside a number")
PY
