"""The unit of Figure 6: one input, three intermediate nodes in series and in parallel.

Every intermediate node takes input from all previous nodes (eq. 20 of SNAS, arXiv:1812.09926,
Appendix C), so that three nodes make six edges; with three operations on each there are 3^6 = 729
architectures, few enough for exact gradients. The cell's output is the concatenation of the
intermediate nodes, as in the full space.

Deviations: the figure leaves the operations open; here they are ``none``, ``skip_connect`` and
``conv_3x3``. There are no reductions. Stem and head are those of the other spaces.

The accuracies of all architectures with 4 channels on the digits are known, trained by ourselves:
:mod:`nasbench_snas.truth.unit`.
"""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_snas.architecture.known import KnownSpace
from nasbench_snas.architecture.operations import operations
from nasbench_snas.architecture.space import (
    CellType,
    Layer,
    Space,
    SpaceFamily,
    check_resolution,
    check_sizes,
)
from nasbench_snas.errors import ConfigError
from nasbench_snas.truth.unit import CHANNELS, OPERATIONS, unit_table


# Implements SNAS (18, 20).
@dataclass(frozen=True, kw_only=True)
class SnasUnit(SpaceFamily):
    """Settings of the unit space.

    Attributes:
        nodes: Intermediate nodes; ``nodes (nodes + 1) / 2`` edges.
        cells: Cells in a row, all with the same row of alpha; exact gradients share work for one.
        channels: Channels of a node.
        operations: Names of the candidate operations, the same on each edge.
    """

    name = "snas-unit"
    summary = "Figure 6 of SNAS: 3 nodes in series and in parallel, 6 edges, 3 operations"
    reference = "xie2019snas"
    enumerable = True

    nodes: int = 3
    cells: int = 1
    channels: int = 8
    operations: tuple[str, ...] = ("none", "skip_connect", "conv_3x3")

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        operations(self.operations)
        check_sizes(nodes=self.nodes, cells=self.cells, channels=self.channels)
        if len(self.operations) < 2 or len(set(self.operations)) != len(self.operations):
            raise ConfigError(
                f"space.operations needs at least two different names, got {self.operations}."
            )

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see :meth:`SpaceFamily.build`."""
        check_resolution(self.name, resolution, 0)
        return Space(
            name=self.name,
            operations=self.operations,
            cells=(CellType.dense("unit", 1, self.nodes),),
            layers=(Layer("cell", self.channels, 1, "unit"),) * self.cells,
            stem_channels=self.channels,
            preprocess=self.cells > 1,
            in_channels=in_channels,
            num_classes=num_classes,
            resolution=resolution,
        )

    def known(self) -> KnownSpace | None:
        """Return our own table for the cell that it was made for, else None."""
        own = (self.nodes, self.cells, self.channels, tuple(self.operations))
        return unit_table() if own == (3, 1, CHANNELS, OPERATIONS) else None
