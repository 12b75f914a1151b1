"""What a derive rule that compares architectures chose, and what that took.

Candidates are measured with the parent's weights and its running batch-norm statistics
(``inherited``) on the selection part of the search validation images. What is kept is reported on
other images: the best of several on its own selection images would flatter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from nasbench_snas.api import DerivationRule, SearchState
from nasbench_snas.search.rules import derive_by


@dataclass(frozen=True)
class Selection:
    """What a rule chose.

    Attributes:
        z: The architecture, shape ``(E, K)``.
        accuracy: Its accuracy on the selection part, percent (an estimate that is too high); None:
            the rule chose one that it had not measured.
        candidates: Architectures whose accuracy was asked for.
        distinct: Different ones among them, all measured but where the time was up.
        images: Images that each was measured on.
        steps: Steps for which the rule trained the parent.
        seconds: Wall-clock seconds.
    """

    z: Tensor
    accuracy: float | None
    candidates: int
    distinct: int
    images: int
    steps: int
    seconds: float


def select(rule: DerivationRule, state: SearchState, images: int) -> Selection:
    """Return what ``rule`` derives, with what it measured.

    Args:
        rule: A rule that compares architectures.
        state: What it looks at.
        images: Images that each architecture is measured on.

    Raises:
        DivergedError: Logits are NaN or infinite.
        PluginError: The rule returns no architecture of the space.
    """
    began = time.perf_counter()
    z = derive_by(rule, state)
    return Selection(
        z=z,
        accuracy=state.known(z),
        candidates=state.asked,
        distinct=state.distinct,
        images=images,
        steps=state.tuned,
        seconds=time.perf_counter() - began,
    )
