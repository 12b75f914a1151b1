"""NAS-Bench-201: cells of four nodes, five operations on six edges, 15,625 architectures.

Dong & Yang 2020, arXiv:2001.00326. Macro skeleton: a 3x3 Conv-BN stem, three stages of N = 5 equal
cells with 16, 32 and 64 channels, a residual block of stride 2 between the stages, then BN-ReLU,
global average pooling and a linear classifier. All cells share one row of alpha. A cell has one
input node and its output is the last node. Operations are listed in the benchmark's order, which
its architecture strings use: ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``. ``stages=1,
cells_per_stage=1`` is the one-cell variant for exact gradients.

Trained accuracies come from the authors' NATS-Bench file (Dong et al. 2021, arXiv:2009.00437) by
:class:`TopologyBenchmark`, where the user has it and the package ``nats_bench``.

Deviation: batch norms in the cells of the parent have no scale and shift unless ``affine``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.nasbench201 import (
    CELL,
    NODES,
    OWN_NAMES,
    architecture_string,
    parse_architecture,
)
from nasbench_snas.architecture.space import CellType, Layer, Space, SpaceFamily, check_resolution
from nasbench_snas.errors import ConfigError, DataError, MissingDependencyError

__all__ = ["NasBench201", "TopologyBenchmark", "architecture_string", "parse_architecture"]

OPERATIONS = OWN_NAMES
_DATASETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")


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
        for field in ("stages", "cells_per_stage", "channels"):
            if getattr(self, field) < 1:
                raise ConfigError(f"space.{field} must be at least 1, got {getattr(self, field)}.")

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


class TopologyBenchmark:
    """Accuracies of trained architectures from the user's copy of NATS-Bench (topology space).

    Args:
        path: The authors' file (``NATS-tss-….pickle.pbz2``) or unpacked folder
            (``NATS-tss-…-simple``).

    Raises:
        MissingDependencyError: The package ``nats_bench`` is not installed.
        DataError: There is nothing at ``path``.
    """

    def __init__(self, path: Path) -> None:
        try:
            package = import_module("nats_bench")
        except ImportError as error:
            raise MissingDependencyError(
                "the package 'nats_bench' is not installed.",
                "The accuracies of NAS-Bench-201 are read through it.",
                "pip install nats_bench",
            ) from error
        if not path.exists():
            raise DataError(
                f"there is no NATS-Bench file at {path}.",
                "The accuracies are not part of this package.",
                "Download NATS-tss-v1_0-3ffb9-simple from the authors and pass its path.",
            )
        self._api: Any = package.create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)

    def accuracy(
        self,
        genotype: Genotype,
        dataset: str = "cifar10",
        metric: str = "test-accuracy",
        epochs: int = 200,
    ) -> float:
        """Return an accuracy in percent, averaged over the benchmark's training seeds.

        Args:
            genotype: The architecture.
            dataset: ``cifar10-valid``, ``cifar10``, ``cifar100`` or ``ImageNet16-120``.
            metric: Key of the benchmark's record, for example ``valid-accuracy``.
            epochs: Training budget that the benchmark holds: 12 or 200.

        Raises:
            ConfigError: Unknown data set or budget.
            DataError: The file holds no such record.
        """
        if dataset not in _DATASETS or epochs not in (12, 200):
            raise ConfigError(
                f"NATS-Bench holds no {dataset!r} at {epochs} epochs.",
                f"Known: {', '.join(_DATASETS)}, at 12 or 200 epochs.",
            )
        text = architecture_string(genotype)
        index = self._api.query_index_by_arch(text)
        record: dict[str, float] = {}
        if index >= 0:
            record = self._api.get_more_info(index, dataset, hp=str(epochs), is_random=False)
        if metric not in record:
            raise DataError(
                f"NATS-Bench has no {metric!r} of {text} on {dataset}.",
                f"It has: {', '.join(sorted(record)) or 'no such architecture'}",
            )
        return float(record[metric])
