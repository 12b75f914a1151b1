"""DisARM-Tree: antithetic pairs of categoricals by a balanced binary tree, Rao-Blackwellised.

As ``disarm-sb``, with another construction: each binary decision halves the operations that are
left, so that a sample takes ``log2 K`` decisions and the pair separates at the root as often as
it can. With ``phi`` the log-odds of the right half, a node on both paths gets ``(L - L')
(-1)^{b'} 1[b != b'] sigma(|phi|) / 2``, a node on one path ``(L - L') (b - sigma(phi)) / 2`` with
the sign of its sample. Unbiased for the expected loss.

Reference: Dong, Mnih and Tucker 2021, arXiv:2106.08056, section 3 (DisARM-Tree).
Deviations: K need not be a power of two (halves are rounded down); the leaves may be sorted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .disarm_sb import AntitheticTree, StickOrder


class DisARMTree(AntitheticTree):
    """Antithetic pairs by a balanced tree.

    Args:
        pairs: Antithetic pairs per draw; ``n`` is twice that. Default 1.
        order: Order of the leaves: ``given``, ``ascending`` or ``descending`` in probability.
            Default 'given'.
    """

    name = "disarm-tree"
    family = "score"
    reference = "dong2021coupled"
    evaluations = "2 F forward, 2 F backward for theta, for each pair"
    bias = "unbiased"
    claims = {"draw": "coupled:disarm_tree", "noise": "uniform"}
    conformance_variants = ({"pairs": 3}, {"order": "ascending"}, {"order": "descending"})
    n = 2

    def __init__(self, pairs: int = 1, order: StickOrder = "given") -> None:
        super().__init__(pairs, order)

    def branches(self, operations: int) -> tuple[Tensor, Tensor]:
        """Return the halves of each node of a balanced tree over the leaves."""
        one = torch.zeros(operations - 1, operations, dtype=torch.bool)
        zero = one.clone()
        ranges, node = [(0, operations)], 0
        while ranges:
            low, high = ranges.pop(0)
            if high - low < 2:
                continue
            middle = (low + high) // 2
            zero[node, low:middle], one[node, middle:high] = True, True
            ranges += [(low, middle), (middle, high)]
            node += 1
        return one, zero
