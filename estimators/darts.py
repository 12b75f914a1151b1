"""DARTS: the loss at the expected weights, the mixture of all operations.

``Z = p = softmax(alpha)``: ``dL/d alpha_e = p_e * (h_e - <p_e, h_e>)`` with ``h = dL/dZ`` at ``p``.
Deterministic. Biased for the expected loss of discrete architectures: it minimises ``L(E[Z])``
instead of ``E[L(Z)]`` (SNAS eqs. 18-19); exact where L is affine in each row of Z. Theta is trained
for the mixture, ``dL/dtheta`` at ``p``.

Reference: Liu et al. 2019, arXiv:1806.09055, eq. 2.
Deviations: none. The first and second order variants are the levels ``bilevel`` and ``unrolled`` of
the search, not estimators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise


class DARTS(Pathwise):
    """Softmax attention; no sampling, no settings."""

    name = "darts"
    reference = "liu2019darts"
    dense = True
    evaluations = "K F forward + backward"
    bias = "biased"
    claims = {"draw": "darts", "exact_on": "multilinear"}
    search_view = "mean"
    derive_rule = "top2"

    def __init__(self) -> None:
        super().__init__()

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> None:
        """Return None: nothing is random."""
        return None

    # Implements SNAS (19).
    def relax(self, dist: Categorical, noise: None) -> Tensor:
        """Return the probabilities, shape ``(R, 1, E, K)``."""
        return dist.probs[:, None]
