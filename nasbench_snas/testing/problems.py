"""The points at which estimators are compared: a toy objective and logits.

The objectives are those of :mod:`nasbench_snas.testing.losses`; every architecture is enumerable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from nasbench_snas.api import Categorical
from nasbench_snas.errors import ConfigError
from nasbench_snas.seeding import stream
from nasbench_snas.testing.exact import exact_objective
from nasbench_snas.testing.losses import (
    CellLoss,
    Exponential,
    Linear,
    Multilinear,
    Quadratic,
    ToyLoss,
)

Stage = Literal["initial", "mid", "late"]
ToyKind = Literal["linear", "multilinear", "quadratic", "exponential"]

STEPS: dict[Stage, int] = {"initial": 0, "mid": 12, "late": 36}
"""Steps of exact joint descent that lead to each stage of :func:`cell_problem`."""
CLOSED = -25.0  # logit of an operation that an edge does not choose among: p is below 1e-10


@dataclass(frozen=True)
class Problem:
    """An objective and the point at which gradients are compared.

    Attributes:
        name: For test names and tables.
        loss: The objective, at its theta.
        logits: ``alpha``, shape ``(E, K)``.
    """

    name: str
    loss: ToyLoss
    logits: Tensor

    def distribution(self) -> Categorical:
        """Return a new factorised categorical at ``logits``."""
        return Categorical(self.logits)


def toy_problem(
    kind: ToyKind, num_edges: int = 2, num_operations: int = 3, seed: int = 0
) -> Problem:
    """Return a closed-form objective at random parameters and logits ``N(0, 1)``.

    Raises:
        ConfigError: The kind is unknown.
    """
    generator = stream(seed, f"toy/{kind}")
    size = num_edges * num_operations

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    logits = normal(num_edges, num_operations)
    loss: ToyLoss
    if kind == "linear":
        loss = Linear(1 + 0.7 * normal(size), num_edges, num_operations)
    elif kind == "multilinear":
        loss = Multilinear(1 + 0.7 * normal(size), num_edges, num_operations)
    elif kind == "quadratic":
        loss = Quadratic(normal((size + 1) * 3), num_edges, num_operations)
    elif kind == "exponential":
        loss = Exponential(0.8 * normal(size), num_edges, num_operations)
    else:
        raise ConfigError(
            f"unknown toy {kind!r}.", "Known: linear, multilinear, quadratic, exponential"
        )
    return Problem(f"{kind}-{num_edges}x{num_operations}", loss, logits)


def unequal_problem() -> Problem:
    """Return an objective of three edges that choose among three, two and one operation.

    All spaces declare one set of operations for all edges; an edge with fewer is one whose other
    logits stand at :data:`CLOSED`, as a search leaves them that has decided against them.
    """
    problem = toy_problem("exponential", 3, 3)
    logits = problem.logits.clone()
    logits[1, 0] = logits[2, 0] = logits[2, 2] = CLOSED
    return Problem("unequal-3x3", problem.loss, logits)


def cell_problem(
    stage: Stage = "initial",
    seed: int = 0,
    activation: Literal["tanh", "relu", "identity"] = "tanh",
    head: Literal["cross-entropy", "linear"] = "cross-entropy",
) -> Problem:
    """Return the three-node cell at a stage of an exact joint descent on theta and alpha.

    The three stages have a high, a medium and a low entropy of the architecture. Width 4, 16
    points, 3 classes. The linear head is unbounded below: use it at the initial stage.

    Raises:
        ConfigError: The stage is unknown.
    """
    if stage not in STEPS:
        raise ConfigError(f"unknown stage {stage!r}.", f"Known: {', '.join(STEPS)}")
    theta, logits = _descent(seed, activation, head, STEPS[stage])
    loss = _cell_loss(seed, activation, head).with_theta(theta)
    return Problem(f"cell-{activation}-{head}-{stage}-{seed}", loss, logits.clone())


def _cell_loss(
    seed: int,
    activation: Literal["tanh", "relu", "identity"],
    head: Literal["cross-entropy", "linear"],
    width: int = 4,
    batch: int = 16,
    num_classes: int = 3,
) -> CellLoss:
    """Return the cell at random parameters; labels come from a random two-layer teacher."""
    generator = stream(seed, "cell")

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = normal(batch, width)
    labels = (torch.tanh(inputs @ normal(width, width)) @ normal(width, num_classes)).argmax(dim=-1)
    scales = (width**-0.5 * 1.5, 0.5, 1.0, 0.1)
    parts = [
        (scale * normal(*shape)).flatten()
        for scale, shape in zip(scales, CellLoss.shapes(width, num_classes), strict=True)
    ]
    return CellLoss(torch.cat(parts), inputs, labels, num_classes, activation, head)


@lru_cache(maxsize=32)
def _descent(
    seed: int,
    activation: Literal["tanh", "relu", "identity"],
    head: Literal["cross-entropy", "linear"],
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Return theta ``(P,)`` and logits ``(E, K)`` after ``steps`` Adam steps on the exact
    objective.
    """
    loss = _cell_loss(seed, activation, head)
    generator = stream(seed, "cell/logits")
    logits = 0.4 * torch.randn((6, 3), generator=generator, dtype=torch.float64)
    dist = Categorical(logits)
    groups = [{"params": [loss.theta], "lr": 0.05}, {"params": [dist.alpha], "lr": 0.12}]
    optimiser = torch.optim.Adam(groups)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(exact_objective(loss, dist))
        optimiser.step()
    return loss.theta.detach()[0].clone(), dist.alpha.detach()[0].clone()
