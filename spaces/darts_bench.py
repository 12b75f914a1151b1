"""The nine spaces of DARTS-Bench-Suite: three networks, each with three sets of operations.

Jha et al. 2025, arXiv:2507.16533 (``confopt``): the space of DARTS as ``wide`` (18 channels, 4
cells), ``deep`` (7 channels, 18 cells) and ``single-cell`` (26 channels, one cell of 8 nodes), each
with all operations (regular), without ``skip_connect`` (no-skip), and with all operations and an
auxiliary skip connection beside every edge (all-skip). The derived network has the search network's
channels and cells, and its auxiliary skip connections. Sizes and sets are those of the released
code (https://github.com/automl/ConfigurableOptimizer, ``scripts/benchsuite_experiments``).

As there, a single cell is a reduction cell (reductions stand at 1/3 and 2/3 of the depth, which are
both its first cell).

Deviation: an edge that chose ``none`` alone has no auxiliary skip connection, neither in the search
nor in the child, so that both are one function (soft weights: as released).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nasbench_snas.architecture.operations import DARTS_OPERATIONS
from nasbench_snas.architecture.space import Space, SpaceFamily
from nasbench_snas.spaces.darts_cnn import DartsCNN

NO_SKIP = tuple(name for name in DARTS_OPERATIONS if name != "skip_connect")


@dataclass(frozen=True, kw_only=True)
class _Bench(DartsCNN, SpaceFamily):
    """Settings of every space of the suite: those of DARTS' space, and one more.

    Attributes:
        auxiliary_skip: Whether a skip connection is added to every edge.
    """

    cells: int = 4
    channels: int = 18
    auxiliary_skip: bool = False

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see :meth:`SpaceFamily.build`."""
        space = super().build(in_channels, num_classes, resolution)
        return replace(space, auxiliary_skip=self.auxiliary_skip)


@dataclass(frozen=True, kw_only=True)
class DartsBenchWide(_Bench):
    """The wide network, all operations."""

    name = "darts-bench-wide"
    summary = "DARTS-Bench-Suite: C18 L4, all operations"
    reference = "jha2025confopt"


@dataclass(frozen=True, kw_only=True)
class DartsBenchWideNoSkip(DartsBenchWide):
    """The wide network, no skip connection."""

    name = "darts-bench-wide-no-skip"
    summary = "DARTS-Bench-Suite: C18 L4, no skip connection"
    reference = "jha2025confopt"

    operations: tuple[str, ...] = NO_SKIP


@dataclass(frozen=True, kw_only=True)
class DartsBenchWideAllSkip(DartsBenchWide):
    """The wide network, auxiliary skip connections."""

    name = "darts-bench-wide-all-skip"
    summary = "DARTS-Bench-Suite: C18 L4, auxiliary skip connections"
    reference = "jha2025confopt"

    auxiliary_skip: bool = True


@dataclass(frozen=True, kw_only=True)
class DartsBenchDeep(_Bench):
    """The deep network, all operations."""

    name = "darts-bench-deep"
    summary = "DARTS-Bench-Suite: C7 L18, all operations"
    reference = "jha2025confopt"

    cells: int = 18
    channels: int = 7


@dataclass(frozen=True, kw_only=True)
class DartsBenchDeepNoSkip(DartsBenchDeep):
    """The deep network, no skip connection."""

    name = "darts-bench-deep-no-skip"
    summary = "DARTS-Bench-Suite: C7 L18, no skip connection"
    reference = "jha2025confopt"

    operations: tuple[str, ...] = NO_SKIP


@dataclass(frozen=True, kw_only=True)
class DartsBenchDeepAllSkip(DartsBenchDeep):
    """The deep network, auxiliary skip connections."""

    name = "darts-bench-deep-all-skip"
    summary = "DARTS-Bench-Suite: C7 L18, auxiliary skip connections"
    reference = "jha2025confopt"

    auxiliary_skip: bool = True


@dataclass(frozen=True, kw_only=True)
class DartsBenchSingleCell(_Bench):
    """The single cell network, all operations."""

    name = "darts-bench-single-cell"
    summary = "DARTS-Bench-Suite: C26 L1, 8 nodes, all operations"
    reference = "jha2025confopt"

    nodes: int = 8
    cells: int = 1
    channels: int = 26


@dataclass(frozen=True, kw_only=True)
class DartsBenchSingleCellNoSkip(DartsBenchSingleCell):
    """The single cell network, no skip connection."""

    name = "darts-bench-single-cell-no-skip"
    summary = "DARTS-Bench-Suite: C26 L1, 8 nodes, no skip connection"
    reference = "jha2025confopt"

    operations: tuple[str, ...] = NO_SKIP


@dataclass(frozen=True, kw_only=True)
class DartsBenchSingleCellAllSkip(DartsBenchSingleCell):
    """The single cell network, auxiliary skip connections."""

    name = "darts-bench-single-cell-all-skip"
    summary = "DARTS-Bench-Suite: C26 L1, 8 nodes, auxiliary skip connections"
    reference = "jha2025confopt"

    auxiliary_skip: bool = True
