"""Methods of a landscape that have a form of their own there: exact, and one state for each seed.

Seeds run side by side as replicates. Where an estimator would share its state among replicates, a
form with a state for each of them is put in its place: a moving average for each row of losses, a
population for each seed. Each is the estimator of that name, seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot
from nasbench_snas.truth.objective import TableObjective, contract


class RandomSearch(Estimator):
    """Uniform architectures; the best that was looked up is recommended (no settings)."""

    name, family, reference = "random", "random", "li2019random"
    evaluations, bias = "n F forward", "none"
    has_alpha_gradient = False

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the mean loss of uniform draws; see :meth:`Estimator.surrogate`."""
        return loss(one_hot(noise.argmax(dim=-1), dist.num_operations, dist.dtype)).mean(dim=1)


class ExactContraction(Estimator):
    """The exact gradient, by contraction of the table.

    Args:
        table: Losses, shape ``(K,) * E``.
    """

    name, family, reference = "exact", "enumeration", "xie2019snas"
    evaluations, bias = "one contraction", "unbiased"

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> None:
        """Return None: there is no noise."""

    def surrogate(self, loss: Loss, dist: Categorical, noise: None) -> Tensor:
        """Return the expected loss, ``(R,)``; see :meth:`Estimator.surrogate`."""
        if isinstance(loss, TableObjective) and loss.looked_up is not None:
            loss.looked_up(torch.zeros(dist.replicates, 1, dtype=torch.long), True)
        return contract(self.table, dist.probs)


class SeedwiseEvolution(Estimator):
    """Regularised evolution (Real et al. 2019, arXiv:1802.01548, Algorithm 1), seeds side by side.

    Seed by seed it is the estimator ``regularized-evolution`` with one child a draw.

    Args:
        population: Members alive.
        tournament: Members that compete for a child, drawn with replacement.
    """

    name, family, reference = "regularized-evolution", "evolution", "real2019regularized"
    evaluations, bias = "n F forward", "none"
    has_alpha_gradient = False

    def __init__(self, population: int = 100, tournament: int = 25) -> None:
        super().__init__()
        self.population, self.tournament = population, tournament
        self._members: list[Tensor] = []
        self._fitness: list[Tensor] = []

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> Tensor:
        """Return uniforms ``(R, tournament + 2 + E)``: candidates, edge, operation, child."""
        width = self.tournament + 2 + dist.num_edges
        return torch.rand((replicates, 1, width), generator=generator, dtype=dist.dtype)[:, 0]

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the children's losses, and let them enter; see :meth:`Estimator.surrogate`."""
        children = self._children(noise, dist.num_edges, dist.num_operations)
        losses = loss(one_hot(children, dist.num_operations, dist.dtype)[:, None])[:, 0]
        self._members.append(children)
        self._fitness.append(losses.detach())
        return losses

    def _children(self, noise: Tensor, edges: int, operations: int) -> Tensor:
        """Return the operations of the children, shape ``(R, E)``."""
        candidates, edge, change, fresh = noise.split([self.tournament, 1, 1, edges], dim=-1)
        born = len(self._members)
        if born < self.population:
            return _below(fresh, operations)
        rivals = _below(candidates, self.population)  # places, which the oldest leaves in turn
        age = (born - 1 - rivals) % self.population
        recent = torch.stack(self._fitness[-self.population :], dim=1)
        place = self.population - 1 - age
        best = place.gather(1, recent.gather(1, place).argmin(dim=1, keepdim=True))
        members = torch.stack(self._members[-self.population :], dim=1)
        parent = members[torch.arange(len(noise)), best[:, 0]]
        chosen = _below(edge, edges)
        mutated = parent.gather(1, chosen) + 1 + _below(change, operations - 1)
        return parent.scatter(1, chosen, mutated % operations)


def _below(uniform: Tensor, limit: int) -> Tensor:
    """Return integers in [0, limit) for uniforms in [0, 1)."""
    return (uniform * limit).long().clamp_max(limit - 1)


class SeedwiseAverage(nn.Module):
    """A moving average for each replicate, in the place of one for all.

    Args:
        decay: Weight of the past.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self._value: Tensor | None = None

    def before(self, otherwise: Callable[[], Tensor]) -> Tensor:
        """Return the averages ``(R, 1)``; before the first update, what ``otherwise`` returns."""
        return otherwise() if self._value is None else self._value

    def update(self, losses: Tensor) -> None:
        """Take in losses ``(R, n)``, in training mode only."""
        if self.training:
            mean = losses.detach().mean(dim=1, keepdim=True)
            past = mean if self._value is None else self._value
            self._value = self.decay * past + (1 - self.decay) * mean


def seedwise(estimator: Estimator) -> Estimator:
    """Return ``estimator`` with a moving average for each replicate, if that is all its state."""
    decay = getattr(getattr(estimator, "baseline", None), "decay", None)
    if set(estimator.state_dict()) == {"baseline.value"} and decay is not None:
        estimator.baseline = SeedwiseAverage(decay)
    return estimator
