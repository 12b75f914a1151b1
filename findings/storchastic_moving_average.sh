#!/usr/bin/env bash
# storchastic 0.3.7 (torch 2.14.1, pyro-ppl 1.9.2): the score function with its moving-average baseline.
#
# Expected: an unbiased gradient: the baseline is that of the draws before.
# Seen: the cost of the draw is averaged in before it is subtracted, so the baseline depends on the draw: the gradient is too
# small by the weight of the newest cost, 5 % at its decay of 0.95, at every sample size. Without a baseline, and
# with the average over the others of a batch, the same estimator is unbiased.
#
# Output seen (one draw a step, 20,000 draws):
#   mean over exact: 0.954 with the moving average (standard error 0.003), 1.000 without (0.014)
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
    storchastic==0.3.7 pyro-ppl==1.9.2 torch==2.14.1 numpy==2.4.6 || exit 2
  python=$work/venv/bin/python
fi
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys
import warnings

warnings.simplefilter("ignore")
import storch
import torch
from storch.method import ScoreFunction
from torch.distributions import OneHotCategorical

torch.manual_seed(1)
cost, logits = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([0.1, 0.5, -0.3])
p = logits.softmax(-1)
exact = p * (cost - p @ cost)
draws = 20_000


def ratio(baseline):
    """Slope of the mean gradient on the exact one, with its standard error."""
    method, along = ScoreFunction("z", n_samples=1, baseline_factory=baseline), torch.zeros(draws)
    for draw in range(draws):
        leaf = logits.clone().requires_grad_()
        z = method(OneHotCategorical(logits=leaf))
        storch.add_cost((z * cost).sum(-1), "cost")
        storch.backward()
        along[draw] = leaf.grad @ exact / (exact @ exact)
    return along.mean().item(), (along.std() / draws**0.5).item()


(moving, one), (without, two) = ratio("moving_average"), ratio(None)
print(
    f"mean over exact: {moving:.3f} with the moving average (standard error {one:.3f}),"
    f" {without:.3f} without ({two:.3f})"
)
if abs(moving - 0.95) > 4 * one or moving > 1 - 5 * one or abs(without - 1) > 4 * two:
    sys.exit("changed: relied on a gradient shrunk to 0.95 by a baseline that has seen its own draw")
PY
