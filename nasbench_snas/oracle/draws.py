"""Gradient draws of an estimator at a frozen point, and what a draw costs.

``R`` replicates of the distribution make ``R`` independent draws of its gradient out of one
backward pass. Draws of the theta-gradient are made one at a time. The estimator is in evaluation
mode (its baselines do not move), and the noise of a pass comes from a stream named after the pass,
so that estimators whose noise has the same form see the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasbench_snas.api import Estimator, Loss
from nasbench_snas.architecture.distributions import Distribution
from nasbench_snas.oracle.exact import flatten
from nasbench_snas.oracle.network import BatchedLoss


@contextmanager
def evaluating(estimator: Estimator) -> Iterator[None]:
    """Put the estimator into evaluation mode within the block: its state does not change."""
    training = estimator.training
    estimator.eval()
    try:
        yield
    finally:
        estimator.train(training)


def alpha_draws(
    estimator: Estimator,
    loss: Loss,
    dist: Distribution,
    replicates: int,
    generator: torch.Generator,
) -> Tensor:
    """Return ``R`` draws of the gradient by the distribution's parameters, shape ``(R, d)``.

    Args:
        estimator: The estimator.
        loss: The objective; ``all_operations`` must be what the estimator asks for.
        dist: The distribution, one replicate.
        replicates: ``R``.
        generator: Source of the noise.
    """
    with evaluating(estimator), torch.enable_grad():
        copies = dist.replicate(replicates)
        noise = estimator.noise(copies, replicates, generator)
        value = estimator.surrogate(loss, copies, noise).sum()
        leaves = list(copies.parameters())
        grads = torch.autograd.grad(value, leaves, allow_unused=True)
    pairs = zip(grads, leaves, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten(1) for g, p in pairs], 1)


def theta_draws(
    estimator: Estimator,
    loss: BatchedLoss,
    dist: Distribution,
    draws: int,
    generator: torch.Generator,
) -> Tensor:
    """Return draws of the gradient by theta, shape ``(draws, P)``; arguments as above."""
    theta = list(loss.network.parent.parameters())
    rows = []
    with evaluating(estimator), torch.enable_grad():
        for _ in range(draws):
            copy = dist.replicate(1)
            noise = estimator.noise(copy, 1, generator)
            value = estimator.surrogate(loss, copy, noise).sum()
            rows.append(flatten(_gradient(value, theta), theta))
    return torch.stack(rows)


@dataclass(frozen=True)
class DrawCost:
    """What one draw costs.

    Attributes:
        forward: Forward passes of single-path architectures, by executed operations.
        backward: Backward passes, for the alpha-gradient alone.
        joint_backward: Backward passes when theta's gradient is taken from the same draw.
        seconds: Processor seconds of a draw of the alpha-gradient in batched passes.
        bytes: Tensors saved for the backward pass of one draw.
    """

    forward: float
    backward: float
    joint_backward: float
    seconds: float
    bytes: int

    @property
    def equivalents(self) -> float:
        """Forward equivalents for the alpha-gradient alone; a backward pass counts as two."""
        return self.forward + 2 * self.backward

    @property
    def joint_equivalents(self) -> float:
        """Forward equivalents when theta's gradient is taken as well."""
        return self.forward + 2 * self.joint_backward


def measure_cost(
    estimator: Estimator,
    loss: BatchedLoss,
    dist: Distribution,
    generator: torch.Generator,
    replicates: int = 8,
) -> DrawCost:
    """Return what a draw costs on the network itself (``loss`` must not look anything up)."""
    edges, theta = dist.num_edges, list(loss.network.parent.parameters())
    loss.counter.forward = loss.counter.backward = 0
    alpha_draws(estimator, loss, dist, 1, generator)
    forward, backward = loss.counter.equivalents(edges)
    loss.counter.forward = loss.counter.backward = 0
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with evaluating(estimator), torch.enable_grad():
        copy = dist.replicate(1)
        noise = estimator.noise(copy, 1, generator)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = estimator.surrogate(loss, copy, noise).sum()
        _gradient(value, [*copy.parameters(), *theta])
    joint = loss.counter.equivalents(edges)[1]
    start = time.process_time()
    alpha_draws(estimator, loss, dist, replicates, generator)
    seconds = (time.process_time() - start) / replicates
    return DrawCost(forward, backward, joint, seconds, sum(saved.values()))


def warm_up(
    estimator: Estimator,
    loss: Loss,
    dist: Distribution,
    passes: int,
    generator: torch.Generator,
    replicates: int = 8,
) -> None:
    """Bring baselines and control variates to where they stand at a frozen point.

    The estimator draws in training mode; own parameters of estimators that tune their variance
    follow Adam (rate 0.02) on the mean squared norm of the draws, four times as long.
    """
    own = [p for p in estimator.parameters() if p.requires_grad]
    tuned = estimator.tunes_variance and bool(own)
    optimiser = torch.optim.Adam(own, lr=0.02) if tuned else None
    estimator.train()
    for _ in range(4 * passes if tuned else passes):
        copies = dist.replicate(replicates)
        noise = estimator.noise(copies, replicates, generator)
        value = estimator.surrogate(loss, copies, noise).sum()
        if optimiser is None:
            continue
        leaves = list(copies.parameters())
        grads = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
        norm = torch.stack([g.square().sum() for g in grads if g is not None]).sum()
        if norm.requires_grad:
            optimiser.zero_grad()
            found = torch.autograd.grad(norm / replicates, own, allow_unused=True)
            for parameter, gradient in zip(own, found, strict=True):
                parameter.grad = gradient
            optimiser.step()


def _gradient(value: Tensor, inputs: Sequence[Tensor | nn.Parameter]) -> tuple[Tensor | None, ...]:
    if not value.requires_grad:
        return (None,) * len(inputs)
    return torch.autograd.grad(value, list(inputs), allow_unused=True)
