"""Which architectures train theta: policies of a level, in place of the estimator's own draws.

Where theta and alpha are trained by passes of their own (levels ``bilevel`` and ``unrolled``), the
step of theta may draw its architectures ``Z_1 … Z_n`` by a policy. It takes theta's gradient alone,

    g_theta = sum_i grad_theta L_theta(Z_i),

on one batch, followed by one step of the optimiser. Alpha's step is the estimator's, as ever. At
the level ``joint`` one backward pass trains both, so the draws are the estimator's: a policy is
refused there. (The inner step of ``unrolled`` is a function of the architecture whose alpha is
trained, and stays that.)

``uniform``: one architecture, every operation with probability ``1/K`` (SPOS, Guo et al. 2020,
arXiv:1904.00420, section 3.2). ``strict-fairness``: ``K`` architectures from one random permutation
of the operations on each edge, so that each operation is trained exactly once a step (FairNAS, Chu
et al. 2021, arXiv:1907.01845, algorithm 1). ``sandwich``: the largest and the smallest architecture
and some uniform ones (BigNAS, Yu et al. 2020, arXiv:2003.11142, section 3.1; without its
distillation).

Largest and smallest are by the cost model of the search, in which the cost of an architecture is a
sum over edges: on each edge, of the operations other than ``none``, the one with the largest cost
and the one with the smallest (of equal ones the first). With ``none`` the smallest would be a
network that sees no image. The uniform ones may have ``none``, as those of the other policies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.settings.run import THETA_RANDOM, SearchSettings


class ThetaPolicy(ABC):
    """Draws the architectures of theta's steps.

    Args:
        space: The space.
        generator: A stream of its own, on the CPU: the same architectures on every device.

    Attributes:
        name: Key in settings and on the command line.
    """

    name: ClassVar[str]

    def __init__(self, space: Space, generator: torch.Generator) -> None:
        self.edges, self.operations = space.num_edges, space.num_operations
        self.generator = generator

    @abstractmethod
    def draw(self) -> Tensor:
        """Return the operations of the next step's architectures, int64, shape ``(n, E)``."""

    def uniform(self, count: int) -> Tensor:
        """Return ``count`` architectures with independent, equally likely operations."""
        shape = (count, self.edges)
        return torch.randint(self.operations, shape, generator=self.generator)


class Uniform(ThetaPolicy):
    """One architecture, uniformly."""

    name = "uniform"

    def draw(self) -> Tensor:
        """Return one architecture; see :meth:`ThetaPolicy.draw`."""
        return self.uniform(1)


class StrictFairness(ThetaPolicy):
    """``K`` architectures in which every operation of every edge occurs once."""

    name = "strict-fairness"

    def draw(self) -> Tensor:
        """Return ``K`` architectures; see :meth:`ThetaPolicy.draw`."""
        orders = [
            torch.randperm(self.operations, generator=self.generator) for _ in range(self.edges)
        ]
        return torch.stack(orders, dim=1)


class Sandwich(ThetaPolicy):
    """The largest, the smallest and some uniform architectures.

    Args:
        space: The space.
        generator: See :class:`ThetaPolicy`.
        unit: Cost of each operation of each edge, shape ``(E, K)``.
        count: Uniform architectures.

    Raises:
        ConfigError: The largest is the smallest.
    """

    name = "sandwich"

    def __init__(self, space: Space, generator: torch.Generator, unit: Tensor, count: int) -> None:
        super().__init__(space, generator)
        unit = unit.detach().cpu().clone()
        present = [k for k, spec in enumerate(space.operation_specs) if spec.kind != "zero"]
        kept, costs = torch.tensor(present, dtype=torch.int64), unit[:, present]
        largest, smallest = kept[costs.argmax(dim=1)], kept[costs.argmin(dim=1)]
        if torch.equal(largest, smallest):
            raise ConfigError(
                f"theta policy 'sandwich': space {space.name!r} has no largest and smallest "
                "architecture.",
                "Its operations other than none cost the same on every edge.",
                "Choose uniform or strict-fairness, or another cost criterion.",
            )
        self.ends, self.count = torch.stack([largest, smallest]), count

    def draw(self) -> Tensor:
        """Return ``2 + count`` architectures; see :meth:`ThetaPolicy.draw`."""
        return torch.cat([self.ends, self.uniform(self.count)])


def check_policy(settings: SearchSettings) -> None:
    """Refuse a policy where its level, or its settings, leave no place for it.

    Raises:
        ConfigError: It cannot be used.
    """
    policy = settings.theta_policy
    if policy != "estimator" and settings.level == "joint":
        raise ConfigError(
            f"theta policy {policy!r} cannot be used at the level 'joint'.",
            "There one backward pass trains theta and alpha: both see the estimator's draws.",
            "Choose --level bilevel or unrolled, or leave --theta-policy out.",
        )
    if policy != "sandwich" and settings.theta_random != THETA_RANDOM:
        raise ConfigError(
            "search.theta_random is a setting of the theta policy 'sandwich'.",
            f"The theta policy is {policy!r}.",
            "Leave it out, or choose --theta-policy sandwich.",
        )


def make_policy(
    settings: SearchSettings, space: Space, unit: Tensor, seed: int
) -> ThetaPolicy | None:
    """Return the policy of a search, or None where the estimator draws; raises as above.

    Args:
        settings: The settings of the search.
        space: The space.
        unit: Cost of each operation of each edge, shape ``(E, K)``.
        seed: The seed of the run.
    """
    check_policy(settings)
    generator = stream(seed, "theta-policy")
    if settings.theta_policy == "uniform":
        return Uniform(space, generator)
    if settings.theta_policy == "strict-fairness":
        return StrictFairness(space, generator)
    if settings.theta_policy == "sandwich":
        return Sandwich(space, generator, unit, settings.theta_random)
    return None
