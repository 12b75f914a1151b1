"""Tables of a source: which row every program of a grouped launch works on.

All outputs of a source's candidates are rows of one tensor ``y``: units by depth (*stages*: the
first units of all candidates, then the second ones), poolings in between. A stage's rows are those
of its depthwise and 1x1 units, then the factorised reductions', then dense convolutions (which are
PyTorch's). A factorised reduction is two 1x1 convolutions that share a row of ``y``; its second
half is a row of its own among the inputs of the 1x1 convolutions (*jobs*), at the end. Identities
have a row among the gradients only. The tables depend on the plan, not on images, and are made
once.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nasbench_snas.kernels.operands import UnitSpec
from nasbench_snas.kernels.sources import UnitWeights

KINDS = {(3, 1): 2, (5, 1): 3, (3, 2): 4, (5, 2): 5, (7, 1): 6}
"""Kind of a depthwise unit by side and dilation; see ``depthwise.py`` for all kinds."""

SIDES = {2: 3, 3: 5, 4: 3, 5: 5, 6: 7}
"""Side of the kernel of a depthwise kind."""

MAXIMUM, AVERAGE, IDENTITY = 7, 8, 9

NOTHING = 15
"""Kind of what is not chosen (see ``choices.py``)."""


@dataclass(frozen=True)
class Dense:
    """A unit that PyTorch computes: its number, specification, rows of ``y``, of ``x``, of weights.

    ``target`` is its first row among the gradients of the stage's inputs, -1 for the source's.
    """

    unit: int
    spec: UnitSpec
    first: int
    x_rows: Tensor
    w_rows: Tensor
    target: int


@dataclass(frozen=True)
class Stage:
    """One depth of a source's units.

    Attributes:
        first: First row in ``y``.
        rows: Rows that grouped launches compute.
        second: How many of them, at the end, are factorised reductions.
        counted: Rows from ``first`` on that have statistics.
        base: First job among those of all stages.
        stride: Stride.
        kinds: Bits of the kinds of jobs, and of poolings and identities (first stage).
        jobs: Shape ``(rows + second, 4)``, see ``depthwise_forward``.
        owners: Shape ``(edges, 6)``, see ``finish_moments``.
        updates: Rows of ``y`` in the order of the updates.
        targets: Shape ``(inputs, 4)``, see ``depthwise_input``.
        readers: Likewise.
        lines: Shape ``(lines, 4)``, see ``depthwise_taps``.
        inner: Rows of ``y`` whose norm's outputs are the inputs (none for the first stage).
        normed: Whether there are any.
        hats: First row of the inner norms in ``hat``.
        dense: Units that PyTorch computes.
    """

    first: int
    rows: int
    second: int
    counted: int
    base: int
    stride: int
    kinds: int
    jobs: Tensor
    owners: Tensor
    updates: Tensor
    targets: Tensor
    readers: Tensor
    lines: Tensor
    inner: Tensor
    normed: bool
    hats: int
    dense: tuple[Dense, ...]


@dataclass(frozen=True)
class Layout:
    """All tables of a source.

    Attributes:
        stages: By depth; the first one always exists.
        units: The units whose tensors the tables name by number.
        rows: Rows of ``y``.
        gradient_rows: Rows of its gradient: identities follow.
        pools: Shape ``(poolings, 4)``, see ``pool_forward``.
        first_pool: Row of ``y`` where they begin.
        entries: Shape ``(Q, 6)``, see ``mix.py``.
        order: Entries by target, shape ``(Q,)``.
        starts: First entry of each target in ``order``, and the end.
        finals: Shape ``(rows, 4)``, see ``mix_credit``.
        weights: Shape ``(jobs, 4)``, see ``gather_weights``.
        matrices: Shape ``(lines, 6)``, see ``add_matrices``.
        vectors: Shape ``(lines, 8)``, see ``add_vectors``.
        members: The lists that both refer to.
        hats: Rows of ``hat``.
        taps: Taps of the largest kernel.
        mixed: Rows of ``y`` that the mix reads.
        entry_edges: The edge of each entry, on the device; None without masks.
    """

    stages: tuple[Stage, ...]
    units: tuple[UnitWeights, ...]
    rows: int
    gradient_rows: int
    pools: Tensor
    first_pool: int
    entries: Tensor
    order: Tensor
    starts: Tensor
    finals: Tensor
    weights: Tensor
    matrices: Tensor
    vectors: Tensor
    members: Tensor
    hats: int
    taps: int
    mixed: int
    entry_edges: Tensor | None
