"""Gradient quality during a search: what ``--track-gradients every=N`` logs.

Every N steps, some further draws of the estimator's architecture gradient are made on the batch
that the step has used, at the step's theta and alpha. Nothing of the run changes: the estimator is
in evaluation mode and its state is put back, running statistics are put back (or never touched),
and the noise has a stream of its own. Where the space has one cell and can be enumerated, the exact
gradient gives the bias as well.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.api import Estimator, Loss
from nasbench_snas.architecture.distributions import Distribution
from nasbench_snas.architecture.space import Space
from nasbench_snas.oracle.draws import evaluating
from nasbench_snas.oracle.exact import Oracle, distribution_gradient, enumerable
from nasbench_snas.oracle.network import BatchedNetwork
from nasbench_snas.oracle.prefixes import shares_prefixes
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.reference import ReferenceParent

_MOST = 20_000


class GradientTracker:
    """Measures an estimator's gradient draws beside a search.

    Args:
        every: Steps between measurements.
        seed: The run's seed; the noise has the stream ``track-gradients/<step>``.
        draws: Draws of a measurement, at least 2.
        exact: Whether the bias is measured, where one cell of at most 20,000 architectures allows.
    """

    def __init__(self, every: int, seed: int, *, draws: int = 16, exact: bool = True) -> None:
        self.every, self.seed = every, seed
        self.draws, self.exact = max(draws, 2), exact

    def due(self, step: int) -> bool:
        """Whether step ``step`` (counted from 1) is measured."""
        return self.every > 0 and step % self.every == 0

    def measure(
        self,
        step: int,
        estimator: Estimator,
        dist: Distribution,
        loss: Loss,
        parent: nn.Module,
        batch: tuple[Tensor, Tensor],
    ) -> dict[str, float]:
        """Return statistics of the gradient for the run's events.

        Args:
            step: Step of the run; decides the noise.
            estimator: The run's estimator.
            dist: The run's distribution (one replicate).
            loss: The run's loss closure on ``batch``.
            parent: The run's parent network.
            batch: Normalised images and labels that ``loss`` was made of.

        Returns:
            ``gradient_norm`` (of the mean draw), ``gradient_variance`` (trace of the covariance of
            a draw), ``gradient_snr`` (de-noised); where exact: ``gradient_exact_loss`` (expected,
            nats), ``gradient_exact_norm``, ``gradient_bias_sq`` (relative, debiased),
            ``gradient_cosine`` (of the mean draw).
        """
        generator = stream(self.seed, f"track-gradients/{step}", next(dist.parameters()).device)
        buffers = {name: value.clone() for name, value in parent.named_buffers()}
        state = copy.deepcopy(estimator.state_dict())
        extra = {k: v for k, v in vars(estimator).items() if not k.startswith("_")}
        try:
            rows = self._draw(estimator, dist, loss, generator)
        finally:
            estimator.load_state_dict(state)
            vars(estimator).update(extra)
            with torch.no_grad():
                for name, value in parent.named_buffers():
                    value.copy_(buffers[name])
        exact = self._exact_gradient(dist, parent, batch) if self.exact else None
        if exact is None:
            return summary(rows, None)
        return {**summary(rows, exact[1]), "gradient_exact_loss": exact[0]}

    def _draw(
        self, estimator: Estimator, dist: Distribution, loss: Loss, generator: torch.Generator
    ) -> Tensor:
        """Return draws one at a time (no more memory than a step needs), ``(draws, d)``."""
        rows = []
        with evaluating(estimator), torch.enable_grad():
            for _ in range(self.draws):
                one = dist.replicate(1)
                leaves = list(one.parameters())
                value = estimator.surrogate(loss, one, estimator.noise(one, 1, generator)).sum()
                if not value.requires_grad:
                    return torch.zeros(self.draws, sum(p.numel() for p in leaves))
                found = torch.autograd.grad(value, leaves, allow_unused=True)
                pairs = zip(found, leaves, strict=True)
                flat = [(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]
                rows.append(torch.cat(flat).detach().double().cpu())
        return torch.stack(rows)

    def _exact_gradient(
        self, dist: Distribution, parent: nn.Module, batch: tuple[Tensor, Tensor]
    ) -> tuple[float, Tensor] | None:
        """Return the exact expected loss and gradient, or None where that is too dear."""
        space = getattr(parent, "space", None)
        if not isinstance(space, Space) or not shares_prefixes(space):
            return None
        if not enumerable(space) or space.num_architectures > _MOST:
            return None
        if not parent.training or any(p.device.type != "cpu" for p in dist.parameters()):
            return None
        reference = ReferenceParent(space, stream(self.seed, "track-gradients"))
        rename: Any = getattr(parent, "canonical", dict)
        reference.load_canonical(rename(parent.state_dict()))
        images, labels = batch
        reference.to(images.dtype).train()
        losses = Oracle(BatchedNetwork(reference), images, labels).losses()
        parameter = next(dist.parameters())
        value, gradient, _ = distribution_gradient(dist, losses.to(parameter.dtype))
        return float(value), gradient.double()


def summary(rows: Tensor, exact: Tensor | None) -> dict[str, float]:
    """Return the statistics of draws ``(n, d)``; see :meth:`GradientTracker.measure`."""
    count = len(rows)
    mean, trace = rows.mean(dim=0), float(rows.var(dim=0).sum())
    signal = float(mean.square().sum()) - trace / count
    result = {
        "gradient_draws": float(count),
        "gradient_norm": float(mean.norm()),
        "gradient_variance": trace,
        "gradient_snr": (max(signal, 0.0) / trace) ** 0.5 if trace > 0 else float("inf"),
    }
    if exact is not None:
        result["gradient_exact_norm"] = float(exact.norm())
    if exact is not None and float(exact.norm()) > 0:
        square = float(exact.square().sum())
        bias = float((mean - exact).square().sum()) - trace / count
        length = float(mean.norm()) * square**0.5
        result["gradient_bias_sq"] = bias / square
        result["gradient_cosine"] = float(mean @ exact) / length if length > 0 else 0.0
    return result
