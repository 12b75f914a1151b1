"""A criterion of one's own as numbers: its table for one space, looked at before it is used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nasbench_snas.api import CostCriterion
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import NasbenchError, PluginError


@dataclass(frozen=True)
class OwnCost:
    """The costs of one space by a criterion of one's own.

    Attributes:
        name: The criterion.
        unit: What one unit is.
        table: ``C(O_ij)``, shape ``(E, K)``, float64, summed over the cells that share an edge.
        outside: What every architecture costs besides.
    """

    name: str
    unit: str
    table: Tensor
    outside: float

    def total(self, weights: Tensor) -> Tensor:
        """Return the cost of the whole network, shape ``(...)``, for weights ``(..., E, K)``."""
        return (weights * self.table.to(weights)).sum(dim=(-1, -2)) + self.outside


def own_cost(criterion: CostCriterion, space: Space) -> OwnCost:
    """Return what ``criterion`` says of ``space``.

    Raises:
        PluginError: The table is of another shape, not finite, negative, or zero everywhere.
    """
    name, shape = criterion.name, (space.num_edges, space.num_operations)
    try:
        said, besides = criterion.table(space), criterion.outside(space)
    except NasbenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"criterion {name!r} failed: {type(error).__name__}: {error}",
            f"It was asked for its table of {space.name!r}.",
            "Mend the plug-in; `nasbench check` runs its tests.",
        ) from error
    try:
        table = torch.as_tensor(said, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise PluginError(
            f"criterion {name!r}: its table is not one of numbers: {error}."
        ) from error
    try:
        outside = float(besides)
    except (TypeError, ValueError) as error:
        raise PluginError(f"criterion {name!r}: outside is {besides!r}, no number.") from error
    if tuple(table.shape) != shape:
        raise PluginError(
            f"criterion {name!r}: its table has shape {tuple(table.shape)}, not {shape}.",
            f"One row for each of the {shape[0]} edges of {space.name!r}, one column for each of "
            f"the {shape[1]} operations.",
        )
    everything = torch.cat([table.flatten(), torch.tensor([outside], dtype=torch.float64)])
    if not torch.isfinite(everything).all() or (everything < 0).any():
        raise PluginError(
            f"criterion {name!r}: a cost is negative or not finite.",
            "Costs are finite numbers from 0 on.",
        )
    if not table.any():
        raise PluginError(
            f"criterion {name!r}: every operation costs nothing.", "There is nothing to choose by."
        )
    return OwnCost(name, criterion.unit, table, outside)
