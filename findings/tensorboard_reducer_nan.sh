#!/usr/bin/env bash
# tensorboard-reducer 0.4.0 (tensorboardX 2.6.5): the mean curve of runs of which one diverged to NaN.
#
# Expected: the mean at a step where one run is NaN is NaN.
# Seen: NaN is left out, of the mean, the deviation and the extremes, with no count written beside: after one of three seeds
# diverges the curve goes on as the mean of the two that survived, and it improves at that step.
#
# Output seen:
#   mean of three runs, step by step: [3.0, 3.0] (the second over two runs)
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
    tensorboard-reducer==0.4.0 tensorboardX==2.6.5 tensorboard==2.21.0 torch==2.14.1 pandas==3.1.1 numpy==2.4.6 setuptools==80.9.0 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import contextlib
import io
import math
import sys

import tensorboard_reducer
from tensorboardX import SummaryWriter

for name, values in (("a", [1, 2]), ("b", [3, 4]), ("c", [5, math.nan])):
    writer = SummaryWriter(name)
    for step, value in enumerate(values):
        writer.add_scalar("loss", value, step)
    writer.close()
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    events = tensorboard_reducer.load_tb_events(["a", "b", "c"])
    mean = tensorboard_reducer.reduce_events(events, ["mean"])["mean"]["loss"].tolist()
print(f"mean of three runs, step by step: {mean} (the second over two runs)")
if mean != [3.0, 3.0]:
    sys.exit(f"changed: relied on NaN being left out of the mean, saw {mean}")
PY
