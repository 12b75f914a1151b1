"""ProxylessNAS: binary gates over two sampled paths.

Two operations {a, b} of each edge are drawn from ``p`` without replacement; the gate opens one of
them, and only this pair learns: with ``q = softmax(log alpha_a, log alpha_b)`` and ``h = dL/dg`` at
the binary gates, ``dL/d log alpha = q * (h - <q, h>)`` on the pair, zero elsewhere. Biased: it is
straight-through on a random pair.

Reference: Cai et al. 2019, arXiv:1812.00332, section 3.2 and eq. 4.
Cost: two operations an edge run, whatever K is.
Deviations: ``law = "published"`` opens the gate by ``q``, as the released code does: the marginal
of the open operation is then not ``p`` (for p = (.7, .2, .1) it is about (.771, .174, .055)).
``law = "exact"`` opens the operation that was drawn first, whose marginal is ``p``. Closed paths
run with weight exactly zero, so that their ``h`` is known and their theta is not trained.
``mode = "full"`` is the released code's default instead of the paper's pair: one path is drawn from
``p``, all others run closed, ``dL/d log alpha = p * (h - <p, h>)`` (``straight-through``), but zero
on edges whose open path is the zero operation. Each draw then costs K operations. The rescaling of
the pair's logits after each step, which keeps the pair's total probability, is part of the released
optimiser and not done. When theta is trained in a step of its own, one path is drawn from ``p``, as
in the released code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nasbench_snas.api import (
    Categorical,
    Distribution,
    Loss,
    Pathwise,
    Space,
    one_hot,
    straight_through,
)
from nasbench_snas.errors import ConfigError


class Proxyless(Pathwise):
    """Straight-through on two sampled paths.

    Args:
        law: ``published`` (the open path by the renormalised pair) or ``exact`` (by ``p``). Default
            'published'.
        mode: ``two`` paths an edge, as in the paper, or ``full``, as in the released code; then the
            law is ``p``. Default 'two'.
        n: Architectures per draw. Default 1.
    """

    name = "proxyless"
    reference = "cai2019proxylessnas"
    evaluations = "2 F forward + backward"
    bias = "biased"
    claims = {"draw": "proxyless", "samples": "proxyless_samples", "noise": ("gumbel", "gumbel")}
    conformance_variants = ({"law": "exact"}, {"mode": "full"})

    def __init__(
        self,
        law: Literal["published", "exact"] = "published",
        mode: Literal["two", "full"] = "two",
        n: int = 1,
    ) -> None:
        super().__init__()
        if law not in ("published", "exact"):
            raise ConfigError(f"proxyless: unknown law {law!r}.", "Known: published, exact")
        if mode not in ("two", "full"):
            raise ConfigError(f"proxyless: unknown mode {mode!r}.", "Known: two, full")
        self.law, self.mode, self.n = law, mode, n
        self.zeros: Tensor | None = None

    def make_distribution(self, space: Space, generator: torch.Generator) -> Distribution:
        """Return the default distribution, and remember which operations are zero."""
        rows = getattr(space, "candidate_specs", ())  # a function of one's own has no zero
        self.zeros = None
        if any(op.kind == "zero" for row in rows for op in row):
            self.zeros = torch.zeros(space.num_edges, space.num_operations)
            for edge, row in enumerate(rows):
                self.zeros[edge, [k for k, op in enumerate(row) if op.kind == "zero"]] = 1.0
        return super().make_distribution(space, generator)

    def noise(
        self, dist: Categorical, replicates: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return Gumbel noise of the pair and of the gate, each ``(R, n, E, K)``."""
        pair: Tensor = dist.noise(replicates, self.n, generator)
        gate: Tensor = dist.noise(replicates, self.n, generator)
        return pair, gate

    def surrogate(self, loss: Loss, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss of the open paths, the closed ones run; see the base class."""
        return loss(self.relax(dist, noise), self.pair(dist, noise)).mean(dim=1)

    def pair(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mask of the operations that run, ``(R, n, E, K)``: the two drawn, or all."""
        if self.mode == "full":
            return torch.ones_like(noise[0], dtype=torch.bool)
        drawn = dist.perturb(noise[0]).detach().topk(2, dim=-1).indices
        return one_hot(drawn, dist.num_operations, dist.dtype).sum(dim=-2) > 0

    def relax(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return binary gates with the gradient of ``q``, shape ``(R, n, E, K)``."""
        pair = self.pair(dist, noise)
        logits = dist.log_probs[:, None].masked_fill(~pair, -torch.inf)
        by_pair = self.law == "published" and self.mode == "two"
        score = logits + noise[1] if by_pair else dist.perturb(noise[0])
        opened = one_hot(score.detach().argmax(dim=-1), dist.num_operations, dist.dtype)
        soft = logits.softmax(dim=-1)
        if self.mode == "full" and self.zeros is not None:
            closed = (opened * self.zeros.to(opened)).sum(dim=-1, keepdim=True) > 0
            soft = torch.where(closed, soft.detach(), soft)
        return straight_through(opened, soft)

    def weights(self, dist: Categorical, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Return one path drawn from ``p``; see :meth:`Estimator.weights`."""
        return dist.hard(noise[0])
