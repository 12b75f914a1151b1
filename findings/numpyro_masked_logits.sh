#!/usr/bin/env bash
# numpyro 0.22.0 (jax 0.10.2): a categorical distribution with one operation ruled out by a logit of -inf.
#
# Expected: what probabilities with a zero give: the operation is never drawn, its log-probability is -inf and the entropy
# is that of the others (torch.distributions accepts such logits).
# Seen: Categorical(logits=...) refuses them with a ValueError; with its checks off the entropy is NaN, although the
# same distribution given as probabilities is accepted and has the right entropy.
#
# Output seen:
#   logits: refused; unchecked entropy nan; by probabilities 0.5822
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import math
import sys

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as distributions

logits = jnp.array([0.0, 1.0, -jnp.inf])
try:
    distributions.Categorical(logits=logits)
    first = "accepted"
except ValueError:
    first = "refused"
by_probabilities = float(distributions.Categorical(probs=jax.nn.softmax(logits)).entropy())
numpyro.enable_validation(False)
unchecked = float(distributions.Categorical(logits=logits).entropy())
print(f"logits: {first}; unchecked entropy {unchecked:.4f}; by probabilities {by_probabilities:.4f}")
p = float(jax.nn.sigmoid(1.0))
right = -p * math.log(p) - (1 - p) * math.log(1 - p)
if first != "refused" or not math.isnan(unchecked) or abs(by_probabilities - right) > 1e-4:
    sys.exit("changed: relied on -inf being refused as a logit, and on zero as a probability being fine")
PY
