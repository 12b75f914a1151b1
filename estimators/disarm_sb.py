"""DisARM-SB: antithetic pairs of categoricals by stick breaking, Rao-Blackwellised.

A categorical is ``K - 1`` binary decisions with logits ``phi``: ``b_i = 1`` takes the i-th
operation, otherwise the next decision is made. A pair ``Z, Z'`` uses uniforms ``u`` and ``1 - u``.
For decision i on the paths of both: ``dJ/dphi_i = (L - L') (-1)^{b'_i} 1[b_i != b'_i]
sigma(|phi_i|) / 2``; on the path of Z alone: ``(L - L') (b_i - sigma(phi_i)) / 2``; of Z' alone the
same with the two exchanged. The chain rule leads from ``phi`` to alpha. Unbiased for the expected
loss; decisions on neither path have no gradient.

Reference: Dong, Mnih and Tucker 2021, arXiv:2106.08056, section 3 (DisARM-SB).
Deviations: the paper multiplies nothing else; the order of the sticks is a setting, the given one
by default.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss
from nasbench_snas.errors import ConfigError

StickOrder = Literal["given", "ascending", "descending"]


class AntitheticTree(Estimator):
    """Antithetic pairs of categoricals that are binary trees; base of the three DisARM forms.

    Args:
        pairs: Antithetic pairs per draw; ``n`` is twice that.
        order: Order of the operations at the leaves, by probability.
    """

    def __init__(self, pairs: int = 1, order: StickOrder = "given") -> None:
        super().__init__()
        if pairs < 1:
            raise ConfigError(f"{self.name}: pairs must be at least 1, got {pairs}.")
        if order not in ("given", "ascending", "descending"):
            raise ConfigError(
                f"{self.name}: order = {order!r}.", "Expected given, ascending or descending."
            )
        self.pairs, self.n, self.order = pairs, 2 * pairs, order

    @abstractmethod
    def branches(self, operations: int) -> tuple[Tensor, Tensor]:
        """Return which leaves are under ``b = 1`` and ``b = 0`` of each node, ``(K - 1, K)``."""

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> Tensor:
        """Return uniforms, shape ``(R, pairs, E, K - 1)``."""
        shape = (replicates, self.pairs, dist.num_edges, dist.num_operations - 1)
        return torch.rand(shape, generator=generator, dtype=dist.dtype, device=generator.device)

    def sorted_log_probs(self, dist: Categorical) -> tuple[Tensor, Tensor]:
        """Return ``log p`` in the order of the leaves and that order, both ``(R, E, K)``."""
        log_probs = dist.log_probs
        index = torch.arange(dist.num_operations, device=log_probs.device).expand(log_probs.shape)
        if self.order != "given":
            index = log_probs.detach().argsort(dim=-1, descending=self.order == "descending")
        return log_probs.gather(-1, index), index

    def node_logits(self, log_probs: Tensor) -> Tensor:
        """Return ``phi`` of each node, ``(R, E, K - 1)``, for leaves' ``log p`` ``(R, E, K)``."""
        one, zero = (side.to(log_probs.device) for side in self.branches(log_probs.shape[-1]))
        rows = log_probs[..., None, :]
        inside = [rows.masked_fill(~side, -torch.inf).logsumexp(dim=-1) for side in (one, zero)]
        return inside[0] - inside[1]

    def leaves(self, phi: Tensor, uniform: Tensor) -> Tensor:
        """Return the one-hot leaves that ``uniform`` selects, ``(R, pairs, E, K)``."""
        one, zero = (side.to(phi.device) for side in self.branches(phi.shape[-1] + 1))
        b = (uniform < phi.detach().sigmoid()[:, None])[..., None]
        return torch.where(b, ~zero, ~one).all(dim=-2).to(phi.dtype)

    def pair(self, dist: Categorical, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``phi``, the two leaves, and all samples as operations ``(R, n, E, K)``."""
        log_probs, index = self.sorted_log_probs(dist)
        phi = self.node_logits(log_probs)
        first, second = self.leaves(phi, noise), self.leaves(phi, 1 - noise)
        both = torch.cat([first, second], dim=1)
        back = index.argsort(dim=-1)[:, None].expand(both.shape)
        return phi, first, second, both.gather(-1, back)

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero; see :meth:`Estimator.surrogate`."""
        phi, first, second, z = self.pair(dist, noise)
        losses = loss(z)
        half = (losses[:, : self.pairs] - losses[:, self.pairs :]).detach()[..., None, None] / 2
        p = phi.detach().sigmoid()[:, None]
        one, zero = (side.to(phi) for side in self.branches(dist.num_operations))
        b1, b2 = first @ one.T, second @ one.T
        on1, on2 = b1 + first @ zero.T, b2 + second @ zero.T
        shared = on1 * on2 * (b1 - b2) * torch.maximum(p, 1 - p)
        alone = on1 * (1 - on2) * (b1 - p) - on2 * (1 - on1) * (b2 - p)
        weight = (half * (shared + alone)).mean(dim=1)
        return losses.mean(dim=1) + (weight * (phi - phi.detach())).sum(dim=(-2, -1))

    def weights(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the pairs' samples; see :meth:`Estimator.weights`."""
        return self.pair(dist, noise)[3]


class DisARMSB(AntitheticTree):
    """Antithetic pairs by stick breaking.

    Args:
        pairs: Antithetic pairs per draw; ``n`` is twice that. Default 1.
        order: Order of the sticks: ``given``, ``ascending`` or ``descending`` in probability.
            Default 'given'.
    """

    name = "disarm-sb"
    family = "score"
    reference = "dong2021coupled"
    evaluations = "2 F forward, 2 F backward for theta, for each pair"
    bias = "unbiased"
    single_path = True
    claims = {"draw": "coupled:disarm_sb", "noise": "uniform"}
    conformance_variants = ({"pairs": 3}, {"order": "ascending"}, {"order": "descending"})
    n = 2

    def __init__(self, pairs: int = 1, order: StickOrder = "given") -> None:
        super().__init__(pairs, order)

    def branches(self, operations: int) -> tuple[Tensor, Tensor]:
        """Return stick breaking: node i takes leaf i or leaves it to the later ones."""
        one = torch.eye(operations - 1, operations, dtype=torch.bool)
        zero = torch.ones(operations - 1, operations, dtype=torch.bool).triu(1)
        return one, zero
