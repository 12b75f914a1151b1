"""Depth as a cost: the convolutions that one must wait for, one after another, on an edge.

``C(O_ij)`` is the number of ReLU-convolution-norm units of the operation, times the cells that
share the edge; a pooling counts as a setting says, and the factorised reduction that a skip is at
stride 2 as one unit. Linear in the choice, so it is the depth summed over edges, not that of the
longest path.

Reference: the count of layers that Shu et al. 2020, arXiv:1909.09569, find differentiable searches
to prefer few of.
"""

from __future__ import annotations

from nasbench_snas.api import CostCriterion, Space


class Depth(CostCriterion):
    """Units in a row on every edge, summed over the cells that share it.

    Args:
        pooling: What a pooling counts.
    """

    name = "depth"
    summary = "ReLU-convolution-norm units in a row, summed over edges"
    unit = "units"

    def __init__(self, pooling: float = 0.5) -> None:
        self.pooling = pooling

    def table(self, space: Space) -> list[list[float]]:
        """Return the units of each operation on each edge, shape ``(E, K)``."""
        return [
            [
                sum(
                    self._units(kind, len(units), layer.stride if source < cell.num_inputs else 1)
                    for layer in space.layers
                    if layer.cell == cell.name
                )
                for kind, units in ((op.kind, op.units) for op in space.operation_specs)
            ]
            for cell in space.cells
            for source, _ in cell.edges
        ]

    def _units(self, kind: str, units: int, stride: int) -> float:
        if kind == "skip":
            return float(stride > 1)
        return {"pool": self.pooling, "module": 1.0}.get(kind, float(units))
