#!/usr/bin/env bash
# pyro-ppl 1.9.2 (torch 2.14.1), RelaxedOneHotCategoricalStraightThrough: the density of its own sample.
#
# Expected: log_prob(sample) depends on the value of the sample, so a copy, a detached view and a stored and reloaded
# sample have the same density.
# Seen: the relaxed point is a hidden attribute of the tensor that rsample returned. That very object has a finite
# log-density; its detach(), its clone() and an equal one-hot vector give NaN, with nothing raised: a replayed sample
# poisons the objective.
#
# Output seen:
#   the sample itself: finite True; detach, clone, equal tensor: NaN [True, True, True]
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
    pyro-ppl==1.9.2 torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import torch
from pyro.distributions import RelaxedOneHotCategoricalStraightThrough

torch.manual_seed(0)
relaxed = RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), logits=torch.tensor([0.5, -0.3, 1.2]))
sample = relaxed.rsample()
itself = bool(relaxed.log_prob(sample).isfinite())
copies = [
    bool(relaxed.log_prob(copy).isnan())
    for copy in (sample.detach(), sample.clone(), torch.tensor(sample.tolist()))
]
print(f"the sample itself: finite {itself}; detach, clone, equal tensor: NaN {copies}")
if not itself or not all(copies):
    sys.exit("changed: relied on a density that belongs to the object, not to its value")
PY
