"""Says in words how a wrong gradient differs from the right one.

Candidates are tried from the simplest: nothing at all, a factor, a sign, edges in another order,
edges by themselves, operations by themselves. A candidate is named where it explains nine tenths of
the squared difference and what is left is within the uncertainty that is given.
"""

from __future__ import annotations

import itertools

import numpy as np

from nasbench_snas.stats.interval import FloatArray

EXPLAINED = 0.9
MOST_PERMUTED = 5


def diagnose(
    got: FloatArray, right: FloatArray, shape: tuple[int, ...], error: FloatArray | None = None
) -> str:
    """Return a sentence on how ``got`` differs from ``right``.

    Args:
        got: Mean gradient, shape ``(d,)``.
        right: What it should be, shape ``(d,)``.
        shape: ``(E, K)`` where the gradient is that of logits, else anything else.
        error: Standard errors of ``got``, shape ``(d,)``; None: it is exact.
    """
    size, missing = float(np.linalg.norm(right)), float(np.linalg.norm(got - right))
    noise = 0.0 if error is None else float(np.sqrt(np.square(error).sum()))
    off = f"off by {missing / size:.3g} of its length" if size else f"{missing:.3g} instead of zero"
    if not got.any():
        return f"it is zero ({off})"
    if size == 0:
        return off
    scale = float(got @ right) / size**2
    left = float(np.linalg.norm(got - scale * right))
    if left <= max((1 - EXPLAINED) ** 0.5 * missing, 3 * noise if noise < missing else 0):
        word = "its sign is negated and its scale" if scale < 0 else "its scale"
        return f"{word} is {scale:.4g} times the right one ({off})"
    if len(shape) == 2 and shape[0] * shape[1] == len(right):
        found = _by_edge(got.reshape(shape), right.reshape(shape), 3 * noise)
        if found:
            return f"{found} ({off})"
    return f"{off}; cosine {float(got @ right) / size / float(np.linalg.norm(got)):.3f}"


def _by_edge(got: FloatArray, right: FloatArray, noise: float) -> str:
    edges, operations = right.shape
    limit = max(1e-6 * float(np.linalg.norm(right)), noise)
    if 2 <= edges <= MOST_PERMUTED:
        for order in itertools.permutations(range(edges)):
            if order != tuple(range(edges)) and np.linalg.norm(got - right[list(order)]) <= limit:
                return f"its edges are permuted: it has those of {list(order)}"
    difference = np.square(got - right)
    total = float(difference.sum())
    by_edge = difference.sum(axis=1)
    wrong = [e for e in range(edges) if by_edge[e] > (1 - EXPLAINED) / edges * total]
    if len(wrong) < edges and by_edge[wrong].sum() > EXPLAINED * total:
        return (
            f"only edge{'s' if len(wrong) > 1 else ''} {_list(wrong)} {_factors(got, right, wrong)}"
        )
    by_operation = difference.sum(axis=0)
    wrong = [k for k in range(operations) if by_operation[k] > (1 - EXPLAINED) / operations * total]
    if len(wrong) < operations and by_operation[wrong].sum() > EXPLAINED * total:
        return f"only operation {_list(wrong)} is wrong, on several edges"
    return ""


def _list(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))


def _factors(got: FloatArray, right: FloatArray, edges: list[int]) -> str:
    """Say what the rows of ``edges`` are multiplied by, or which operations are off."""
    parts = []
    for e in edges:
        size = float(right[e] @ right[e])
        scale = float(got[e] @ right[e]) / size if size else 0.0
        if np.linalg.norm(got[e] - scale * right[e]) < 0.3 * np.linalg.norm(got[e] - right[e]):
            parts.append(f"is {scale:.3g} times the right row" if scale else "is zero")
        else:
            share = np.square(got[e] - right[e])
            worst = int(share.argmax())
            parts.append(f"is wrong, most at operation {worst}")
    return "; ".join(parts)
