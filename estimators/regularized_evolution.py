"""Regularised evolution: tournament selection in a population that ages, without a gradient.

The first ``population`` children are random architectures. From then on the best of ``tournament``
members, drawn with replacement, has a child that differs from it in the operation of one edge; the
child enters the population, and the oldest member leaves it whatever its loss. Nothing is estimated
for alpha: its logits are set to the log-frequency of the operations in the population (with one
pseudo-count spread over the operations), so that entropy, mode and derivation have a meaning.

Reference: Real et al. 2019, arXiv:1802.01548, Algorithm 1; 100 and 25 are the paper's.
Cost: one loss a child; theta is trained by the child's loss.
Deviations: a member's fitness is its loss on the minibatch of its birth with the shared weights of
that moment, where the paper trains every child from scratch. The only mutation is that of an
operation, as the cells' wiring is fixed. The child is derived from the whole population, where the
paper takes the best model of its history.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot
from nasbench_snas.errors import ConfigError


class RegularizedEvolution(Estimator):
    """Ageing evolution on shared weights.

    Args:
        population: Members alive. Default 100.
        tournament: Members that compete for a child. Default 25.
        n: Children per draw. Default 1.
    """

    name = "regularized-evolution"
    family = "evolution"
    reference = "real2019regularized"
    evaluations = "n F forward, n F backward for theta"
    bias = "none"
    single_path = True
    claims = {
        "draw": "regularized_evolution",
        "samples": "state",
        "noise": "uniform",
        "state": "score:population",
    }
    has_alpha_gradient = False
    expected_failed_checks = {"inputs_are_not_modified_in_place": "it writes alpha itself"}

    members: Tensor
    fitness: Tensor
    born: Tensor

    def __init__(self, population: int = 100, tournament: int = 25, n: int = 1) -> None:
        super().__init__()
        if not 1 <= tournament <= population:
            raise ConfigError(
                f"regularized-evolution: a tournament of {tournament} among {population} members.",
                "Expected 1 <= tournament <= population.",
            )
        self.population, self.tournament, self.n = population, tournament, n
        self.register_buffer("members", torch.zeros(population, 0, dtype=torch.long))
        self.register_buffer("fitness", torch.full((population,), torch.inf, dtype=torch.float64))
        self.register_buffer("born", torch.zeros((), dtype=torch.long))

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> Tensor:
        """Return uniforms ``(R, n, tournament + 2 + E)``: candidates, edge, operation, child."""
        shape = (replicates, self.n, self.tournament + 2 + dist.num_edges)
        return torch.rand(shape, generator=generator, device=generator.device, dtype=dist.dtype)

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the children's mean loss, and let them enter; see :meth:`Estimator.surrogate`."""
        children = self._children(dist, noise)
        losses = loss(one_hot(children, dist.num_operations, dist.dtype))
        if self.training:
            self._enter(children.flatten(0, 1), losses.detach().flatten())
            alive = one_hot(self.members[: int(self.born)], dist.num_operations, dist.dtype)
            frequency = (alive.sum(dim=0) + 1 / dist.num_operations) / (len(alive) + 1)
            with torch.no_grad():
                dist.alpha.copy_(frequency.log().expand_as(dist.alpha))
        return losses.mean(dim=1)

    def weights(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the children of ``noise``, one-hot; see :meth:`Estimator.weights`."""
        return one_hot(self._children(dist, noise), dist.num_operations, dist.dtype)

    def progress_values(self) -> dict[str, float]:
        """Return the number of members and the loss of the best one."""
        alive = min(int(self.born), self.population)
        return {"population": float(alive), "best_loss": float(self.fitness.min())}

    def _children(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the operations of the children, shape ``(R, n, E)``."""
        sizes = [self.tournament, 1, 1, dist.num_edges]
        candidates, edge, change, fresh = torch.split(noise, sizes, dim=-1)
        if int(self.born) < self.population:
            return _below(fresh, dist.num_operations)
        rivals = _below(candidates, self.population)
        best = self.fitness[rivals].argmin(dim=-1, keepdim=True)
        parent = self.members[rivals.gather(-1, best)[..., 0]]
        edge, change = _below(edge, dist.num_edges), 1 + _below(change, dist.num_operations - 1)
        mutated = (parent.gather(-1, edge) + change) % dist.num_operations
        return parent.scatter(-1, edge, mutated)

    def _enter(self, children: Tensor, losses: Tensor) -> None:
        """Put children in the places of the oldest members."""
        if self.members.shape[1] != children.shape[1]:
            self.members = self.members.new_zeros(self.population, children.shape[1])
        for child, value in zip(children, losses.double().nan_to_num(nan=torch.inf), strict=True):
            place = int(self.born) % self.population
            self.members[place], self.fitness[place] = child, value
            self.born += 1

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for a population of another width before it is loaded."""
        if (saved := state.get(prefix + "members")) is not None:
            self.members = self.members.new_zeros(saved.shape)
        super()._load_from_state_dict(state, prefix, *rest)


def _below(uniform: Tensor, limit: int) -> Tensor:
    """Return integers in [0, limit) for uniforms in [0, 1)."""
    return (uniform * limit).long().clamp_max(limit - 1)
