#!/usr/bin/env bash
# jax 0.10.2, cost_analysis() of a compiled function on the CPU: a loop of fixed length.
#
# Expected: ten steps of lax.scan cost ten times one step; the length is known when the loop is compiled.
# Seen: a loop costs its body once, whatever its length, so a stack of cells written as a scan looks as cheap as one
# cell. Unrolled, the same function costs ten times as much.
#
# Output seen:
#   one step 8192, ten steps by scan 8194, by fori_loop 8194, unrolled 81920
#
# Exit status: 0 as stated, 1 the behaviour has changed, 2 the packages could not be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || exit 2
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 || exit 2
python=$work/venv/bin/python
cd "$work"
OMP_NUM_THREADS=1 "$python" - <<'PY'
import sys

import jax
import jax.numpy as jnp

weights = jnp.ones((16, 16))


def flops(function):
    return int(jax.jit(function).lower(weights).compile().cost_analysis()["flops"])


def unrolled(w):
    state = w
    for _ in range(10):
        state = state @ w
    return state


one = flops(lambda w: w @ w)
scan = flops(lambda w: jax.lax.scan(lambda state, _: (state @ w, None), w, None, length=10)[0])
loop = flops(lambda w: jax.lax.fori_loop(0, 10, lambda _, state: state @ w, w))
ten = flops(unrolled)
print(f"one step {one}, ten steps by scan {scan}, by fori_loop {loop}, unrolled {ten}")
if not (one <= scan < 2 * one and one <= loop < 2 * one and ten == 10 * one):
    sys.exit("changed: relied on a loop that costs its body once")
PY
