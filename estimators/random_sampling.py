"""Random sampling: one uniformly random child, nothing selected.

Theta is trained as by ``random``; the child is the largest entries of alpha's random start. What a
random architecture of the space is worth under the same protocol: the floor below random search.

Reference: Yang et al. 2020, arXiv:1912.12522, section 3 (there retrained, "randomly sampled
architectures").
"""

from __future__ import annotations

from typing import ClassVar

from nasbench_snas.api import DeriveRule

from .random import Random


class RandomSampling(Random):
    """Uniform single paths, one random child.

    Args:
        n: Architectures per draw.
    """

    name = "random-sampling"
    version = 1
    family = "random"
    reference = "yang2020frustratingly"
    evaluations = "n F forward + backward"
    bias = "none"
    claims = {"samples": "uniform"}
    derive_rule: ClassVar[DeriveRule] = "argmax"

    def __init__(self, n: int = 1) -> None:
        super().__init__(n)
