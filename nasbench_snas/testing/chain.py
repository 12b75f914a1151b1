"""The smallest distribution that is not factorised, to try estimators on that claim to need none.

``p(Z) = p(Z_1) prod_e p(Z_e | Z_{e-1})`` with a table of logits for each edge.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.distributions import Distribution, one_hot


class Chain(Distribution):
    """A Markov chain of decisions.

    Args:
        tables: Logits, shape ``(E, K, K)`` or ``(R, E, K, K)``: row ``j`` of edge ``e`` holds the
            logits given that edge ``e - 1`` chose ``j``; the first edge uses row 0.
    """

    factorised = False

    def __init__(self, tables: Tensor) -> None:
        tables = tables if tables.dim() == 4 else tables[None]
        super().__init__(tables.shape[1], tables.shape[2], tables.shape[0])
        self.tables = nn.Parameter(tables.detach().clone())

    def hard(self, noise: Tensor) -> Tensor:
        """Return the samples, edge by edge by Gumbel-max; see :meth:`Distribution.hard`."""
        rows: list[Tensor] = []
        for edge in range(self.num_edges):
            logits = self._logits(rows[-1] if rows else None, edge, noise.shape[1])
            index = (logits + noise[:, :, edge]).detach().argmax(dim=-1)
            rows.append(one_hot(index, self.num_operations, self.dtype))
        return torch.stack(rows, dim=2)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return each decision's log-probability; see :meth:`Distribution.log_prob`."""
        columns = []
        for edge in range(self.num_edges):
            logits = self._logits(z[:, :, edge - 1] if edge else None, edge, z.shape[1])
            columns.append((z[:, :, edge] * logits).sum(dim=-1))
        return torch.stack(columns, dim=-1)

    def mode(self) -> Tensor:
        """Return the greedy architecture; see :meth:`Distribution.mode`."""
        shape = (self.replicates, 1, self.num_edges, self.num_operations)
        return self.hard(self.tables.new_zeros(shape))[:, 0]

    def marginals(self, generator: torch.Generator) -> Tensor:
        """Return the exact marginals; see :meth:`Distribution.marginals`."""
        with torch.no_grad():
            rows = [self.tables[:, 0, 0].softmax(dim=-1)]
            for edge in range(1, self.num_edges):
                step = self.tables[:, edge].softmax(dim=-1)
                rows.append((rows[-1][:, :, None] * step).sum(dim=1))
        return torch.stack(rows, dim=1)

    def replicate(self, replicates: int) -> Self:
        """Return ``R`` copies; see :meth:`Distribution.replicate`."""
        return type(self)(self.tables.detach()[:1].expand(replicates, -1, -1, -1))

    def _logits(self, before: Tensor | None, edge: int, draws: int) -> Tensor:
        """Return log-probabilities ``(R, n, K)`` of ``edge`` given one-hot ``before``."""
        table = self.tables[:, edge].log_softmax(dim=-1)
        if before is None:
            return table[:, :1].expand(-1, draws, -1)
        return before @ table
