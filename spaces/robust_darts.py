"""The reduced spaces S1 to S4 of RobustDARTS, in which DARTS derives poor cells.

Zela et al. 2020, arXiv:1909.09656, section 3: the cells and the network of DARTS with few
operations on each edge. S1 has two on every edge, others from edge to edge, found by an iterative
pruning of the space of DARTS (its Figure 10); S2 has a skip connection and a 3x3 separable
convolution; S3 these and ``none``; S4 the convolution and ``noise``. The operations of S1 are those
of the authors' released code (https://github.com/automl/RobustDARTS, ``src/spaces.py``), in its
order; edges are sorted by target, then source, there as here.

A smaller S1 (``nodes``) has the edges of the first nodes.

Deviations: see :mod:`nasbench_snas.supernet.noise` for S4. The released code's derivation reads the
place of ``none`` and the kept operations of a node from other rows than that node's; here each edge
is derived by its own operations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from nasbench_snas.architecture.space import Space, SpaceFamily
from nasbench_snas.errors import ConfigError
from nasbench_snas.spaces.darts_cnn import DartsNetwork

_SKIP3, _SKIP5 = ("skip_connect", "dil_conv_3x3"), ("skip_connect", "dil_conv_5x5")
_SKIPS = ("skip_connect", "sep_conv_3x3")
_POOL_SKIP, _DILATED = ("max_pool_3x3", "skip_connect"), ("dil_conv_3x3", "dil_conv_5x5")
_POOLS, _POOL3 = ("max_pool_3x3", "avg_pool_3x3"), ("max_pool_3x3", "dil_conv_3x3")
_POOLS3 = ("max_pool_3x3", "sep_conv_3x3")

S1 = {
    "normal": (
        *(_SKIP3, _SKIP5),
        *(_SKIP5, _SKIPS, _SKIP3),
        *(_POOL_SKIP, _SKIPS, _SKIPS, _SKIP3),
        *(_SKIPS, _POOL_SKIP, _SKIP3, _DILATED, _DILATED),
    ),
    "reduce": (
        *(_POOLS, _POOL3),
        *(_POOLS, _POOLS, _SKIP5),
        *(_POOLS, _POOLS3, _SKIP3, _SKIP5),
        *(_POOLS, _POOLS, _SKIP5, _SKIP5, _SKIP5),
    ),
}
"""The two operations of each edge of S1, node by node."""
_MOST_NODES = 4


@dataclass(frozen=True, kw_only=True)
class _Uniform(DartsNetwork, SpaceFamily):
    """A reduced space whose edges all have the same operations."""

    candidates: ClassVar[tuple[str, ...]]

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see :meth:`SpaceFamily.build`."""
        return self.network(self.candidates, in_channels, num_classes, resolution)


@dataclass(frozen=True, kw_only=True)
class DartsS1(DartsNetwork, SpaceFamily):
    """Two operations on every edge, others from edge to edge; at most 4 ``nodes``."""

    name = "darts-s1"
    summary = "RobustDARTS S1: DARTS cells, two operations on each edge, others on each"
    reference = "zela2020rdarts"

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        super().__post_init__()
        if self.nodes > _MOST_NODES:
            raise ConfigError(
                f"space.nodes must be at most {_MOST_NODES} in {self.name}, got {self.nodes}.",
                "The operations of further edges are not published.",
            )

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see :meth:`SpaceFamily.build`."""
        names = dict.fromkeys(n for rows in S1.values() for row in rows for n in row)
        space = self.network(tuple(names), in_channels, num_classes, resolution)
        rows = tuple(row for cell in space.cells for row in S1[cell.name][: len(cell.edges)])
        used = {name for row in rows for name in row}
        operations = tuple(name for name in names if name in used)
        return replace(space, operations=operations, edge_operations=rows)


@dataclass(frozen=True, kw_only=True)
class DartsS2(_Uniform):
    """Skip connection or separable convolution on every edge."""

    name = "darts-s2"
    summary = "RobustDARTS S2: DARTS cells, skip connection or separable convolution"
    reference = "zela2020rdarts"

    candidates = _SKIPS


@dataclass(frozen=True, kw_only=True)
class DartsS3(_Uniform):
    """Skip connection, separable convolution or ``none`` on every edge."""

    name = "darts-s3"
    summary = "RobustDARTS S3: as S2, with none"
    reference = "zela2020rdarts"

    candidates = ("none", *_SKIPS)


@dataclass(frozen=True, kw_only=True)
class DartsS4(_Uniform):
    """Noise or separable convolution on every edge."""

    name = "darts-s4"
    summary = "RobustDARTS S4: DARTS cells, noise or separable convolution"
    reference = "zela2020rdarts"

    candidates = ("noise", "sep_conv_3x3")
