#!/usr/bin/env bash
# entmax 1.3 (torch 2.14.1): the second derivative of 1.5-entmax.
#
# Expected: where some probabilities are exactly zero, the second derivative is that of the others and zero for the rest, as finite
# differences of its own (right) gradient say; sparse weights are what the function is for.
# Seen: one exact zero makes the whole second derivative NaN, for entmax15 and for entmax_bisect(alpha=1.5); without zeros it is
# right. An unrolled (second-order) search step through it turns every architecture parameter into NaN.
#
# Output seen:
#   no zeros: largest error 0.0000; one zero: NaN in 16 of 16 entries
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
    entmax==1.3 torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import torch
from entmax import entmax15

weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


def gradient(x, keep=False):
    return torch.autograd.grad((entmax15(x, dim=-1) * weights).sum(), x, create_graph=keep)[0]


def hessians(values):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    g = gradient(x, keep=True)
    exact = torch.stack([torch.autograd.grad(g[i], x, retain_graph=True)[0] for i in range(4)])
    step, columns = 1e-5, []
    for i in range(4):
        move = torch.zeros(4, dtype=torch.float64)
        move[i] = step
        up, down = (gradient((x.detach() + s * move).requires_grad_()) for s in (1, -1))
        columns.append((up - down) / (2 * step))
    return exact, torch.stack(columns, 1)


exact, differences = hessians([0.3, 0.2, 0.0, -0.1])
error = (exact - differences).abs().max().item()
sparse, finite = hessians([1.0, 0.6, -0.4, -2.0])
missing = int(sparse.isnan().sum())
print(f"no zeros: largest error {error:.4f}; one zero: NaN in {missing} of 16 entries")
if error > 1e-6 or missing != 16 or not bool(finite.isfinite().all()):
    sys.exit(f"changed: relied on NaN from one exact zero, saw {sparse.tolist()}")
PY
