"""The resource term of a search: ``eta E[C(Z)]`` (eqs. 9-11)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Distribution
from nasbench_snas.cost_settings import CostSettings
from nasbench_snas.space import Space


class ResourceTerm:
    """Placeholder until the cost model is wired in."""

    def __init__(self, space: Space, settings: CostSettings, generator: torch.Generator) -> None:
        self.settings = settings

    def term(self, dist: Distribution) -> Tensor | None:
        return None

    def update(self, dist: Distribution) -> None:
        return None

    def expected(self, probs: Tensor) -> float:
        return 0.0

    def values(self) -> dict[str, float]:
        return {}

    def child_costs(self, z: Tensor) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None
