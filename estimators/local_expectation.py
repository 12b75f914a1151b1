"""Local expectation gradients: on each edge, the sum over its operations given the other edges.

``g_e = sum_k grad p_ek L(Z with Z_e = k) = p_e * (L_e - <p_e, L_e>)``, where ``L_e`` holds the
losses of the ``K`` architectures that differ from the draw ``Z`` in edge ``e`` only: REINFORCE,
Rao-Blackwellised edge by edge. Unbiased for the expected loss. With ``edges = m`` only m random
edges are treated in a draw, weighted by ``E / m``. Theta gets ``dL/dtheta`` at ``Z``; the other
architectures are evaluated without a graph, ``chunk`` at a time.

Reference: Titsias and Lazaro-Gredilla 2015, "Local expectation gradients for black box variational
inference", arXiv:1503.01494.
Deviations: the random subset of edges is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot, score_term
from nasbench_snas.errors import ConfigError


class LocalExpectation(Estimator):
    """Edge-wise marginalisation of the score function.

    Args:
        edges: ``m``, random edges that are treated in a draw; 0 or at least ``E``: all of them.
            Default 0.
        n: Architectures per draw. Default 1.
        chunk: Architectures of each replicate in one evaluation, to bound memory. Default 64.
    """

    name = "local-expectation"
    family = "marginalisation"
    reference = "titsias2015local"
    evaluations = "(1 + E (K - 1)) F forward, 1 F backward for theta"
    bias = "unbiased"
    claims = {"draw": "score:local_expectation", "noise": ("gumbel", "indices")}
    conformance_variants = ({"edges": 1}, {"chunk": 1})

    def __init__(self, edges: int = 0, n: int = 1, chunk: int = 64) -> None:
        super().__init__()
        if edges < 0 or chunk < 1:
            raise ConfigError(
                f"local-expectation: edges = {edges}, chunk = {chunk} is not possible.",
                "Expected edges >= 0 (0: all) and chunk >= 1.",
            )
        self.edges, self.n, self.chunk = edges, n, chunk

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gumbel noise ``(R, n, E, K)`` and the treated edges, indices ``(R, n, m)``."""
        first: Tensor = dist.noise(replicates, self.n, generator)
        order = torch.rand(first.shape[:3], generator=generator, device=first.device)
        return first, order.argsort(dim=-1)[..., : self.edges or None]

    def surrogate(self, loss: Loss, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss at Z plus terms of value zero; see :meth:`Estimator.surrogate`."""
        hard, chosen = dist.hard(noise[0]), noise[1]
        losses = loss(hard)
        table = self.table(loss, losses.detach(), hard, chosen)
        rows = chosen[..., None].expand(*chosen.shape, dist.num_operations)
        probs = dist.probs[:, None].expand(hard.shape).gather(2, rows)
        local = score_term(table, probs).sum(dim=(-2, -1))
        return (losses + local * (dist.num_edges / chosen.shape[-1])).mean(dim=1)

    def table(self, loss: Loss, losses: Tensor, z: Tensor, chosen: Tensor) -> Tensor:
        """Return the loss of every operation on each chosen edge, shape ``(R, n, m, K)``.

        Args:
            loss: The objective.
            losses: Losses of ``z``, shape ``(R, n)``, detached.
            z: One-hot architectures, shape ``(R, n, E, K)``.
            chosen: Indices of edges, shape ``(R, n, m)``.
        """
        (replicates, n, edges, operations), m = z.shape, chosen.shape[-1]
        drawn = z.argmax(dim=-1).gather(-1, chosen)
        shifts = torch.arange(1, operations, device=z.device)
        others = (drawn[..., None] + shifts) % operations
        here = one_hot(chosen, edges, z.dtype)[:, :, :, None, :, None]
        rows = one_hot(others, operations, z.dtype)[:, :, :, :, None, :]
        changed = here * rows + (1 - here) * z[:, :, None, None]
        with torch.no_grad():
            parts = torch.split(changed.flatten(1, 3), self.chunk, dim=1)
            found = torch.cat([loss(part) for part in parts], dim=1)
        table = losses[..., None, None].expand(replicates, n, m, operations).clone()
        return table.scatter(-1, others, found.view(replicates, n, m, operations - 1))

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the hard samples; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])
