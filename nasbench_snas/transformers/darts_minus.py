"""DARTS-: an auxiliary skip connection on every edge that fades away over the search.

The output of every edge of the parent becomes

    x_j = sum_{i<j} ( beta x_i + sum_k z_ij^k O_k(x_i) ),   beta from 1 to 0, linearly,

where ``x_i`` passes a factorised reduction at stride 2. The skip connection that helps to train
deep networks is thus apart from the candidate that competes with the other operations. It has no
weight of its own to be searched, and the derived network has none.

The transformer changes no loss: it tells the parent ``beta`` before every step, in steps of theta
as in steps of alpha, whatever the estimator and the level. While a child is measured, ``beta`` is
0, also where a search ends early.

Reference: Chu et al. 2021, arXiv:2009.01027, eq. 6 and section 4.1. Deviations: ``beta`` moves with
every step (there: every epoch); an edge of which ``none`` alone has a weight is dropped with its
auxiliary connection; the cosine decay of the paper's ablation is not offered.
"""

from __future__ import annotations

from nasbench_snas.api import LossTransformer
from nasbench_snas.errors import ConfigError


class DartsMinus(LossTransformer):
    """A fading auxiliary skip connection.

    Args:
        start: ``beta`` at the start of the run; it ends at 0. Default 1.0.

    Raises:
        ConfigError: It is not positive.
    """

    name = "darts-minus"
    summary = "auxiliary skip connections in the parent that fade away (DARTS-)"
    reference = "chu2021dartsminus"
    auxiliary_skip = True
    captures = True

    def __init__(self, start: float = 1.0) -> None:
        if start <= 0:
            raise ConfigError(f"transformer.{self.name}.start must be positive, got {start}.")
        self.start = start

    def auxiliary_weight(self, progress: float) -> float:
        """Return ``beta``."""
        return self.start * (1 - progress)
