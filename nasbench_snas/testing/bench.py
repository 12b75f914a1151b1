"""The bench on which the estimator kit tries an estimator: objective, distribution, a short run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Distribution, Estimator
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.testing.losses import ToyLoss
from nasbench_snas.testing.problems import Problem, toy_problem

RATE = 0.05  # of the plain gradient steps of a short run
SPREAD = 0.3  # of the parameters of distributions that an estimator brings along


_SHAPES = {1: (1, 1), 2: (2, 1), 3: (1, 2), 5: (2, 2), 6: (1, 3), 7: (3, 2), 9: (2, 3)}
"""Inputs and nodes of a dense cell with so many edges."""
_OPERATIONS = ("none", "skip_connect", "conv_1x1", "max_pool_3x3", "avg_pool_3x3", "conv_3x3")


def tiny_space(nodes: int = 1, inputs: int = 2, operations: int = 3) -> Space:
    """Return a space of one small cell on images of one channel and 4x4 pixels, three classes.

    Two edges and three operations by default; ``inputs=1, nodes=3`` has six edges.
    """
    return Space(
        name="tiny",
        operations=_OPERATIONS[:operations],
        cells=(CellType.dense("cell", inputs, nodes),),
        layers=(Layer("cell", 4, 1, "cell"),),
        stem_channels=4,
        in_channels=1,
        num_classes=3,
        resolution=4,
    )


def space_of(edges: int, operations: int) -> Space:
    """Return a tiny space with so many edges (1, 2, 3, 5, 6, 7 or 9) and operations (2 to 6).

    Raises:
        ConfigError: There is no such tiny space.
    """
    if edges not in _SHAPES or not 2 <= operations <= len(_OPERATIONS):
        raise ConfigError(
            f"no tiny space has {edges} edges and {operations} operations.",
            f"Edges: {sorted(_SHAPES)}; operations: 2 to {len(_OPERATIONS)}.",
        )
    inputs, nodes = _SHAPES[edges]
    return tiny_space(nodes, inputs, operations)


def map_tensors(noise: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return ``noise`` (tensors in tuples, lists and dictionaries) with each tensor mapped."""
    if isinstance(noise, Tensor):
        return function(noise)
    if isinstance(noise, tuple | list):
        return type(noise)(map_tensors(part, function) for part in noise)
    if isinstance(noise, dict):
        return {key: map_tensors(part, function) for key, part in noise.items()}
    return noise


