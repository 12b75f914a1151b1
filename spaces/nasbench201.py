"""NAS-Bench-201: cells of four nodes, five operations on six edges, 15,625 architectures.

Dong & Yang 2020, arXiv:2001.00326. Macro skeleton: a 3x3 Conv-BN stem, three stages of N = 5 equal
cells with 16, 32 and 64 channels, a residual block of stride 2 between the stages, then BN-ReLU,
global average pooling and a linear classifier. All cells share one row of alpha. A cell has one
input node and its output is the last node. Operations are listed in the benchmark's order, which
its architecture strings use: ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``. ``stages=1,
cells_per_stage=1`` is the one-cell variant for exact gradients.

The accuracies of all architectures are known: :mod:`nasbench_snas.truth.published` holds those
after 200 epochs, and :mod:`nasbench_snas.truth.nats` reads the authors' file where a user has it.

Deviation: batch norms in the cells of the parent have no scale and shift unless ``affine``.
"""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_snas.architecture.known import KnownSpace
from nasbench_snas.architecture.nasbench201 import (
    CELL,
    NODES,
    OWN_NAMES,
    architecture_string,
    parse_architecture,
)
from nasbench_snas.architecture.space import (
    CellType,
    Layer,
    Space,
    SpaceFamily,
    check_resolution,
    check_sizes,
)
from nasbench_snas.truth.known import PublishedSpace

__all__ = ["NasBench201", "architecture_string", "parse_architecture"]

OPERATIONS = OWN_NAMES


@dataclass(frozen=True, kw_only=True)
class NasBench201(SpaceFamily):
    """Settings of NAS-Bench-201.

    Attributes:
        stages: Stages; each but the first begins with a residual block that halves the resolution.
        cells_per_stage: N, cells of a stage.
        channels: Channels of the first stage; each stage doubles them.
        affine: Whether the batch norms in the parent's cells have a learnt scale and shift.
    """

    name = "nasbench201"
    summary = "NAS-Bench-201: 4 nodes, 6 edges, 5 operations, 15,625 architectures"
    reference = """@inproceedings{dong2020nasbench201,
  title={{NAS-Bench-201}: Extending the Scope of Reproducible Neural Architecture Search},
  author={Dong, Xuanyi and Yang, Yi},
  booktitle={International Conference on Learning Representations},
  year={2020},
  note={arXiv:2001.00326}
}"""
    enumerable = True

    stages: int = 3
    cells_per_stage: int = 5
    channels: int = 16
    affine: bool = False

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        check_sizes(
            stages=self.stages, cells_per_stage=self.cells_per_stage, channels=self.channels
        )

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see :meth:`SpaceFamily.build`."""
        check_resolution(self.name, resolution, self.stages - 1)
        layers: list[Layer] = []
        for stage in range(self.stages):
            width = self.channels * 2**stage
            layers += [Layer("residual", width, 2)] if stage else []
            layers += [Layer("cell", width, 1, CELL)] * self.cells_per_stage
        return Space(
            name=self.name,
            operations=OPERATIONS,
            cells=(CellType.dense(CELL, 1, NODES, output="last"),),
            layers=tuple(layers),
            stem_channels=self.channels,
            preprocess=False,
            head="bn-relu-linear",
            affine=self.affine,
            pool_norm=False,
            in_channels=in_channels,
            num_classes=num_classes,
            resolution=resolution,
        )

    def known(self) -> KnownSpace:
        """Return the published accuracies, whatever the size of the parent."""
        return PublishedSpace()
