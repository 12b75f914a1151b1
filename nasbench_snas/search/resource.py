"""The resource term of a search: ``eta E[C(Z)]`` (eqs. 9-11), and steering eta to a target.

The gradient of ``E[C]`` is the settings' choice: in closed form (``exact``), by a relaxed sample
(``pathwise``), or by the score function with each edge credited with its own cost (``score``). A
distribution whose decisions depend on each other (a controller) has no closed form; it takes
``score`` with the total cost as credit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Distribution
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.control import TargetController
from nasbench_snas.cost.expected import CostModel, score_cost
from nasbench_snas.cost.own import OwnCost
from nasbench_snas.cost.settings import CostSettings

_RELAXED_TEMPERATURE = 0.5


class ResourceTerm:
    """The resource term of one search.

    Args:
        space: The space.
        settings: Its settings; ``eta = 0`` without a target means that there is no term.
        generator: Source of the samples of the sampled gradients.
        own: The costs by a criterion of one's own, or None.
    """

    def __init__(
        self,
        space: Space,
        settings: CostSettings,
        generator: torch.Generator,
        own: OwnCost | None = None,
    ) -> None:
        self.settings, self._generator = settings, generator
        self.model = CostModel(space, settings, own)
        self._controller: TargetController | None = None
        if (target := settings.wanted) is not None:
            self._controller = TargetController(target, settings.eta or 0.1, rate=0.02)

    @property
    def eta(self) -> float:
        """The weight of the term now."""
        return self._controller.eta if self._controller else self.settings.eta

    # Implements SNAS (9).
    def term(self, dist: Distribution) -> Tensor | None:
        """Return ``eta E[C]``, a scalar with the chosen gradient, or None if there is no term."""
        if self.eta == 0:
            return None
        return self.eta * self._penalty(dist).mean()

    def _penalty(self, dist: Distribution) -> Tensor:
        kind = self.settings.gradient
        if kind == "exact" and isinstance(dist, Categorical):
            return self.model.penalty(probs=dist.probs)
        noise = dist.noise(1, 1, self._generator)
        if kind == "pathwise":
            return self.model.penalty(z=dist.soft(noise, _RELAXED_TEMPERATURE))
        z = dist.hard(noise)
        uniform = torch.full_like(z, 1 / z.shape[-1])
        costs = self.model.edge_costs
        baseline = costs(uniform) if dist.factorised else self.model.cost(uniform)
        return score_cost(costs(z), dist.log_prob(z), baseline, local=dist.factorised)

    def update(self, dist: Distribution) -> None:
        """Move eta towards the target, if there is one; called after every step."""
        if self._controller is None:
            return
        probs = dist.marginals(self._generator)[0]
        cost = float(self.model.measure(probs, self._controller.target))
        self._controller.update(cost)

    def expected(self, probs: Tensor) -> float:
        """Return the normalised ``C`` of probabilities ``(E, K)`` (1 for a uniform choice)."""
        return float(self.model.cost(probs))

    def values(self) -> dict[str, float]:
        """Return eta, for logs, where there is a term."""
        return {"eta": self.eta} if self.eta else {}

    def child_costs(self, z: Tensor) -> dict[str, float]:
        """Return size and costs of one architecture ``(E, K)`` in the search network."""
        parameters, flops, access = (float(v) for v in self.model.totals(z.double()))
        own = self.model.own
        return {
            "params": parameters,
            "macs": flops,
            "mac_elements": access,
            "child_cost": float(self.model.cost(z.double())),
            **({} if own is None else {"criterion_cost": float(own.total(z.double()))}),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {} if self._controller is None else dict(self._controller.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if self._controller is not None:
            self._controller.load_state_dict(state)
