"""The exact gradient: the sum over all architectures.

``J = sum_Z p(Z) L(Z)`` is differentiated as it stands, for alpha and theta: no variance, no bias,
``K^E`` evaluations. For tests and for tiny spaces; refuses larger ones. Any distribution will do.

Reference: SNAS eqs. (3)-(4), Xie et al. 2019, arXiv:1812.09926.
Deviations: none. When theta is trained on a batch of its own (bilevel), it gets one draw.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator, Loss, one_hot
from nasbench_snas.errors import ConfigError


class Exact(Estimator):
    """Enumeration of all architectures.

    Args:
        limit: Most architectures it agrees to evaluate. Default 4096.
    """

    name = "exact"
    family = "enumeration"
    reference = "xie2019snas"
    evaluations = "K^E F forward + backward"
    bias = "unbiased"
    enumerates = True
    needs_factorised = False

    def __init__(self, limit: int = 4096) -> None:
        super().__init__()
        self.limit = limit

    # Implements SNAS (3, 4, 16, 17, 18).
    def surrogate(self, loss: Loss, dist: Distribution, noise: Any) -> Tensor:
        """Return ``J``, shape ``(R,)``; see :meth:`Estimator.surrogate`."""
        edges, operations = dist.num_edges, dist.num_operations
        if operations**edges > self.limit:
            raise ConfigError(
                f"exact: {operations}^{edges} = {operations**edges} architectures.",
                f"The limit is {self.limit}, a backward pass through all of them.",
                "Use a smaller space, a larger limit, or local-expectation.",
            )
        device = next(dist.parameters()).device
        digits = operations ** torch.arange(edges, device=device)
        index = torch.arange(operations**edges, device=device)[:, None] // digits % operations
        z = one_hot(index, operations, dist.dtype).expand(dist.replicates, -1, -1, -1)
        return (dist.log_prob(z).sum(dim=-1).exp() * loss(z)).sum(dim=1)
