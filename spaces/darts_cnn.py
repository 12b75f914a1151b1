"""The space of DARTS and SNAS: stacked normal and reduction cells of seven nodes.

Each cell has two input nodes, ``nodes`` intermediate nodes with an edge from every earlier node,
and the concatenation of the intermediate nodes as output; reduction cells stand at 1/3 and 2/3 of
the depth and double the channels (SNAS section 3.1 and Appendix G.1, arXiv:1812.09926; DARTS,
arXiv:1806.09055). With 16 channels, 8 cells and 10 classes the parent has 1,930,618 parameters
besides alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_snas.architecture.operations import DARTS_OPERATIONS, operations
from nasbench_snas.architecture.space import (
    CellType,
    Layer,
    Space,
    SpaceFamily,
    check_resolution,
    check_sizes,
)


@dataclass(frozen=True, kw_only=True)
class DartsNetwork(SpaceFamily):
    """Sizes of a network of DARTS' cells; subclasses say which operations its edges have.

    Attributes:
        nodes: Intermediate nodes of a cell.
        cells: Cells of the network.
        channels: Channels of the first cell's nodes; each reduction doubles them.
        stem_multiplier: Channels of the stem in multiples of ``channels``.
    """

    nodes: int = 4
    cells: int = 8
    channels: int = 16
    stem_multiplier: int = 3

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        check_sizes(
            nodes=self.nodes,
            cells=self.cells,
            channels=self.channels,
            stem_multiplier=self.stem_multiplier,
        )

    def network(
        self, operations: tuple[str, ...], in_channels: int, num_classes: int, resolution: int
    ) -> Space:
        """Return the space with ``operations`` on each edge; see :meth:`SpaceFamily.build`."""
        reductions = (
            {self.cells // 3, 2 * self.cells // 3} if self.cells >= 3 else {self.cells // 2}
        )
        check_resolution(self.name, resolution, len(reductions))
        layers, channels = [], self.channels
        for index in range(self.cells):
            reduces = index in reductions
            channels *= 2 if reduces else 1
            layers.append(
                Layer("cell", channels, 2 if reduces else 1, "reduce" if reduces else "normal")
            )
        used = {layer.cell for layer in layers}
        return Space(
            name=self.name,
            operations=operations,
            cells=tuple(
                CellType.dense(n, 2, self.nodes) for n in ("normal", "reduce") if n in used
            ),
            layers=tuple(layers),
            stem_channels=self.stem_multiplier * self.channels,
            in_channels=in_channels,
            num_classes=num_classes,
            resolution=resolution,
        )


@dataclass(frozen=True, kw_only=True)
class DartsCNN(DartsNetwork):
    """Settings of the DARTS space; its sizes are those of :class:`DartsNetwork`.

    Attributes:
        operations: Names of the candidate operations, the same on each edge.
    """

    name = "darts-cnn"
    summary = "DARTS/SNAS cells: 4 nodes, 14 edges, 8 operations, normal and reduction cells"
    reference = "liu2019darts"

    operations: tuple[str, ...] = DARTS_OPERATIONS

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        operations(self.operations)
        super().__post_init__()

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see :meth:`SpaceFamily.build`."""
        return self.network(self.operations, in_channels, num_classes, resolution)
