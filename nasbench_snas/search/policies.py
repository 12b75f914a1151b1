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

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.search.topology import choosable
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
        self.operations = [len(row) for row in space.candidates]
        self.generator = generator

    @abstractmethod
    def draw(self) -> Tensor:
        """Return the operations of the next step's architectures, int64, shape ``(n, E)``."""

    def uniform(self, count: int) -> Tensor:
        """Return ``count`` architectures with independent, equally likely operations."""
        drawn = [torch.randint(k, (count,), generator=self.generator) for k in self.operations]
        return torch.stack(drawn, dim=1)


class Uniform(ThetaPolicy):
    """One architecture, uniformly."""

    name = "uniform"

    def draw(self) -> Tensor:
        """Return one architecture; see :meth:`ThetaPolicy.draw`."""
        return self.uniform(1)


class StrictFairness(ThetaPolicy):
    """``K`` architectures in which every operation of every edge occurs once.

    Args:
        space: The space.
        generator: See :class:`ThetaPolicy`.

    Raises:
        ConfigError: Edges have different numbers of operations.
    """

    name = "strict-fairness"

    def __init__(self, space: Space, generator: torch.Generator) -> None:
        super().__init__(space, generator)
        if len(set(self.operations)) > 1:
            raise ConfigError(
                f"theta policy 'strict-fairness': space {space.name!r} has edges with "
                f"{min(self.operations)} and with {max(self.operations)} operations.",
                "A step trains each operation exactly once, which needs as many on each edge.",
                "Choose uniform.",
            )

    def draw(self) -> Tensor:
        """Return ``K`` architectures; see :meth:`ThetaPolicy.draw`."""
        orders = [torch.randperm(count, generator=self.generator) for count in self.operations]
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
        kept, costs = choosable(space, none=False), unit.detach().cpu()
        largest = costs.masked_fill(~kept, -math.inf).argmax(dim=1)
        smallest = costs.masked_fill(~kept, math.inf).argmin(dim=1)
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