def tensors_in(noise: Any) -> list[Tensor]:
    """Return the tensors that ``noise`` holds, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(noise, keep)
    return found


def on_device(loss: ToyLoss, device: str) -> ToyLoss:
    """Return ``loss`` with all its tensors on ``device``."""
    other = copy(loss)
    for key, value in vars(loss).items():
        if isinstance(value, Tensor):
            moved = value.detach().clone().to(device)
            setattr(other, key, moved.requires_grad_(value.requires_grad))
    return other


class RecordingLoss:
    """Passes on a loss and keeps the weights that it was asked about.

    Attributes:
        seen: Weights of each call, ``(R, n, E, K)``.
        losses: Losses of each call, ``(R, n)``.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.seen: list[Tensor] = []
        self.losses: list[Tensor] = []

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return and keep the losses of ``z``."""
        losses: Tensor = self.loss(z) if run is None else self.loss(z, run)
        self.seen.append(z.detach().clone())
        self.losses.append(losses.detach().clone())
        return losses

    def error(self, z: Tensor) -> Tensor:
        """Return the errors of ``z``."""
        errors: Tensor = self.loss.error(z)
        return errors


@dataclass(frozen=True)
class Step:
    """What an estimator saw in one update.

    Attributes:
        z: Weights that it evaluated first, shape ``(1, n, E, K)``.
        losses: Their losses, shape ``(1, n)``.
        mode: Loss of the distribution's mode, shape ``(1, 1)``.
        parameters: Of the distribution, after the update.
    """

    z: Tensor
    losses: Tensor
    mode: Tensor
    parameters: list[Tensor]


@dataclass
class Bench:
    """An estimator, an objective and a distribution at one point.

    Attributes:
        estimator: The estimator, new.
        loss: The objective, as the estimator sees it.
        dist: The distribution, with one replicate.
        device: Where they are.
    """

    estimator: Estimator
    loss: ToyLoss
    dist: Distribution
    device: str = "cpu"

    @classmethod
    def build(
        cls,
        estimator: Estimator,
        problem: Problem | None = None,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        distribution: Distribution | None = None,
    ) -> Bench:
        """Return a bench; by default on an exponential objective of two edges."""
        problem = problem or toy_problem("exponential")
        estimator = estimator.to(device=device, dtype=dtype)
        loss = on_device(problem.loss, device).viewed_by(estimator.needs_all_operations)
        if distribution is None:
            distribution = own_distribution(estimator, problem)
        return cls(estimator, loss, distribution.to(device=device, dtype=dtype), device)

    def generator(self, name: str = "noise", seed: int = 0) -> torch.Generator:
        """Return a stream of random numbers on the device."""
        return stream(seed, f"conformance/{name}", self.device)

    def noise(self, replicates: int, name: str = "noise", seed: int = 0) -> Any:
        """Return noise for ``replicates`` draws, the same for the same name and seed."""
        copies = self.dist.replicate(replicates)
        return self.estimator.noise(copies, replicates, self.generator(name, seed))

    def draws(self, noise: Any, replicates: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return gradients for alpha ``(R, d)``, theta ``(R, P)`` and values ``(R,)``.

        The state is frozen; all is detached.
        """
        self.estimator.eval()
        copies = self.dist.replicate(replicates)
        loss = self.loss.replicate(replicates).viewed_by(self.estimator.needs_all_operations)
        value = self.estimator.surrogate(loss, copies, noise)
        leaves = [*copies.parameters(), loss.theta]
        grads: Sequence[Tensor | None] = [None] * len(leaves)
        if value.requires_grad:
            grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
        flat = [
            (torch.zeros_like(leaf) if grad is None else grad).reshape(replicates, -1)
            for leaf, grad in zip(leaves, grads, strict=True)
        ]
        return torch.cat(flat[:-1], dim=1), flat[-1], value.detach()

    def gradients(self, noise: Any, replicates: int) -> tuple[Tensor, Tensor]:
        """Return the gradients that belong to ``noise``; see :meth:`draws`."""
        return self.draws(noise, replicates)[:2]

    def value(self, noise: Any, replicates: int) -> Tensor:
        """Return the surrogate's values, shape ``(R,)``; see :meth:`draws`."""
        return self.draws(noise, replicates)[2]

    def run(self, steps: int, generator: torch.Generator, first: int = 0, total: int = 8) -> Tensor:
        """Take plain gradient steps as a search does, and return all parameters, flat.

        Args:
            steps: Number of steps.
            generator: Source of the noise.
            first: Steps taken before.
            total: Steps of the whole run, for the schedules.
        """
        self.estimator.train()
        for step in range(first, first + steps):
            self.estimator.set_progress(step / (total - 1))
            noise = self.estimator.noise(self.dist, 1, generator)
            self._descend(self.estimator.surrogate(self.loss, self.dist, noise).sum())
            for _ in range(self.estimator.updates - 1):
                again = self.estimator.replay(self.dist)
                if again is not None:
                    self._descend(again.sum())
        return self.parameters()

    def warm(self, steps: int, generator: torch.Generator) -> list[Step]:
        """Update the estimator's state and its own parameters; alpha and theta stay in place.

        Returns:
            What the estimator saw, step by step.
        """
        self.estimator.train()
        place = [p.detach().clone() for p in (*self.dist.parameters(), self.loss.theta)]
        with torch.no_grad():
            mode = self.loss(self.dist.mode()[:, None])
        history = []
        for _ in range(steps):
            noise = self.estimator.noise(self.dist, 1, generator)
            seen = RecordingLoss(self.loss)
            self._descend(self.estimator.surrogate(seen, self.dist, noise).sum())
            with torch.no_grad():
                leaves = [*self.dist.parameters(), self.loss.theta]
                left = [p.detach().clone() for p in self.dist.parameters()]
                for parameter, value in zip(leaves, place, strict=True):
                    parameter.copy_(value)
                history.append(Step(seen.seen[0], seen.losses[0], mode, left))
        return history

    def parameters(self) -> Tensor:
        """Return alpha, theta and the estimator's own parameters, flat and detached."""
        everything = [*self.dist.parameters(), self.loss.theta, *self.estimator.parameters()]
        return torch.cat([p.detach().flatten() for p in everything])

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            "estimator": self.estimator.state_dict(),
            "dist": self.dist.state_dict(),
            "theta": self.loss.theta.detach(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.estimator.load_state_dict(state["estimator"])
        self.dist.load_state_dict(state["dist"])
        with torch.no_grad():
            self.loss.theta.copy_(state["theta"])

    def _descend(self, total: Tensor) -> None:
        alpha, own = list(self.dist.parameters()), list(self.estimator.parameters())
        if not total.requires_grad:
            return
        tuned = self.estimator.tunes_variance and bool(own)
        main = [*alpha, self.loss.theta] if tuned else [*alpha, self.loss.theta, *own]
        grads = torch.autograd.grad(total, main, allow_unused=True, create_graph=tuned)
        pairs = list(zip(main, grads, strict=True))
        if tuned:
            squared = [g.square().sum() for g in grads[: len(alpha)] if g is not None]
            tuning = torch.autograd.grad(torch.stack(squared).sum(), own, allow_unused=True)
            pairs += [
                (p, None if g is None else g / (1 + g.norm()))
                for p, g in zip(own, tuning, strict=True)
            ]
        with torch.no_grad():
            for parameter, gradient in pairs:
                if gradient is not None:
                    parameter.sub_(RATE * gradient)


def own_distribution(estimator: Estimator, problem: Problem) -> Distribution:
    """Return the distribution that the estimator searches with, away from its initial symmetry.

    The plain categorical is put at the problem's logits; the parameters of any other are moved by
    seeded normal noise.
    """
    space = space_of(*problem.logits.shape)
    dist = estimator.make_distribution(space, stream(0, "conformance/distribution"))
    if type(dist) is Categorical:
        return problem.distribution()
    dist = dist.double()
    generator = stream(0, "conformance/parameters")
    with torch.no_grad():
        for parameter in dist.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(SPREAD * noise.to(parameter.device))
    return dist
