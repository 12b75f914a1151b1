"""Random sampling: one uniformly random child, nothing selected.

``Z ~ uniform``, ``dJ/d alpha = 0``: theta is trained as by ``random``, and the child is the largest
entries of alpha's random start, ``N(0, 1e-3)``. What a random architecture of the space is worth
under the same protocol: the floor below random search.

Reference: Yang et al. 2020, arXiv:1912.12522, section 3 ("randomly sampled architectures").
Deviation: the child inherits its weights; there it is trained from scratch (`nasbench retrain`).
"""

from __future__ import annotations

from .random import Random


class RandomSampling(Random):
    """Uniform single paths, one random child.

    Args:
        n: Architectures per draw. Default 1.
    """

    name = "random-sampling"
    version = 1
    family = "random"
    reference = "yang2020frustratingly"
    evaluations = "n F forward + backward"
    bias = "none"
    claims = {"samples": "uniform"}
    derive_rule = "argmax"

    def __init__(self, n: int = 1) -> None:
        super().__init__(n)
