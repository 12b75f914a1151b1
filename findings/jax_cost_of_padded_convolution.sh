#!/usr/bin/env bash
# jax 0.10.2, cost_analysis() of a compiled function on the CPU: a convolution with padding.
#
# Expected: 2 k^2 C_in C_out H W operations, the figure of every paper and of every counter for PyTorch.
# Seen: products with the padding are not counted, so a 3 x 3 convolution of an H x H image has (3H - 2)^2 products a
# pair of channels instead of (3H)^2: 16 % fewer at 8 x 8, 4 % fewer at 32 x 32. Average pooling is counted by
# the same rule; 1 x 1 convolutions and matrix products agree with the formula.
#
# Output seen:
#   8 x 8: 247808 (2 k^2 C C H W is 294912, ratio 0.840)
#   32 x 32: 4524032 (2 k^2 C C H W is 4718592, ratio 0.959)
#   depthwise 8 x 8: 15488 (2 k^2 C H W is 18432)
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


def flops(size, groups):
    images, weights = jnp.ones((1, size, size, 16)), jnp.ones((3, 3, 16 // groups, 16))

    def convolve(images, weights):
        return jax.lax.conv_general_dilated(
            images, weights, (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )

    return int(jax.jit(convolve).lower(images, weights).compile().cost_analysis()["flops"])


def formula(size, groups):
    return 2 * 9 * 16 * (16 // groups) * size * size


seen = {key: flops(*key) for key in ((8, 1), (32, 1), (8, 16))}
for size in (8, 32):
    full = formula(size, 1)
    print(f"{size} x {size}: {seen[size, 1]} (2 k^2 C C H W is {full}, ratio {seen[size, 1] / full:.3f})")
print(f"depthwise 8 x 8: {seen[8, 16]} (2 k^2 C H W is {formula(8, 16)})")
relied = {(size, groups): 2 * 16 * (16 // groups) * (3 * size - 2) ** 2 for size, groups in seen}
if seen != relied:
    sys.exit(f"changed: relied on products with real pixels only, {relied}, saw {seen}")
PY
