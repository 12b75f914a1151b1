"""IndeCateR: every decision summed exactly, each with samples of the others of its own.

``g_e = sum_k grad p_ek * 1/n sum_s L(Z^(s) with Z_e = k)``: the CatLog-derivative trick for
independent decisions. The samples ``Z^(s)`` of one edge are independent of those of another
(``shared=False``), or the same for all (``shared=True``: then it is ``local-expectation`` with the
same ``n``, draw by draw). Unbiased for the expected loss either way. Theta gets ``dL/dtheta`` at n
hard samples; the others are evaluated without a graph, ``chunk`` at a time.

Reference: De Smet et al. 2023, arXiv:2311.12569, section 4 (the independent categorical
REINFORCE estimator).
Deviations: none; with independent samples theta learns from those of the first edge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, score_term
from nasbench_snas.errors import ConfigError


class IndeCateR(Estimator):
    """Sums over each edge's operations with samples of the other edges.

    Args:
        n: Samples of the other edges, for each edge. Default 1.
        shared: Whether all edges use the same samples. Default False.
        chunk: Architectures of each replicate in one evaluation, to bound memory. Default 64.
    """

    name = "indecater"
    family = "marginalisation"
    reference = "desmet2023catlog"
    evaluations = "(n + n E K) F forward, n F backward for theta"
    bias = "unbiased"
    claims = {"draw": "coupled:indecater", "noise": "gumbel"}
    conformance_variants = ({"shared": True}, {"n": 2}, {"chunk": 3})

    def __init__(self, n: int = 1, shared: bool = False, chunk: int = 64) -> None:
        super().__init__()
        if n < 1 or chunk < 1:
            raise ConfigError(
                f"indecater: n = {n}, chunk = {chunk} is not possible.", "Both must be at least 1."
            )
        self.n, self.shared, self.chunk = n, shared, chunk

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> Tensor:
        """Return Gumbel noise, ``(R, n, E, K)`` if shared, else ``(R, n E, E, K)``."""
        groups = 1 if self.shared else dist.num_edges
        noise: Tensor = dist.noise(replicates, self.n * groups, generator)
        return noise

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the losses of n samples plus terms of value zero."""
        edges, operations = dist.num_edges, dist.num_operations
        hard = dist.hard(noise)
        samples = hard[:, : self.n]
        losses = loss(samples)
        own = hard.view(len(hard), -1, self.n, edges, operations).movedim(1, 2)
        own = own.expand(-1, -1, edges, -1, -1)  # (R, n, the edge that is summed, E, K)
        here = torch.eye(edges, dtype=hard.dtype, device=hard.device)[:, None, :, None]
        rows = torch.eye(operations, dtype=hard.dtype, device=hard.device)[:, None, :]
        changed = here * rows + (1 - here) * own[:, :, :, None]
        with torch.no_grad():
            parts = torch.split(changed.flatten(1, 3), self.chunk, dim=1)
            table = torch.cat([loss(part) for part in parts], dim=1)
        table = table.view(len(hard), self.n, edges, operations)
        return (losses + score_term(table, dist.probs[:, None]).sum(dim=(-2, -1))).mean(dim=1)

    def weights(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return n hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise)[:, : self.n]
